"""How a run of one's own agrees with another one of the same preset, cell by cell, and what spread is to be expected.

Another kind of processor rounds differently, and training carries that on: behaviour policies, and all that follows,
come out like those of another root seed. So two runs agree where they differ no more than runs of several root seeds
do, whose scores a spread file holds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from metadiffuser.errors import InputError
from metadiffuser.reporting.scores import CELL, metrics_record, read_scores

KINDS = ("planner", "baselines", "dataset")  # folders of a run's metrics that are read
KEYS = ["family", "representation", *CELL]
CHANCE = 0.05  # of a run that differs by chance alone having any cell outside
SAME, WITHIN, OUTSIDE, UNKNOWN = "same", "within", "outside", "no spread"


@dataclass(frozen=True)
class Agreement:
    """One cell of two runs.

    Attributes:
        cell: family, representation, method, guide and context.
        committed, own: mean normalised scores.
        width: largest difference that is within the spread; NaN if no spread is known.
        verdict: ``same``, ``within``, ``outside`` or ``no spread``.
    """

    cell: tuple[str, ...]
    committed: float
    own: float
    width: float
    verdict: str


def read_run(folder: Path, counted: Collection[Path] | None = None) -> pd.DataFrame:
    """Return the episodes of a run, given its folder of metrics, with the columns of ``read_scores``.

    Args:
        folder: holds a folder for each of ``KINDS``.
        counted: files that are read, if they are there; None reads all.

    Raises:
        InputError: there are none, or a file is damaged.
    """
    files = {kind: sorted((folder / kind).rglob("*.json")) for kind in KINDS}
    found = {kind: [path for path in paths if counted is None or path in counted] for kind, paths in files.items()}
    if not found["planner"] or not found["dataset"]:
        raise InputError(f"{folder}: no metrics of an evaluation; name the metrics folder of a preset that has run")
    return read_scores([*found["planner"], *found["baselines"]], found["dataset"])


def means(run: pd.DataFrame) -> pd.Series:
    """Return the mean normalised score of each cell, all tasks alike, over seeds."""
    by_task = run.dropna(subset=["normalised"]).groupby([*KEYS, "seed", "task"], sort=False)["normalised"].mean()
    return by_task.groupby(level=KEYS, sort=False).mean()


def spread(runs: Sequence[pd.DataFrame], names: Sequence[str]) -> dict[str, Any]:
    """Return the content of a spread file: the score of every cell in several runs.

    Args:
        runs: two or more, of ``read_run``.
        names: of the runs.

    Raises:
        InputError: there are too few runs, they have different cells, or two are the same run.
    """
    if len(runs) < 2:
        raise InputError("one run has no spread; name the metrics folders of two or more runs")
    tables = [means(run) for run in runs]
    for table, name in zip(tables, names, strict=True):
        if set(table.index) != set(tables[0].index):
            raise InputError(f"{name}: other families or methods than {names[0]}; compare runs of one preset")
    for (one, run), (two, other) in combinations(zip(names, runs, strict=True), 2):
        if _values(run).equals(_values(other)):
            raise InputError(f"{two}: the same episodes as {one}; name runs with different root seeds ('seed')")
    cells = [
        dict(zip(KEYS, cell, strict=True)) | {"scores": [round(float(table[cell]), 3) for table in tables]}
        for cell in tables[0].index
    ]
    return {"runs": list(names), "cells": cells}


def read_spread(path: Path) -> dict[tuple[str, ...], list[float]]:
    """Return {cell: scores of several runs}. Raises ``InputError`` if the file is damaged."""
    with metrics_record(path) as content:
        return {
            tuple(str(entry[key]) for key in KEYS): [float(s) for s in entry["scores"]] for entry in content["cells"]
        }


def width(scores: Sequence[float], cells: int) -> float:
    """Return the largest difference of two runs that is within the spread.

    It is a prediction interval for the difference of two normal draws, with Bonferroni's correction for the number of
    cells: if nothing but chance differs, no cell at all lies outside in 95% of runs.

    Args:
        scores: of one cell in n runs, n > 1.
        cells: how many cells are compared.
    """
    quantile = student.ppf(1 - CHANCE / (2 * cells), len(scores) - 1)
    return float(quantile * np.sqrt(2) * np.std(scores, ddof=1))


def agreements(
    committed: pd.DataFrame, own: pd.DataFrame, known: Mapping[tuple[str, ...], Sequence[float]]
) -> list[Agreement]:
    """Return how two runs agree in each cell that either of them has.

    Args:
        committed: episodes of the run that is compared with.
        own: episodes of one's own run.
        known: scores of each cell in several runs.
    """
    theirs, ours = means(committed), means(own)
    cells = list(dict.fromkeys([*theirs.index, *ours.index]))
    episodes = {name: dict(list(run.groupby(KEYS, sort=False))) for name, run in (("a", committed), ("b", own))}
    found = []
    for cell in cells:
        here, there = float(theirs.get(cell, np.nan)), float(ours.get(cell, np.nan))
        scores = known.get(cell, ())
        allowed = width(scores, len(cells)) if len(scores) > 1 else float("nan")
        pair = [episodes[name].get(cell) for name in ("a", "b")]
        if np.isnan(here) != np.isnan(there):
            verdict = OUTSIDE
        elif all(part is not None for part in pair) and _values(pair[0]).equals(_values(pair[1])):
            verdict = SAME
        elif np.isnan(allowed):
            verdict = UNKNOWN
        else:
            verdict = WITHIN if abs(here - there) <= allowed else OUTSIDE
        found.append(Agreement(cell, here, there, allowed, verdict))
    return found


def _values(episodes: Any) -> pd.DataFrame:
    columns = ["seed", "task", "episode", "return", "normalised"]
    return pd.DataFrame(episodes[columns]).reset_index(drop=True)
