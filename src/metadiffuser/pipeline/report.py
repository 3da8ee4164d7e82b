"""``metadiffuser report``: a preset's report page from what git has of its results."""

from __future__ import annotations

from pathlib import Path

from metadiffuser import paths
from metadiffuser.artifacts import write_text
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, dvc_lock
from metadiffuser.reporting.report import Contents, render

REMARK = (
    "These are the preset's parameters today. dvc.lock does not say that the results on this page were made with them: "
    "'git log -- results/{preset}' names the commits of the results, whose presets may have had other values."
)


def write_report(params: Params) -> Path:
    """Write the report of a preset from the tables, figures, videos and timing records that are there.

    No artifact is needed; videos and timing records that are missing are left out of the page.

    Raises:
        InputError: the preset has no tables or figures.
    """
    tables, figures, page = (
        Path(template.format(preset=params.preset)) for template in (paths.TABLES, paths.FIGURES, paths.REPORT)
    )
    for folder, stage in ((tables, "make_tables"), (figures, "make_figures")):
        if not folder.is_dir():
            raise InputError(f"{folder}: missing; run {stage} with the preset {params.preset}")
    videos = {family: Path(paths.VIDEOS.format(preset=params.preset, family=family)) for family in params.families}
    contents = Contents(
        parameters=params.model_dump(),
        tables=tables,
        figures=figures,
        videos={family: folder for family, folder in videos.items() if folder.is_dir()},
        timings=[path for path in map(Path, dag.expand(paths.TIMING, {}, params)) if path.is_file()],
        root=Path(),
        remark="" if _recorded(params) else REMARK.format(preset=params.preset),
    )
    write_text(page, render(contents))
    return page


def _recorded(params: Params) -> bool:
    """Return whether dvc.lock says of every job of the preset that it ran with these parameters."""
    lock = dvc_lock.read()
    jobs = [job for job in dag.jobs(params) if paths.REPORT not in job.stage.outputs]
    return all(job.name in lock and dvc_lock.parameters(lock[job.name]) == dict(job.params) for job in jobs)
