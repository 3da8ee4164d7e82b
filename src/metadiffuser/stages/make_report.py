"""Stage ``make_report``: the self-contained HTML page."""

from __future__ import annotations

from pathlib import Path

from metadiffuser import paths
from metadiffuser.artifacts import write_text
from metadiffuser.pipeline.run import Run
from metadiffuser.reporting.report import Contents, render


def run(run: Run) -> None:
    """Write the report of a preset."""
    params = run.whole()
    contents = Contents(
        title=params.report.title,
        parameters=params.model_dump(),
        tables=run.path(paths.TABLES),
        figures=run.path(paths.FIGURES),
        videos={family: run.path(paths.VIDEOS, family=family) for family in params.families},
        timings=run.all_paths(paths.TIMING),
        root=Path(),
    )
    write_text(run.path(paths.REPORT), render(contents))
