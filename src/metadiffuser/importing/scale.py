"""The scale of stored actions, if they are the family's up to a factor: displacements or torques, say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metadiffuser.envs import Array, Family, Task
from metadiffuser.importing.replay import replay

TRIED = 512  # transitions at most, spread evenly
TYPICAL = 0.95  # quantile of the differences that has to be within the tolerance: contacts scatter the rest
REFINEMENTS = 4
NUDGE = 0.01  # relative change of the scale for the slope
DIGITS = (1, 2, 3, 6)  # of a scale, tried in this order
ROUNDING = 1e-5


@dataclass(frozen=True)
class Transitions:
    """Stored transitions of one task.

    Attributes:
        family: whose they may be.
        task: whose physics.
        threads: CPU threads of the simulator.
        states: s (N, S).
        actions: a (N, A).
        successors: s' (N, S).
    """

    family: Family
    task: Task
    threads: int
    states: Array
    actions: Array
    successors: Array

    def __repr__(self) -> str:
        return f"Transitions({self.family.name}, task {self.task.index}, N={len(self.states)})"

    def sample(self) -> Transitions:
        """Return at most ``TRIED`` of them, whose states the simulator can be set to."""
        chosen = np.unique(np.linspace(0, len(self.states) - 1, TRIED).round().astype(int))
        still = np.zeros_like(self.actions[chosen])
        restored = replay(self.family, self.task, self.states[chosen], still, self.threads).restored
        rows = chosen[restored]
        stored = (array[rows] for array in (self.states, self.actions, self.successors))
        return Transitions(self.family, self.task, self.threads, *stored)

    def missed(self, actions: Array) -> Array:
        """Return s' minus what the simulator makes of ``actions`` (N, A), which it clips."""
        return self.successors - replay(self.family, self.task, self.states, actions, self.threads).successors


def _typical(missed: Array) -> float:
    return float(np.quantile(np.abs(missed).max(axis=1), TYPICAL))


def clipping_agrees(transitions: Transitions, tolerance: float) -> bool:
    """Return whether actions beyond [-1, 1] lead to s' if they are clipped to it."""
    some = transitions.sample()
    return bool(len(some.states)) and _typical(some.missed(np.clip(some.actions, -1.0, 1.0))) <= tolerance


def matching_scale(transitions: Transitions, tolerance: float) -> float | None:
    """Return the factor by which actions lead to s', in as few digits as describe it, None if there is none.

    It is found by Gauss-Newton steps on the squared differences of s', and kept only if the multiplied actions stay in
    [-1, 1] and lead to s' within the tolerance. It is 1 if they do so as they are stored.

    Args:
        transitions: stored transitions.
        tolerance: largest accepted difference of an entry of s'.
    """
    largest = float(np.abs(transitions.actions).max(initial=0.0))
    some = transitions.sample()
    if not largest or not len(some.states):
        return None
    if _typical(some.missed(some.actions)) <= tolerance:
        return 1.0
    scale = 0.5 / largest
    for _ in range(REFINEMENTS):
        missed = some.missed(scale * some.actions)
        slope = (missed - some.missed((1 + NUDGE) * scale * some.actions)) / (NUDGE * scale)
        weight = np.abs(slope).max(axis=0)  # makes entries of different units comparable
        used = weight > 0
        slope, missed = slope[:, used] / weight[used], missed[:, used] / weight[used]
        step = float((slope * missed).sum() / max(float((slope**2).sum()), np.finfo(float).tiny))
        scale = float(np.clip(scale + step, 0.0, 1 / largest))
        if not scale:
            return None
    best = _typical(some.missed(scale * some.actions))
    for digits in DIGITS:
        rounded = float(f"{scale:.{digits}g}")
        if rounded * largest <= 1 + ROUNDING:
            reached = _typical(some.missed(rounded * some.actions))
            if reached <= tolerance and reached <= max(2 * best, 0.01 * tolerance):
                return rounded
    return None
