"""The one grammar of artifact paths: templates relative to the project's root, filled with ``str.format``."""

from __future__ import annotations

import re

TASKS = "artifacts/{preset}/tasks/{family}.json"
BEHAVIOUR = "artifacts/{preset}/behaviour/{family}/shard{shard}.safetensors"
DATASET = "artifacts/{preset}/datasets/{family}"
CONTEXT = "artifacts/{preset}/context/{family}/{representation}/seed{seed}.safetensors"
DIFFUSION = "artifacts/{preset}/diffusion/{family}/{representation}/seed{seed}.safetensors"
BASELINE = "artifacts/{preset}/baselines/{family}/{method}/seed{seed}.safetensors"
ROLLOUTS = "artifacts/{preset}/rollouts/{family}/{representation}/seed{seed}.safetensors"

DATASET_METRICS = "results/{preset}/metrics/dataset/{family}.json"
CONTEXT_METRICS = "results/{preset}/metrics/context/{family}/{representation}/seed{seed}.json"
CALIBRATION = "results/{preset}/metrics/calibration/planner/{family}/{representation}/seed{seed}.json"
BASELINE_CALIBRATION = "results/{preset}/metrics/calibration/baselines/{family}/{method}/seed{seed}.json"
PLANNER_METRICS = "results/{preset}/metrics/planner/{family}/{representation}/seed{seed}.json"
BASELINE_METRICS = "results/{preset}/metrics/baselines/{family}/{method}/seed{seed}.json"
DATASET_CARD = "results/{preset}/datasets/{family}"
BEHAVIOUR_CURVE = "results/{preset}/training/behaviour/{family}/shard{shard}"
CONTEXT_CURVE = "results/{preset}/training/context/{family}/{representation}/seed{seed}"
DIFFUSION_CURVE = "results/{preset}/training/diffusion/{family}/{representation}/seed{seed}"
BASELINE_CURVE = "results/{preset}/training/baselines/{family}/{method}/seed{seed}"
VIDEOS = "results/{preset}/videos/{family}"
TABLES = "results/{preset}/tables"
FIGURES = "results/{preset}/figures"
REPORT = "results/{preset}/report.html"

# What 'metadiffuser import' keeps, by the hash of its contents: no job writes it.
IMPORTED = "imports/{family}/{digest}.safetensors"

# The scores of several runs of a preset, which 'metadiffuser compare' reads; no job writes or reads it.
SPREAD = "results/{preset}/spread.json"

# What 'metadiffuser across' writes from the metrics of several presets, as .csv, .md and .svg: no job reads it.
GUIDE_BY_DATA = "results/across/guide_by_data"

# What 'metadiffuser tune' writes: no job reads it.
TUNING = "results/{preset}/tuning.csv"
TUNING_PAGE = "results/{preset}/tuning.md"

# The only files that hold times and dates, and so differ from run to run.
TIMING = "results/{preset}/timings/{job}.json"
VOLATILE = (TIMING, REPORT, TUNING, TUNING_PAGE)


def in_cache(path: str) -> bool:
    """Return whether DVC's cache keeps an output: what git does not have."""
    return path.startswith("artifacts/") or path.rpartition("/")[2] == REPORT.rpartition("/")[2]


def fields(template: str, path: str) -> dict[str, str]:
    """Return the values that fill ``template`` to give ``path``: the inverse of ``str.format``."""
    parts = re.split(r"{(\w+)}", template)
    pattern = "".join(f"(?P<{part}>[^/]+)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
    match = re.fullmatch(pattern, path)
    if match is None:
        raise ValueError(f"expected a path like {template}, got {path}")
    return match.groupdict()
