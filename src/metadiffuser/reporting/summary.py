"""Means of cells with their intervals, and how cells differ: what tables and figures show.

All cells of a family that were run on the same seeds, tasks and episodes are resampled alike. A cell has the same
interval wherever it stands, and the interval of a difference is that of a paired comparison.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metadiffuser.evaluation.statistics import (
    Array,
    Bootstrap,
    Counts,
    interquartile_mean,
    p_value,
    pair_means,
    probability_of_improvement,
)
from metadiffuser.reporting.scores import CELL
from metadiffuser.seeding import numpy_generator

STREAM = "report-bootstrap"
NOT_A_NUMBER = float("nan")

Key = tuple[Any, ...]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A value with the bounds of its interval; NaN bounds where no interval can be given.

    ``mark`` is shown beside the value, such as ``†``.
    """

    value: float
    low: float = NOT_A_NUMBER
    high: float = NOT_A_NUMBER
    mark: str = ""


@dataclass(frozen=True)
class Difference:
    """How one cell differs from another on the same seeds, tasks and episodes.

    Attributes:
        mean: first minus second, mean over seeds and tasks.
        p: two-sided p-value of "no difference"; NaN where no interval can be given.
        median: median over tasks of the tasks' mean differences.
        won: tasks with a positive mean difference.
        tasks: all tasks compared.
    """

    mean: Estimate
    p: float
    median: float
    won: int
    tasks: int


@dataclass(frozen=True)
class _Runs:
    """The runs of a cell: values (N,) ordered by seed, task and episode, on a grid of S seeds x T tasks."""

    values: Array
    counts: Counts
    seeds: tuple[int, ...]
    tasks: tuple[int, ...]
    episodes: tuple[int, ...]

    @property
    def grid(self) -> tuple[Any, ...]:
        return self.seeds, self.tasks, self.counts.tobytes(), self.episodes

    def by_task(self) -> Array:
        """Return the mean of each task (T,)."""
        return pair_means(self.values[:, None], self.counts)[:, :, 0].mean(axis=0)

    def by_seed(self) -> Array:
        """Return the mean of each training seed (S,)."""
        return pair_means(self.values[:, None], self.counts)[:, :, 0].mean(axis=1)

    def strata(self) -> list[Array]:
        """Return the runs of each task, those of all seeds together."""
        parts = np.split(self.values, np.cumsum(self.counts.ravel())[:-1])
        width = len(self.tasks)
        return [np.concatenate(parts[place::width]) for place in range(width)]


def _runs(seed: Integers, task: Integers, episode: Integers, values: Array) -> _Runs | None:
    """Return a cell's runs, of equally long arrays, on the tasks that all of its seeds have; None without any."""
    present = ~np.isnan(values)
    seed, task, episode, values = seed[present], task[present], episode[present], values[present]
    if not len(values):
        return None
    seeds, rows = np.unique(seed, return_inverse=True)
    tasks, columns = np.unique(task, return_inverse=True)
    counts = np.bincount(rows * len(tasks) + columns, minlength=len(seeds) * len(tasks)).reshape(len(seeds), -1)
    complete = np.asarray((counts > 0).all(axis=0))
    if not complete.all():
        kept = complete[columns]
        return _runs(seed[kept], task[kept], episode[kept], values[kept])
    order = np.lexsort((episode, task, seed))
    return _Runs(values[order], counts, tuple(seeds.tolist()), tuple(tasks.tolist()), tuple(episode[order].tolist()))


class Cells:
    """The cells of a tidy table, family by family, with what tables show of them.

    Args:
        rows: episodes, with ``family``, ``keys``, ``seed``, ``task``, ``columns`` and, where a task has several,
            ``episode``.
        bootstrap: draws the resamples.
        keys: columns that tell cells apart.
        columns: what is averaged.
        fixed: families whose tasks are all there are: their tasks are not resampled.
        stream: names of the random stream, for cells that are other than the evaluation's.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        bootstrap: Bootstrap,
        *,
        keys: Sequence[str] = CELL,
        columns: Sequence[str] = ("return", "normalised"),
        fixed: Collection[str] = (),
        stream: Sequence[str] = (),
    ):
        self._bootstrap, self._columns, self._fixed, self._stream = bootstrap, tuple(columns), fixed, tuple(stream)
        self._found: dict[str, dict[tuple[Key, str], _Runs]] = {}
        named = ("seed", "task", "episode")
        integers = [rows[name].to_numpy(np.int64) if name in rows else np.zeros(len(rows), np.int64) for name in named]
        values = {column: rows[column].to_numpy(float) for column in columns}
        for key, places in rows.groupby(["family", *keys], sort=False).indices.items():
            assert isinstance(key, tuple)
            members = self._found.setdefault(str(key[0]), {})
            seed, task, episode = (column[places] for column in integers)
            for column in columns:
                runs = _runs(seed, task, episode, values[column][places])
                if runs is not None:
                    members[tuple(key[1:]), column] = runs
        self._means: dict[str, dict[tuple[Key, str], Array]] = {}

    def mean(self, family: str, cell: Key, column: str) -> Estimate | None:
        """Return the mean over seeds and tasks of a cell with its interval, or None without a value."""
        runs = self._found.get(family, {}).get((cell, column))
        if runs is None:
            return None
        return self._estimate(float(runs.by_task().mean()), self._resampled(family)[cell, column], [(family, runs)])

    def iqm(self, family: str, cell: Key, column: str = "normalised") -> float | None:
        """Return the interquartile mean over all pairs of training seed and task of the pairs' means."""
        runs = self._found.get(family, {}).get((cell, column))
        return None if runs is None else interquartile_mean(pair_means(runs.values[:, None], runs.counts).ravel())

    def by_task(self, family: str, cell: Key, column: str = "normalised") -> dict[int, float]:
        """Return the mean of each task, over seeds and episodes."""
        runs = self._found.get(family, {}).get((cell, column))
        return {} if runs is None else dict(zip(runs.tasks, map(float, runs.by_task()), strict=True))

    def by_seed(self, families: Sequence[str], cell: Key, column: str = "normalised") -> dict[int, float]:
        """Return the mean of each training seed that all of ``families`` have, each family counting the same."""
        runs = [self._found.get(family, {}).get((cell, column)) for family in families]
        means = [{} if found is None else dict(zip(found.seeds, found.by_seed(), strict=True)) for found in runs]
        shared = set(means[0]).intersection(*means[1:]) if means else set()
        return {seed: float(np.mean([mean[seed] for mean in means])) for seed in sorted(shared)}

    def average(self, families: Sequence[str], cell: Key, column: str = "normalised") -> Estimate | None:
        """Return a cell's mean over families, each counting the same, with its interval; families are fixed.

        None if one of the families has no value of the cell: averages over other families do not compare.
        """
        runs = [self._found.get(family, {}).get((cell, column)) for family in families]
        present = [(family, found) for family, found in zip(families, runs, strict=True) if found is not None]
        if not present or len(present) < len(families):
            return None
        value = float(np.mean([found.by_task().mean() for _, found in present]))
        means = np.mean([self._resampled(family)[cell, column] for family in families], axis=0)
        return self._estimate(value, means, present)

    def difference(self, family: str, first: Key, second: Key, column: str) -> Difference | None:
        """Compare two cells on the seeds, tasks and episodes that both have; None if they share none."""
        return self.average_difference([family], first, second, column)

    def average_difference(
        self, families: Sequence[str], first: Key, second: Key, column: str = "normalised", bound: float = 0.0
    ) -> Difference | None:
        """Compare two cells over families, each counting the same, as ``difference`` does; families are fixed.

        The p-value is that of "the difference is ``bound``". None if the cells share nothing in one of the families.
        """
        found = [self._paired(family, first, second, column) for family in families]
        present = [pair for pair in found if pair is not None]
        if not present or len(present) < len(families):
            return None
        gaps = [(family, gap) for family, (gap, _) in zip(families, present, strict=True)]
        by_task = [gap.by_task() for _, gap in gaps]
        means = np.mean([drawn for _, drawn in present], axis=0)
        mean = self._estimate(float(np.mean([tasks.mean() for tasks in by_task])), means, gaps)
        p = NOT_A_NUMBER if np.isnan(mean.low) else p_value(means - bound)
        tasks = np.concatenate(by_task)
        return Difference(mean, p, float(np.median(tasks)), int((tasks > 0).sum()), len(tasks))

    def _paired(self, family: str, first: Key, second: Key, column: str) -> tuple[_Runs, Array] | None:
        """Return first minus second, run by run, and its resampled means (M,); None if the cells share nothing."""
        members = self._found.get(family, {})
        ours, theirs = members.get((first, column)), members.get((second, column))
        if ours is None or theirs is None:
            return None
        if ours.grid == theirs.grid:
            means = self._resampled(family)
            return replace(ours, values=ours.values - theirs.values), means[first, column] - means[second, column]
        shared = _shared(ours, theirs)
        if shared is None:
            return None
        ours, values = shared
        gap = replace(ours, values=ours.values - values)
        return gap, self._draw(family, gap, gap.values[:, None])[:, 0]

    def improvement(self, family: str, first: Key, second: Key, column: str = "return") -> float | None:
        """Return the probability that a run of the first cell beats one of the second on the same task."""
        members = self._found.get(family, {})
        ours, theirs = members.get((first, column)), members.get((second, column))
        if ours is None or theirs is None or ours.tasks != theirs.tasks:
            return None
        return probability_of_improvement(ours.strata(), theirs.strata())

    def seeds(self, cell: Key) -> int:
        """Return the smallest number of training seeds that the cell has in a family; 0 without any."""
        found = [
            len(runs.seeds) for members in self._found.values() for (key, _), runs in members.items() if key == cell
        ]
        return min(found, default=0)

    def profile(self, family: str, cell: Key, thresholds: Array) -> Array | None:
        """Return the share of runs above each of P thresholds (P,), or None without a value."""
        runs = self._found.get(family, {}).get((cell, "normalised"))
        return None if runs is None else pair_means(_above(runs, thresholds), runs.counts).mean(axis=(0, 1))

    def band(self, family: str, cell: Key, thresholds: Array) -> tuple[Array, Array]:
        """Return the bounds of ``profile``, (P,) each; NaN where no interval can be given.

        Raises ``KeyError`` if the cell has no value.
        """
        runs = self._found[family][cell, "normalised"]
        if not self._varies(family, runs):
            unknown = np.full(len(thresholds), np.nan)
            return unknown, unknown
        return self._bootstrap.bounds(self._draw(family, runs, _above(runs, thresholds)))

    def _estimate(self, value: float, means: Array, parts: Sequence[tuple[str, _Runs]]) -> Estimate:
        if not any(self._varies(family, runs) for family, runs in parts):
            return Estimate(value)
        low, high = self._bootstrap.bounds(means)
        return Estimate(value, float(low), float(high))

    def _varies(self, family: str, runs: _Runs) -> bool:
        """Say whether a resample can differ from the runs themselves."""
        tasks = 1 if family in self._fixed else len(runs.tasks)
        return len(runs.seeds) > 1 or tasks > 1 or bool((runs.counts > 1).any())

    def _draw(self, family: str, runs: _Runs, values: Array) -> Array:
        """Return resampled means (M, K) of values (N, K) on a grid; the stream is that of the grid alone."""
        shape = "x".join(map(str, (*runs.counts.shape, len(values))))
        generator = numpy_generator(0, STREAM, *self._stream, family, shape)
        return self._bootstrap.resampled_means(values, runs.counts, generator, family in self._fixed)

    def _resampled(self, family: str) -> Mapping[tuple[Key, str], Array]:
        """Return the resampled means (M,) of every cell and column of a family."""
        if family not in self._means:
            grids: dict[tuple[Any, ...], list[tuple[tuple[Key, str], _Runs]]] = {}
            for name, runs in self._found[family].items():
                grids.setdefault(runs.grid, []).append((name, runs))
            means: dict[tuple[Key, str], Array] = {}
            for members in grids.values():
                values = np.stack([runs.values for _, runs in members], axis=1)
                drawn = self._draw(family, members[0][1], values)
                means |= {name: drawn[:, place] for place, (name, _) in enumerate(members)}
            self._means[family] = means
        return self._means[family]


def _above(runs: _Runs, thresholds: Array) -> Array:
    """Return whether each run is above each threshold: (N, P)."""
    return (runs.values[:, None] > thresholds).astype(float)


def _shared(first: _Runs, second: _Runs) -> tuple[_Runs, Array] | None:
    """Return the first cell's runs, and the second's values, on what both have; None if that is nothing."""
    tables = []
    for runs in (first, second):
        counts = runs.counts.ravel()
        pairs = [(seed, task) for seed in runs.seeds for task in runs.tasks]
        index = np.repeat(np.asarray(pairs).reshape(-1, 2), counts, axis=0)
        tables.append(
            pd.DataFrame({"seed": index[:, 0], "task": index[:, 1], "episode": runs.episodes, "value": runs.values})
        )
    both = tables[0].merge(tables[1], on=["seed", "task", "episode"], suffixes=("", "_other"))
    seed, task, episode = (both[name].to_numpy(np.int64) for name in ("seed", "task", "episode"))
    ours, theirs = (_runs(seed, task, episode, both[name].to_numpy(float)) for name in ("value", "value_other"))
    return None if ours is None or theirs is None else (ours, theirs.values)
