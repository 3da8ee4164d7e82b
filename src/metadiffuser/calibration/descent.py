"""Coordinate descent over settings, and the rule by which one setting is chosen of those that were compared.

The coordinates are gone through once, in order. At each, what was chosen so far is compared with the coordinate's
values, all else being equal, until the budget of settings is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = Mapping[str, Any]
Scores = NDArray[np.float64]
Coordinate = Callable[[Values], Sequence[Values]]  # what is chosen so far -> the values to compare it with
Play = Callable[[Sequence[Values]], Sequence[Scores]]  # settings -> the score of each task (N,), for each


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
        values: of every calibrated key.
        scores: of each task (N,), NaN where a task has none.
    """

    values: Values
    scores: Scores

    @property
    def mean(self) -> float:
        """Mean score over the tasks that have one; NaN if none has."""
        known = self.scores[~np.isnan(self.scores)]
        return float(known.mean()) if len(known) else float("nan")


def one_key(key: str, values: Sequence[Any]) -> Coordinate:
    """Return the coordinate of a single key."""
    return lambda _: [{key: value} for value in values]


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
        values: list[Values] = [{**chosen, **changed} for changed in coordinate(chosen)]
        values = [chosen, *(each for each in values if each != chosen)]
        known = [trial.values for trial in tried]
        new = [each for each in values if each not in known][: budget - len(tried)]
        if new:
            tried += [Trial(each, scores) for each, scores in zip(new, play(new), strict=True)]
        compared = [trial for each in values for trial in tried if trial.values == each]
        chosen = choose(compared).values
    if not tried:
        tried = [Trial(chosen, *play([chosen]))]
    return tried, next(trial for trial in tried if trial.values == chosen)


def choose(trials: Sequence[Trial]) -> Trial:
    """Return the first trial that is not behind the best one by more than one standard error.

    The error is that of the mean difference of the two over the tasks, which they play with the same starts, warm-start
    data and noise. So an earlier value stands unless another is better by more than noise, and of several that are,
    the first listed is taken (the one-standard-error rule: Breiman et al. 1984, section 3.4.3). Tasks without a score
    do not count; where none has one, the first trial stands.
    """
    scored = [trial for trial in trials if not np.isnan(trial.mean)]
    if not scored:
        return trials[0]
    best = max(scored, key=lambda trial: trial.mean)
    for trial in scored:
        difference = best.scores - trial.scores
        difference = difference[~np.isnan(difference)]
        error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
        if difference.mean() <= error:
            return trial
    return best
