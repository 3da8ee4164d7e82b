"""The fabricated metrics and the tables made from them, read by pandas alone; ``gathered`` alone uses the reporting."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from metadiffuser import paths
from metadiffuser.artifacts import read_json
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting.evidence import Evidence
from tests.helpers import fabricated

PARAMS = fabricated.parameters(seeds=(0, 1))
METRICS = Path("results/smoke/metrics")
NAMES = (
    "verdicts",
    "table1_few_shot",
    "table1_first_five",
    "table1_published",
    "comparisons",
    "scores_by_task",
    "table2_average",
    "table2_warm_start",
    "table4_guide",
    "table4_significance",
    "context",
    "diagnostics",
    "errors_by_latent",
    "probe_by_parameter",
    "training_tasks",
    "calibration",
    "behaviour",
)
APART = fabricated.NO_UNSEEN
UNSEEN = [family for family in fabricated.ANCHORS if family != APART]
METHODS: dict[str, str] = {name: fabricated.method_label(name)[0] for name in PARAMS.baselines}
OWN = ("metadiffuser", "dual", "expert")
ROWS = {  # of table 1, in its order, without the expert
    "MetaDiffuser (dual guide)": OWN,
    "MetaDiffuser, another task's context": ("metadiffuser", "dual", "wrong_task"),
    **{title: (name, "none", "expert") for name, title in METHODS.items()},
    "MetaDiffuser with a value, best of 8 (dual guide)": ("with_value", "dual", "expert"),
    "Unconditional diffusion planner": ("unconditional", "none", "none"),
    "Unconditional diffusion planner (return guide)": ("unconditional", "return", "expert"),
    "MetaDiffuser in one network call": ("one_call", "none", "expert"),
    "Random planner": ("random", "none", "none"),
}
EXPERT = "Behaviour expert (oracle)"


def title(family: str) -> str:
    """Return a family's display name."""
    return fabricated.LABELS[family][0]


def heading(family: str) -> str:
    """Return a family's heading in tables of unseen tasks."""
    return title(family) + (" (no unseen task)" if family == APART else "")


def tables_folder() -> Path:
    """Return the folder that ``make_tables`` writes."""
    return Path(paths.TABLES.format(preset=PARAMS.preset))


def rows_of(name: str, *keys: str) -> dict[Any, dict[str, str]]:
    """Return a table's CSV as {values of ``keys``: row}; without keys {first column: row}."""
    with (tables_folder() / f"{name}.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    named = keys or (next(iter(rows[0])),)
    found = {tuple(row[key] for key in named): row for row in rows}
    assert len(found) == len(rows), "two rows of one name"
    return {key if keys else key[0]: row for key, row in found.items()}


def captions() -> dict[str, str]:
    """Return {table: caption}."""
    return {table["name"]: table["caption"] for table in read_json(tables_folder() / "tables.json")["tables"]}


def metrics_files(template: str) -> list[Path]:
    """Return the metrics files of all families and seeds."""
    chosen = [
        template.format(preset=PARAMS.preset, family=family, representation="generalised", seed=seed)
        for family in PARAMS.families
        for seed in PARAMS.seeds
    ]
    return [Path(name) for name in dict.fromkeys(chosen)]


def record(kind: str, family: str, seed: int = 0) -> dict[str, Any]:
    """Return a metrics file of the kind ``dataset``, ``context`` or ``planner``."""
    name = f"{family}.json" if kind == "dataset" else f"{family}/generalised/seed{seed}.json"
    return dict(json.loads((METRICS / kind / name).read_text()))


def of(cell: tuple[str, str, str], family: str, part: str = "cells") -> pd.DataFrame:
    """Return a cell's returns and scores in a family, by seed, task and episode, from the metrics files."""
    return _cells(part, Path.cwd())[*cell, family]


@cache
def _cells(part: str, root: Path) -> dict[tuple[str, ...], pd.DataFrame]:
    """Read the episodes of a part of the planner's and the baselines' metrics below ``root``."""
    rows = []
    for path in sorted([*(root / METRICS).glob("planner/**/*.json"), *(root / METRICS).glob("baselines/**/*.json")]):
        content = json.loads(path.read_text())
        anchors = record("dataset", content["family"])["anchors"]
        for cell in content[part]:
            for task, values in cell["returns"].items():
                low, high = anchors[task]["random"], anchors[task]["expert"]
                named = {name: cell[name] for name in ("method", "guide", "context")}
                named |= {"family": content["family"], "seed": content["seed"], "task": int(task)}
                rows += [
                    {**named, "episode": episode, "return": value, "score": 100 * (value - low) / (high - low)}
                    for episode, value in enumerate(values)
                ]
    frame = pd.DataFrame(rows).set_index(["seed", "task", "episode"]).sort_index()
    groups = frame.groupby(["method", "guide", "context", "family"])
    return {tuple(map(str, key)): group[["return", "score"]] for key, group in groups}


def interval(row: dict[str, str], name: str) -> float:
    """Return the value of a column, whose bounds enclose it."""
    low, value, high = (float(row[f"{name}{end}"]) for end in (" low", "", " high"))
    assert low < value < high
    return value


def gathered(seeds: tuple[int, ...] = (0, 1), samples: int = 50, methods: Sequence[str] = ()) -> Evidence:
    """Return the evidence of the planner's metrics, and of the baselines' ``methods``."""
    planner = [path for path in metrics_files(paths.PLANNER_METRICS) if int(path.stem[4:]) in seeds]
    baselines = [METRICS / "baselines" / path.parts[-3] / method / path.name for path in planner for method in methods]
    dataset, context = metrics_files(paths.DATASET_METRICS), metrics_files(paths.CONTEXT_METRICS)
    return Evidence(planner, baselines, dataset, context, "generalised", 0, Bootstrap(0.95, samples), 1)
