"""Stage ``make_tables``: the tables of the results, as CSV, Markdown and LaTeX."""

from __future__ import annotations

from metadiffuser import paths
from metadiffuser.artifacts import whole_directory
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.pipeline.run import Run
from metadiffuser.reporting.evidence import gather, notes
from metadiffuser.reporting.summary import sizes
from metadiffuser.reporting.tables import all_tables, write_tables


def run(run: Run) -> None:
    """Write all tables of a preset."""
    section = run.section("report")
    evidence = gather(
        run.all_paths(paths.PLANNER_METRICS),
        run.all_paths(paths.BASELINE_METRICS),
        run.all_paths(paths.DATASET_METRICS),
        run.all_paths(paths.CONTEXT_METRICS),
        run.value("representations")[0],
    )
    bootstrap = Bootstrap(section.confidence, section.bootstrap_samples)
    with whole_directory(run.path(paths.TABLES)) as folder:
        tables = all_tables(evidence, bootstrap, section.digits)
        write_tables(folder, tables, sizes(evidence.scores), section.confidence, notes(evidence, run.value("seeds")[0]))
