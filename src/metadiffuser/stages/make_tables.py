"""Stage ``make_tables``: the tables of the results, as CSV, Markdown and LaTeX."""

from __future__ import annotations

from metadiffuser import paths
from metadiffuser.artifacts import whole_directory
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.pipeline.run import Run
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.writing import write_tables


def run(job: Run) -> None:
    """Write all tables of a preset."""
    section = job.section("report")
    evidence = Evidence(
        planner=job.all_paths(paths.PLANNER_METRICS),
        baselines=job.all_paths(paths.BASELINE_METRICS),
        dataset=job.all_paths(paths.DATASET_METRICS),
        context=job.all_paths(paths.CONTEXT_METRICS),
        representation=job.value("representations")[0],
        seed=job.value("seeds")[0],
        bootstrap=Bootstrap(section.confidence, section.bootstrap_samples),
        digits=section.digits,
        calibration=[*job.all_paths(paths.CALIBRATION), *job.all_paths(paths.BASELINE_CALIBRATION)],
    )
    with whole_directory(job.path(paths.TABLES)) as folder:
        write_tables(folder, evidence)
