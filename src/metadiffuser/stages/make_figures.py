"""Stage ``make_figures``: the figures of the results, as SVG."""

from __future__ import annotations

import pandas as pd

from metadiffuser import paths
from metadiffuser.artifacts import whole_directory
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.pipeline.run import Run
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.writing import write_figures
from metadiffuser.tracking import read_curve

CURVES = {"behaviour": paths.BEHAVIOUR_CURVE, "context": paths.CONTEXT_CURVE, "diffusion": paths.DIFFUSION_CURVE}


def run(job: Run) -> None:
    """Draw all figures of a preset."""
    section, own = job.section("report"), job.value("representations")[0]
    curves: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for stage, template in CURVES.items():
        for folder in job.all_paths(template):
            place = paths.fields(template, folder.as_posix())
            if place.get("representation", own) == own:
                curves.setdefault((stage, place["family"]), []).append(read_curve(folder))
    baselines: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for folder in job.all_paths(paths.BASELINE_CURVE):
        place = paths.fields(paths.BASELINE_CURVE, folder.as_posix())
        baselines.setdefault((place["method"], place["family"]), []).append(read_curve(folder))
    evidence = Evidence(
        planner=job.all_paths(paths.PLANNER_METRICS),
        baselines=job.all_paths(paths.BASELINE_METRICS),
        dataset=job.all_paths(paths.DATASET_METRICS),
        context=job.all_paths(paths.CONTEXT_METRICS),
        representation=own,
        seed=job.value("seeds")[0],
        bootstrap=Bootstrap(section.confidence, section.bootstrap_samples),
        digits=section.digits,
        curves=curves,
        baseline_curves=baselines,
    )
    with whole_directory(job.path(paths.FIGURES)) as folder:
        write_figures(folder, evidence)
