"""Coordinate descent over settings, and the rule by which one setting is chosen of those that were compared.

The coordinates are gone through once, in order. At each, what was chosen so far is compared with the coordinate's
values, all else being equal, until the budget of settings is spent. Scores decide; of a coordinate that is there to
keep plans consistent, the errors of the plans decide between settings that score alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = Mapping[str, Any]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
        values: of every calibrated key.
        scores: of each task (N,), NaN where a task has none.
        errors: how far plans are off the state that follows, of each task (N,); empty of a method without plans.
    """

    values: Values
    scores: Scores
    errors: Scores = field(default_factory=lambda: np.empty(0))

    @property
    def mean(self) -> float:
        """Mean score over the tasks that have one; NaN if none has."""
        return _mean(self.scores)

    @property
    def error(self) -> float:
        """Mean error of the plans over the tasks; NaN of a method without plans."""
        return _mean(self.errors)


Play = Callable[[Sequence[Values]], Sequence[Trial]]  # plays settings


@dataclass(frozen=True)
class Coordinate:
    """What is compared at one step of the descent.

    Attributes:
        values: what is chosen so far -> the values to compare it with.
        by_error: of the settings that score alike, the one whose plans err least is chosen, and not the first.
    """

    values: Callable[[Values], Sequence[Values]]
    by_error: bool = False


def one_key(key: str, values: Sequence[Any]) -> Coordinate:
    """Return the coordinate of a single key."""
    return Coordinate(lambda _: [{key: value} for value in values])


def descend(start: Values, coordinates: Sequence[Coordinate], budget: int, play: Play) -> tuple[list[Trial], Trial]:
    """Return the settings tried, the first being ``start``, and the one that is chosen.

    Args:
        start: the setting to begin with, the method's own.
        coordinates: compared one after the other.
        budget: most settings that are tried, ``start`` included; at least one.
        play: plays settings, all with the same noise. It is asked for all new settings of a coordinate at once.
    """
    tried: list[Trial] = []
    chosen: Values = dict(start)
    for coordinate in coordinates:
        values: list[Values] = [{**chosen, **changed} for changed in coordinate.values(chosen)]
        values = [chosen, *(each for each in values if each != chosen)]
        known = [trial.values for trial in tried]
        new = [each for each in values if each not in known][: budget - len(tried)]
        if new:
            tried += play(new)
        compared = [trial for each in values for trial in tried if trial.values == each]
        chosen = choose(compared, coordinate.by_error).values
    if not tried:
        tried = list(play([chosen]))
    return tried, next(trial for trial in tried if trial.values == chosen)


def choose(trials: Sequence[Trial], by_error: bool = False) -> Trial:
    """Return the first trial that scores like the best one; by error, the first of these that also errs like the best.

    Alike are trials of which none is behind the best by more than one standard error. The error is that of the mean
    difference of the two over the tasks, which they play with the same starts, warm-start data and noise. So an earlier
    value stands unless another is better by more than noise, and of several that are, the first listed is taken (the
    one-standard-error rule: Breiman et al. 1984, section 3.4.3). Tasks without a score do not count; where none has
    one, the first trial stands.
    """
    alike = _like_the_best(trials, [trial.scores for trial in trials])
    if by_error:
        alike = _like_the_best(alike, [-trial.errors for trial in alike])
    return alike[0]


def _like_the_best(trials: Sequence[Trial], worth: Sequence[Scores]) -> list[Trial]:
    """Return the trials whose worth by task (N,), one row for each trial, is like that of the best one."""
    known = [(trial, row) for trial, row in zip(trials, worth, strict=True) if not np.isnan(row).all()]
    if not known:
        return list(trials)
    best = max((row for _, row in known), key=_mean)
    return [trial for trial, row in known if not _is_behind(row, best)]


def _is_behind(row: Scores, best: Scores) -> bool:
    difference = best - row
    difference = difference[~np.isnan(difference)]
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    return bool(difference.mean() > error)


def _mean(values: Scores) -> float:
    """Return the mean of those that are not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
