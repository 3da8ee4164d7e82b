"""Stage ``make_tables``: the tables of the results, as CSV, Markdown and LaTeX."""

from __future__ import annotations

from metadiffuser import paths
from metadiffuser.artifacts import whole_directory
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import scores
from metadiffuser.reporting.published import read_published
from metadiffuser.reporting.summary import sizes
from metadiffuser.reporting.tables import Evidence, all_tables, write_tables
from metadiffuser.run import Run


def run(run: Run) -> None:
    """Write all tables of a preset."""
    section = run.section("report")
    planner, baselines = run.all_paths(paths.PLANNER_METRICS), run.all_paths(paths.BASELINE_METRICS)
    dataset = run.all_paths(paths.DATASET_METRICS)
    own = run.value("representations")[0]
    episodes, errors = scores.read_scores([*planner, *baselines], dataset), scores.read_plan_errors(planner)
    evidence = Evidence(
        scores=episodes[episodes["representation"] == own],
        behaviour=scores.read_behaviour(dataset),
        optimum=scores.read_optimum(dataset),
        plan_errors=errors[errors["representation"] == own],
        diagnostics=scores.read_diagnostics(run.all_paths(paths.CONTEXT_METRICS)),
        published=read_published(),
        imported=scores.read_imported(dataset),
    )
    bootstrap = Bootstrap(section.confidence, section.bootstrap_samples)
    with whole_directory(run.path(paths.TABLES)) as folder:
        tables = all_tables(evidence, bootstrap, section.digits)
        write_tables(folder, tables, sizes(evidence.scores), section.confidence)
