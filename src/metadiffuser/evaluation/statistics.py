"""Scores, averages and their uncertainty, as pure functions of arrays (method section 4).

A *stratum* holds the runs (seeds x episodes) of one task, shape (R,); strata may differ in length. Every
statistic reduces the last axis and keeps the axes before it, so that it takes the runs as measured and
M bootstrap resamples of them (M, R) alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Strata = Sequence[Array]

TRIMMED = 0.25  # share of the scores that the interquartile mean leaves out at either end


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


def interquartile_mean(strata: Strata) -> Array:
    """Return the mean of the middle half of the runs of all tasks pooled: strata (..., R_n) -> (...)."""
    pooled = np.sort(np.concatenate(list(strata), axis=-1), axis=-1)
    cut = int(TRIMMED * pooled.shape[-1])
    return np.asarray(pooled[..., cut : pooled.shape[-1] - cut].mean(axis=-1))


def difference_of_means(first: Strata, second: Strata) -> Array:
    """Return ``mean_over_tasks(first) - mean_over_tasks(second)``."""
    return mean_over_tasks(first) - mean_over_tasks(second)


def probability_of_improvement(first: Strata, second: Strata) -> Array:
    """Return the probability that a run of ``first`` beats one of ``second`` on the same task.

    Averaged over tasks; a tie counts one half. Strata (..., R_n) and (..., Q_n) -> (...).
    """
    wins = []
    for ours, theirs in zip(first, second, strict=True):
        gaps = ours[..., :, None] - theirs[..., None, :]
        wins.append(np.mean((np.sign(gaps) + 1.0) / 2.0, axis=(-2, -1)))
    return np.mean(wins, axis=0)


def performance_profile(strata: Strata, thresholds: Array) -> Array:
    """Return the share of runs above each of P thresholds, averaged over tasks: strata (..., R_n) -> (..., P)."""
    shares = [np.mean(stratum[..., None, :] > thresholds[:, None], axis=-1) for stratum in strata]
    return np.mean(shares, axis=0)


@dataclass(frozen=True)
class Bootstrap:
    """The percentile bootstrap.

    ``interval`` and ``band`` are stratified: tasks stay, the runs within each task are drawn anew. ``crossed_means``
    draws seeds and tasks anew, and so speaks of other tasks of the family as well.

    Attributes:
        confidence: coverage of the interval, in (0, 1).
        samples: M, the number of resamples.
    """

    confidence: float
    samples: int

    def interval(
        self, statistic: Callable[..., Array], *groups: Strata, generator: np.random.Generator
    ) -> tuple[float, float]:
        """Return the (low, high) bounds of ``statistic(*groups)``.

        Both are NaN if no task has two runs: nothing then tells how much a run varies.
        """
        low, high = self.band(statistic, *groups, generator=generator)
        return float(low), float(high)

    def band(
        self, statistic: Callable[..., Array], *groups: Strata, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """Return the (low, high) bounds, each (...), of a statistic that has values (...); see ``interval``."""
        if all(stratum.shape[-1] < 2 for group in groups for stratum in group):
            unknown = np.full_like(np.asarray(statistic(*groups), float), np.nan)
            return unknown, unknown
        drawn = [[self._resample(stratum, generator) for stratum in group] for group in groups]
        low, high = np.quantile(statistic(*drawn), self._tails(), axis=0)
        return low, high

    def crossed_means(self, values: Array, generator: np.random.Generator) -> Array:
        """Return M means (M,) of ``values`` (seeds, tasks), seeds and tasks both drawn anew with replacement.

        A single seed stays, and the means then tell of tasks alone.
        """
        seeds, tasks = values.shape
        rows = generator.integers(0, seeds, (self.samples, seeds, 1))
        columns = generator.integers(0, tasks, (self.samples, 1, tasks))
        return np.asarray(values[rows, columns].mean(axis=(1, 2)))

    def bounds(self, means: Array) -> tuple[float, float]:
        """Return the (low, high) bounds of resampled means (M,)."""
        low, high = np.quantile(means, self._tails())
        return float(low), float(high)

    def _tails(self) -> tuple[float, float]:
        tail = (1.0 - self.confidence) / 2.0
        return tail, 1.0 - tail

    def _resample(self, stratum: Array, generator: np.random.Generator) -> Array:
        """Return M resamples (M, R) of a stratum (R,), with replacement."""
        return stratum[generator.integers(0, len(stratum), (self.samples, len(stratum)))]
