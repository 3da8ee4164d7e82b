"""Stored transitions played again, one step each, in the family's own simulator.

That checks what no formula over observations could: rewards that depend on contact forces, on the distance covered or
on masses, and whether s' is where a leads from s at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from metadiffuser.envs import Array, Family, Task, total_reward
from metadiffuser.seeding import numpy_generator

NEIGHBOURS = 64  # states tried that round to the same numbers
MOST_COPIES = 4096  # transitions played side by side, which bounds the memory


@dataclass(frozen=True)
class Replayed:
    """What the simulator makes of N transitions.

    Attributes:
        rewards: r (N,).
        successors: s' (N, S).
        restored: where s tells the simulator's state, so that the other two mean something (N,).
    """

    rewards: Array
    successors: Array
    restored: NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"Replayed(N={len(self.rewards)}, {int(self.restored.sum())} restored)"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MuJoCo's warnings of states that explode from the terminal and from the file it would write them to."""
    mujoco.set_mju_user_warning(lambda _: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(None)


def replay(family: Family, task: Task, states: Array, actions: Array, threads: int) -> Replayed:
    """Take every action in its state, all transitions apart from each other.

    Args:
        family: the family.
        task: whose rewards and physics.
        states: s (N, S), N at least 1.
        actions: a (N, A).
        threads: CPU threads of the physics; they change the speed and nothing else.
    """
    count = len(states)
    size = min(count, MOST_COPIES)
    simulator = family.simulator([task] * size, threads)
    rewards, successors, restored = np.empty(count), np.empty(states.shape), np.empty(count, bool)
    with _quiet():
        for start in range(0, count, size):
            rows = slice(min(start, count - size), min(start, count - size) + size)  # the last ones partly once more
            restored[rows] = simulator.restore(states[rows])
            successors[rows], terms = simulator.step(actions[rows])
            rewards[rows] = total_reward(terms)
    return Replayed(rewards, successors, restored)


def replay_rounded(family: Family, task: Task, states: Array, actions: Array, threads: int) -> list[Replayed]:
    """Play transitions again from ``NEIGHBOURS`` states and actions that round to the same float32 numbers.

    Args:
        family: the family.
        task: whose rewards and physics.
        states: s (N, S), N at least 1.
        actions: a (N, A).
        threads: CPU threads of the physics.
    """
    generator = numpy_generator(0, "import", "rounding")

    def moved(values: Array) -> Array:
        reach = 0.5 * np.spacing(np.abs(values).astype(np.float32)).astype(float)
        return np.concatenate([values + reach * generator.uniform(-1.0, 1.0, values.shape) for _ in range(NEIGHBOURS)])

    played = replay(family, task, moved(states), moved(actions), threads)
    parts = (np.split(array, NEIGHBOURS) for array in (played.rewards, played.successors, played.restored))
    return [Replayed(*part) for part in zip(*parts, strict=True)]
