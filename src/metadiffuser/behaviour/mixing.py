"""Mixed data: episodes whose returns are spread evenly between random and expert, task by task (deviation 38).

In the literature mixed data are the episodes of all checkpoints, or all that SAC has replayed. How far those lie
between random and expert depends on how fast SAC happened to learn. Here a task's episodes are played by many policies,
each a checkpoint with uniform actions at a share of the steps, and those are kept whose returns are nearest to evenly
spaced ones. Where some of these have no episode near them, policies like those that came near are played next.

Episodes are kept by what they returned. In families whose physics and rewards are functions of state and action this
chooses among behaviours and leaves the dynamics in the data as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from metadiffuser.data.episodes import Episodes
from metadiffuser.envs import Array

ROUNDS = 6  # of playing, at most
NEAR = 0.02  # of the gap between random and expert, within which an episode serves a target
SPREAD = 0.08  # standard deviation of the change of a share that came near
GOLDEN = (5**0.5 - 1) / 2  # whose multiples, modulo 1, fill the unit interval evenly


class Choice(NamedTuple):
    """How an episode is acted.

    Attributes:
        checkpoint: whose policy.
        sampled: whether its actions are sampled instead of its mean's.
        uniform: share of the steps at which the action is uniform in [-1, 1] instead.
    """

    checkpoint: int
    sampled: bool = True
    uniform: float = 0.0

    @property
    def actions(self) -> str:
        """What the card says of it."""
        return ("sampled" if self.sampled else "mean") + (" disturbed by uniform ones" if self.uniform else "")


def targets(random: float, expert: float, count: int) -> Array:
    """Return ``count`` returns (E,), evenly spaced between those of random actions and of the expert."""
    return random + (expert - random) * (np.arange(count) + 0.5) / count


def first_choices(checkpoints: int, count: int) -> list[Choice]:
    """Return the policies of the first ``count`` episodes: all checkpoints, every other time with uniform actions.

    Shares are squares of evenly spread numbers, since a few uniform actions already cost a robot much.
    """
    spread = np.linspace(0, checkpoints - 1, count).round().astype(int).tolist()
    shares = [(number * GOLDEN % 1.0) ** 2 if number % 2 else 0.0 for number in range(count)]
    return [Choice(checkpoint, True, share) for checkpoint, share in zip(spread, shares, strict=True)]


class Mixture:
    """One task's episodes, as near to evenly spread in return as those that were played allow.

    Args:
        goals: returns that are wanted (E,).
        checkpoints: C, of the task's policies.
    """

    def __init__(self, goals: Array, checkpoints: int):
        self.goals, self.checkpoints = goals, checkpoints
        self.choices: list[Choice] = []  # of the episodes that are kept, the e-th nearest to the e-th goal
        self.episodes: Episodes | None = None
        self._tried: list[Choice] = []
        self._returns: list[float] = []

    def add(self, choices: Sequence[Choice], episodes: Episodes) -> None:
        """Take what was played into account; keep the E distinct episodes that are nearest to the goals.

        Nearest means the least sum of squared differences of return.

        Args:
            choices: of each episode.
            episodes: as many.

        Raises:
            ValueError: there are fewer than E episodes to keep.
        """
        self._tried += choices
        self._returns += episodes.returns.tolist()
        everything = episodes if self.episodes is None else Episodes.join([self.episodes, episodes])
        if len(everything) < len(self.goals):
            raise ValueError(f"expected {len(self.goals)} episodes or more, got {len(everything)}")
        named = [*self.choices, *choices]
        distances = np.square(everything.returns[None].astype(np.float64) - self.goals[:, None])
        rows = linear_sum_assignment(distances)[1]
        self.choices = [named[row] for row in rows]
        self.episodes = everything.select(rows)

    def shuffled(self, generator: np.random.Generator) -> tuple[Episodes, list[Choice]]:
        """Return the episodes and what played them in random order, so that any part of them is as mixed."""
        assert self.episodes is not None
        order = generator.permutation(len(self.choices))
        return self.episodes.select(order), [self.choices[place] for place in order]

    def missing(self) -> NDArray[np.intp]:
        """Return which goals no episode is near."""
        assert self.episodes is not None
        gap = abs(self.goals[-1] - self.goals[0]) or 1.0
        return np.flatnonzero(np.abs(self.episodes.returns - self.goals) > NEAR * gap)

    def proposals(self, generator: np.random.Generator) -> list[Choice]:
        """Return a policy to play for each goal that is missing, none if there is none.

        It is one of the two that came nearest to the goal from below and above, with a neighbouring checkpoint and
        another share of uniform actions.
        """
        order = np.argsort(self._returns, kind="stable")
        ranked = np.asarray(self._returns)[order]
        found = []
        for goal in self.goals[self.missing()]:
            above = int(np.searchsorted(ranked, goal))
            place = np.clip(above - generator.integers(2), 0, len(ranked) - 1)
            near = self._tried[order[place]]
            checkpoint = int(np.clip(near.checkpoint + generator.integers(-1, 2), 0, self.checkpoints - 1))
            share = float(np.clip(near.uniform + SPREAD * generator.standard_normal(), 0.0, 1.0))
            found.append(Choice(checkpoint, True, round(share, 3)))
        return found
