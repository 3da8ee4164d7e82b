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


def run(job: Run) -> None:
    """Draw all figures of a preset."""
    section = job.section("report")
    planner, baselines = job.all_paths(paths.PLANNER_METRICS), job.all_paths(paths.BASELINE_METRICS)
    own, seed = job.value("representations")[0], job.value("seeds")[0]
    curves: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for stage, template in CURVES.items():
        for folder in job.all_paths(template):
            place = paths.fields(template, folder.as_posix())
            if place.get("representation", own) == own:
                curves.setdefault((stage, place["family"]), []).append(read_curve(folder))
    rivals: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for folder in job.all_paths(paths.BASELINE_CURVE):
        place = paths.fields(paths.BASELINE_CURVE, folder.as_posix())
        rivals.setdefault((place["method"], place["family"]), []).append(read_curve(folder))
    dataset = job.all_paths(paths.DATASET_METRICS)
    episodes = scores.read_scores([*planner, *baselines], dataset)
    study = scores.read_sampler_study(planner, dataset)
    embeddings, traces = scores.read_embeddings(job.all_paths(paths.CONTEXT_METRICS)), scores.read_traces(planner)
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
    with whole_directory(job.path(paths.FIGURES)) as folder:
        write_figures(folder, drawings)
