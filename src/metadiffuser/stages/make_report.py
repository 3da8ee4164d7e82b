"""Stage ``make_report``: the self-contained HTML page; the verb ``report`` makes it from committed results."""

from __future__ import annotations

from pathlib import Path

from metadiffuser import paths
from metadiffuser.artifacts import write_text
from metadiffuser.pipeline.run import Run
from metadiffuser.reporting.report import Contents, render


def run(job: Run) -> None:
    """Write the report of a preset."""
    params = job.whole()
    contents = Contents(
        parameters=params.model_dump(),
        tables=job.path(paths.TABLES),
        figures=job.path(paths.FIGURES),
        videos={family: job.path(paths.VIDEOS, family=family) for family in params.families},
        timings=job.all_paths(paths.TIMING),
        root=Path(),
    )
    write_text(job.path(paths.REPORT), render(contents))
