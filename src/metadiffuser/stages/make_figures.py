"""Stage ``make_figures``: the figures of the results, as PNG and SVG."""

from __future__ import annotations

import pandas as pd

from metadiffuser import paths
from metadiffuser.artifacts import whole_directory
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.pipeline.run import Run
from metadiffuser.reporting import scores
from metadiffuser.reporting.figures import all_figures, write_figures
from metadiffuser.tracking import read_curve

CURVES = {"behaviour": paths.BEHAVIOUR_CURVE, "context": paths.CONTEXT_CURVE, "diffusion": paths.DIFFUSION_CURVE}


def run(run: Run) -> None:
    """Draw all figures of a preset."""
    section = run.section("report")
    planner, baselines = run.all_paths(paths.PLANNER_METRICS), run.all_paths(paths.BASELINE_METRICS)
    own, seed = run.value("representations")[0], run.value("seeds")[0]
    curves: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for stage, template in CURVES.items():
        for folder in run.all_paths(template):
            job = paths.fields(template, folder.as_posix())
            if job.get("representation", own) == own:
                curves.setdefault((stage, job["family"]), []).append(read_curve(folder))
    rivals: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for folder in run.all_paths(paths.BASELINE_CURVE):
        job = paths.fields(paths.BASELINE_CURVE, folder.as_posix())
        rivals.setdefault((job["method"], job["family"]), []).append(read_curve(folder))
    dataset = run.all_paths(paths.DATASET_METRICS)
    episodes = scores.read_scores([*planner, *baselines], dataset)
    study = scores.read_sampler_study(planner, dataset)
    embeddings, traces = scores.read_embeddings(run.all_paths(paths.CONTEXT_METRICS)), scores.read_traces(planner)
    drawings = all_figures(
        episodes[episodes["representation"] == own],
        scores.read_behaviour(dataset),
        study[study["representation"] == own],
        embeddings[(embeddings["representation"] == own) & (embeddings["seed"] == seed)],
        traces[(traces["representation"] == own) & (traces["seed"] == seed)],
        curves,
        Bootstrap(section.confidence, section.bootstrap_samples),
        scores.read_imported(dataset),
        rivals,
    )
    with whole_directory(run.path(paths.FIGURES)) as folder:
        write_figures(folder, drawings)
