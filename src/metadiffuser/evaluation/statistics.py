"""Scores, averages and their uncertainty, as pure functions of arrays (metadiffuser.md, section 4).

The runs of a cell of the evaluation form a grid: S training seeds x T tasks x E episodes. ``Bootstrap`` resamples all
three levels (``resampled_means``), or the runs of fixed strata alone (``interval``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Strata = Sequence[Array]

TRIMMED = 0.25  # share of the scores that the interquartile mean leaves out at either end
CHUNK = 500_000  # episodes drawn at a time: bounds the memory of a bootstrap


def normalised_score(returns: ArrayLike, random: ArrayLike, expert: ArrayLike) -> Array:
    """Return 100 * (R - R_random) / (R_expert - R_random); arguments broadcast.

    The score is NaN where the expert is no better than the random policy: there is no scale to measure on.
    """
    achieved, low, high = (np.asarray(value, float) for value in (returns, random, expert))
    span = np.where(high > low, high - low, np.nan)
    return np.asarray(100.0 * (achieved - low) / span)


def mean_over_tasks(strata: Strata) -> Array:
    """Return the mean over tasks of the mean over a task's runs: strata (..., R_n) -> (...)."""
    return np.mean([stratum.mean(axis=-1) for stratum in strata], axis=0)


def interquartile_mean(values: ArrayLike) -> float:
    """Return the mean of the middle half of ``values`` (N,)."""
    ordered = np.sort(np.asarray(values, float))
    cut = int(TRIMMED * len(ordered))
    return float(ordered[cut : len(ordered) - cut].mean())


def probability_of_improvement(first: Strata, second: Strata) -> float:
    """Return the probability that a run of ``first`` beats one of ``second`` on the same task.

    Averaged over tasks; a tie counts one half. Strata (R_n,) and (Q_n,), one a task.
    """
    wins = [
        np.mean((np.sign(ours[:, None] - theirs[None, :]) + 1.0) / 2.0)
        for ours, theirs in zip(first, second, strict=True)
    ]
    return float(np.mean(wins))


def pair_means(values: Array, counts: Counts) -> Array:
    """Return the mean over the episodes of every (seed, task).

    Args:
        values: (N, K), the episodes of K cells, ordered by seed, then task; N is the sum of ``counts``.
        counts: (S, T), episodes of each seed and task, each at least one.

    Returns:
        (S, T, K).
    """
    first = np.concatenate([[0], np.cumsum(counts.ravel())[:-1]])
    sums = np.add.reduceat(values, first, axis=0)
    return np.asarray((sums / counts.ravel()[:, None]).reshape(*counts.shape, values.shape[1]))


def p_value(differences: Array) -> float:
    """Return the two-sided bootstrap p-value of "no difference", given M resampled differences (M,).

    Twice the smaller share of resamples on either side of zero, zeros counting on both; with M resamples it is never
    below 2 / (M + 1).
    """
    tail = 1 + min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2.0 * tail / (len(differences) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down method for the number of comparisons, in the given order.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6 (1979).
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


@dataclass(frozen=True)
class Bootstrap:
    """The percentile bootstrap.

    Attributes:
        confidence: coverage of the interval, in (0, 1).
        samples: M, the number of resamples.
    """

    confidence: float
    samples: int

    def resampled_means(
        self, values: Array, counts: Counts, generator: np.random.Generator, keep_tasks: bool = False
    ) -> Array:
        """Return the means (M, K) of M hierarchical resamples of K cells that were run on one grid.

        A resample draws S seeds with replacement, then T tasks, the same for all of its seeds because all seeds play
        the same tasks, and then, for each drawn seed and task, as many episodes as it has. All K cells are resampled
        alike, so that the difference of two columns is the paired one.

        Args:
            values: (N, K), the episodes of K cells, ordered by seed, then task; N is the sum of ``counts``.
            counts: (S, T), episodes of each seed and task, each at least one.
            generator: draws the resamples.
            keep_tasks: keep the tasks as they are and draw seeds and episodes alone, for tasks that are all there are.
        """
        return np.concatenate([weights @ values for weights in self._weights(counts, generator, keep_tasks)])

    def _weights(self, counts: Counts, generator: np.random.Generator, keep_tasks: bool) -> Iterator[Array]:
        """Yield the weight of each episode in each resample, a chunk of resamples at a time: (C, N)."""
        seeds, tasks = counts.shape
        most, size = int(counts.max()), int(counts.sum())
        first = np.concatenate([[0], np.cumsum(counts.ravel())[:-1]]).reshape(counts.shape)
        uneven = bool((counts != most).any())
        step = max(1, CHUNK // (seeds * tasks * most))
        for start in range(0, self.samples, step):
            chunk = min(step, self.samples - start)
            rows = generator.integers(0, seeds, (chunk, seeds, 1))
            columns = generator.integers(0, tasks, (chunk, 1, tasks))
            if keep_tasks:
                columns = np.broadcast_to(np.arange(tasks), columns.shape)
            if uneven:
                here = counts[rows, columns][..., None]
                share = generator.random((chunk, seeds, tasks, most))
                drawn = np.minimum((share * here).astype(np.int64), here - 1)
                weights = ((np.arange(most) < here) / here).ravel()
            else:
                drawn, weights = generator.integers(0, most, (chunk, seeds, tasks, most)), None
            places = drawn + first[rows, columns][..., None] + (np.arange(chunk) * size)[:, None, None, None]
            found = np.bincount(places.ravel(), weights, minlength=chunk * size).astype(float)
            yield found.reshape(chunk, size) / (seeds * tasks * (1 if uneven else most))

    def bounds(self, means: Array) -> tuple[Array, Array]:
        """Return the (low, high) bounds of resampled values: (M, ...) -> (...), (...)."""
        tail = (1.0 - self.confidence) / 2.0
        low, high = np.quantile(means, (tail, 1.0 - tail), axis=0)
        return low, high

    def interval(
        self, statistic: Callable[..., Array], *groups: Strata, generator: np.random.Generator
    ) -> tuple[float, float]:
        """Return the (low, high) bounds of ``statistic(*groups)``, resampling the runs within each stratum alone.

        Both are NaN if no stratum has two runs: nothing then tells how much a run varies.
        """
        if all(stratum.shape[-1] < 2 for group in groups for stratum in group):
            return float("nan"), float("nan")
        drawn = [[self._resample(stratum, generator) for stratum in group] for group in groups]
        low, high = self.bounds(statistic(*drawn))
        return float(low), float(high)

    def _resample(self, stratum: Array, generator: np.random.Generator) -> Array:
        """Return M resamples (M, R) of a stratum (R,), with replacement."""
        return stratum[generator.integers(0, len(stratum), (self.samples, len(stratum)))]
