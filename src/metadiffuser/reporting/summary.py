"""Averages, intervals and comparisons of the tidy score table; what tables and figures show.

The bootstrap of a cell draws from a stream named after the cell, so that a cell has the same interval in
every table and figure, whatever else stands there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from metadiffuser.evaluation import statistics
from metadiffuser.evaluation.statistics import Array, Bootstrap
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.style import family_title
from metadiffuser.seeding import numpy_generator

STREAM = "report-bootstrap"


@dataclass(frozen=True)
class Estimate:
    """A value with the bounds of its interval; NaN bounds where no interval can be given."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True)
class Paired:
    """How one cell differs from another on the same tasks and seeds.

    Attributes:
        difference: mean over tasks and seeds, its interval that of other tasks and seeds.
        positive: share of the resamples in which the difference is above zero, ties counting one half.
    """

    difference: Estimate
    positive: float


@dataclass(frozen=True)
class Size:
    """How many tasks, episodes (per task and seed) and training seeds a family's scores rest on.

    ``unscored`` counts tasks without a normalised score: their expert is no better than random.
    """

    family: str
    tasks: int
    episodes: int
    seeds: int
    unscored: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable record."""
        return asdict(self)


def reference_cell(scores: pd.DataFrame) -> tuple[str, str]:
    """Return MetaDiffuser's own (guide, context): those that the most other cells vary around."""
    own = scores[scores["method"] == "metadiffuser"]
    guides = own.groupby("guide", sort=False)["context"].nunique()
    contexts = own.groupby("context", sort=False)["guide"].nunique()
    if own.empty:
        return "dual", "expert"
    return str(guides.idxmax()), str(contexts.idxmax())


def strata(rows: pd.DataFrame, column: str) -> list[Array]:
    """Return the values of ``column`` task by task, each (R,); tasks without a value are left out."""
    present = rows.dropna(subset=[column])
    return [group[column].to_numpy(float) for _, group in present.groupby("task", sort=True)]


def estimate(rows: pd.DataFrame, column: str, bootstrap: Bootstrap, *stream: str) -> Estimate | None:
    """Return the mean over tasks of ``column`` with its interval, or None without a value."""
    return _estimate(statistics.mean_over_tasks, [strata(rows, column)], bootstrap, column, *stream)


def _estimate(statistic: Any, groups: Sequence[list[Array]], bootstrap: Bootstrap, *stream: str) -> Estimate | None:
    if not all(groups):
        return None
    generator = numpy_generator(0, STREAM, *stream)
    return Estimate(float(statistic(*groups)), *bootstrap.interval(statistic, *groups, generator=generator))


def summarise(scores: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """Return one row per family and cell: ``return`` and ``normalised`` as ``Estimate``, ``iqm`` as a number."""
    rows = []
    for key, group in scores.groupby(["family", *CELL], sort=False):
        names = [str(name) for name in key]
        normalised = strata(group, "normalised")
        iqm = float(statistics.interquartile_mean(normalised)) if normalised else None
        means = [estimate(group, column, bootstrap, *names) for column in ("return", "normalised")]
        rows.append((*names, *means, iqm))
    return pd.DataFrame(rows, columns=["family", *CELL, "return", "normalised", "iqm"])


def mean_over_families(*groups: Sequence[Array]) -> Array:
    """Return the mean over families of the mean over a family's tasks: one group of strata a family."""
    return np.asarray(np.mean([statistics.mean_over_tasks(group) for group in groups], axis=0))


def family_average(scores: pd.DataFrame, cell: Sequence[str], bootstrap: Bootstrap) -> Estimate | None:
    """Return a cell's normalised score averaged over families, each counting the same.

    None if one of the families of ``scores`` has no score of the cell: averages over other families do not compare.
    """
    members = scores[(scores[list(CELL)] == list(cell)).all(axis=1)]
    groups = [strata(members[members["family"] == family], "normalised") for family in scores["family"].unique()]
    return _estimate(mean_over_families, groups, bootstrap, "families", *cell)


def compare(scores: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """Compare MetaDiffuser's reference cell with every other cell of the same family, on the same tasks.

    Returns:
        One row per family and other cell: ``difference`` of mean returns and ``improvement``, the probability
        that a run of the reference beats one of the other on the same task; both as ``Estimate``.
    """
    guide, context = reference_cell(scores)
    rows = []
    for family, members in scores.groupby("family", sort=False):
        is_reference = (members[list(CELL)] == ["metadiffuser", guide, context]).all(axis=1)
        reference = members[is_reference]
        for key, other in members[~is_reference].groupby(list(CELL), sort=False):
            tasks = set(reference["task"]) & set(other["task"])
            groups = [strata(part[part["task"].isin(tasks)], "return") for part in (reference, other)]
            stream = (str(family), *map(str, key))
            gap = difference(reference, other, "return", bootstrap, *stream)
            improvement = _estimate(statistics.probability_of_improvement, groups, bootstrap, "improvement", *stream)
            rows.append((family, *key, gap, improvement))
    return pd.DataFrame(rows, columns=["family", *CELL, "difference", "improvement"])


@dataclass(frozen=True)
class Profile:
    """A performance profile with its band: shares (P,) at P thresholds; NaN bounds where none can be given."""

    value: Array
    low: Array
    high: Array


def profile(rows: pd.DataFrame, column: str, thresholds: Array, bootstrap: Bootstrap, *stream: str) -> Profile | None:
    """Return the share of runs whose ``column`` is above each of ``thresholds`` (P,), or None without a value."""
    groups = strata(rows, column)
    if not groups:
        return None

    def shares(found: Sequence[Array]) -> Array:
        return statistics.performance_profile(found, thresholds)

    generator = numpy_generator(0, STREAM, "profile", *stream)
    return Profile(shares(groups), *bootstrap.band(shares, groups, generator=generator))


def difference(
    first: pd.DataFrame, second: pd.DataFrame, column: str, bootstrap: Bootstrap, *stream: str
) -> Estimate | None:
    """Return the difference of two cells' means over the tasks that both have, with its stratified interval."""
    tasks = set(first["task"]) & set(second["task"])
    groups = [strata(part[part["task"].isin(tasks)], column) for part in (first, second)]
    return _estimate(statistics.difference_of_means, groups, bootstrap, "difference", *stream)


def paired(first: pd.DataFrame, second: pd.DataFrame, column: str, bootstrap: Bootstrap, *stream: str) -> Paired | None:
    """Compare two cells on the same tasks and seeds; None if they share no task.

    Args:
        first: rows of one cell, with ``seed``, ``task`` and ``column``; several rows of a task are averaged.
        second: rows of the other.
        column: what is compared.
        bootstrap: draws seeds and tasks.
        stream: names of the random stream.
    """
    grids = [rows.pivot_table(index="seed", columns="task", values=column) for rows in (first, second)]
    difference = (grids[0] - grids[1]).dropna(axis=0, how="all").dropna(axis=1, how="any").to_numpy(float)
    if difference.size == 0:
        return None
    value = float(difference.mean())
    if difference.shape[1] < 2:
        return Paired(Estimate(value), float("nan"))
    means = bootstrap.crossed_means(difference, numpy_generator(0, STREAM, "paired", column, *stream))
    return Paired(Estimate(value, *bootstrap.bounds(means)), float(np.mean((1.0 + np.sign(means)) / 2.0)))


def oracle(behaviour: pd.DataFrame) -> pd.DataFrame:
    """Return the expert's episodes on the unseen tasks in the columns of the score table."""
    rows = behaviour[(behaviour["quality"] == "expert") & (behaviour["split"] == "test")]
    named = rows.assign(method="expert", guide="none", context="none", seed=0)
    return named.drop(columns=["quality", "split"])


def sizes(scores: pd.DataFrame) -> list[Size]:
    """Return the sample sizes of each family's reference cell."""
    guide, context = reference_cell(scores)
    rows = scores[(scores["method"] == "metadiffuser") & (scores["guide"] == guide) & (scores["context"] == context)]
    found = []
    for family, group in rows.groupby("family", sort=False):
        runs = group.groupby(["task", "seed"]).size()
        unscored = int(group.groupby("task")["normalised"].apply(lambda values: values.isna().all()).sum())
        tasks, seeds = group["task"].nunique(), group["seed"].nunique()
        found.append(Size(str(family), tasks, int(np.median(runs)), seeds, unscored))
    return found


def anchors_text(imported: Mapping[str, str]) -> str:
    """Return what captions say of the anchors of families with imported data; nothing if there are none.

    Args:
        imported: {family: how its episodes got their labels, ``given`` or ``ranked``}.
    """
    parts = []
    for family, labels in imported.items():
        anchors = "its episodes labelled random and expert"
        if labels == "ranked":
            anchors = "the worst and the best third of its episodes on the task, ranked by return"
        parts.append(f"{family_title(family)}: imported data; R_random and R_expert are the means of {anchors}.")
    return " ".join(parts)


def sizes_text(found: Sequence[Size]) -> str:
    """Return the sample sizes in words: tasks x episodes x seeds, families of one size together."""
    families: dict[str, list[str]] = {}
    for size in found:
        seeds = f"{size.seeds} training seed" + ("s" if size.seeds != 1 else "")
        text = f"{size.tasks} unseen tasks × {size.episodes} episodes × {seeds}"
        if size.unscored:
            text += f" ({size.unscored} of the tasks without a normalised score: their expert is no better than random)"
        families.setdefault(text, []).append(family_title(size.family))
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in families.items())
