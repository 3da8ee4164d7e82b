"""Stage ``make_tables``: the tables of the results, as CSV, Markdown and LaTeX."""

from __future__ import annotations

from metadiffuser import paths
from metadiffuser.artifacts import whole_directory
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.pipeline.run import Run
from metadiffuser.reporting.evidence import gather, notes
from metadiffuser.reporting.summary import sizes
from metadiffuser.reporting.tables import all_tables, write_tables


def run(job: Run) -> None:
    """Write all tables of a preset."""
    section = job.section("report")
    evidence = gather(
        job.all_paths(paths.PLANNER_METRICS),
        job.all_paths(paths.BASELINE_METRICS),
        job.all_paths(paths.DATASET_METRICS),
        job.all_paths(paths.CONTEXT_METRICS),
        job.value("representations")[0],
    )
    bootstrap = Bootstrap(section.confidence, section.bootstrap_samples)
    with whole_directory(job.path(paths.TABLES)) as folder:
        tables = all_tables(evidence, bootstrap, section.digits)
        write_tables(folder, tables, sizes(evidence.scores), section.confidence, notes(evidence, job.value("seeds")[0]))
