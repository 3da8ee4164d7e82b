"""Cheetah-Dir: a half-cheetah that runs forward or backward.

Observations (20) and actions (6) are those of the half-cheetah (``shared.cheetah`` has the table). There are two tasks,
backward (-1) and forward (+1). Frame skip 5 of 0.01 s: dt = 0.05 s; episodes last 200 steps and never end early
(environments.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metadiffuser.envs.shared.base import Array, Family, Task
from metadiffuser.envs.shared.cheetah import DT, TRAVELLED, CheetahSimulator, control_cost, integrate, world_points
from metadiffuser.envs.shared.robots import EPISODE_LENGTH

DIRECTIONS = (-1.0, 1.0)  # backward, forward


def sample_tasks(generator: np.random.Generator, count: int) -> list[dict[str, tuple[float, ...]]]:
    """Return ``count`` directions, backward and forward in turn; nothing is drawn.

    The family has two tasks only, and both are trained on and tested on: with two training and two test tasks, tasks
    0 and 1 train, and 2 and 3 are the same two again, with episodes of their own. More tasks would repeat them.
    """
    return [{"direction": (DIRECTIONS[index % 2],)} for index in range(count)]


class CheetahDirSimulator(CheetahSimulator):
    """Half-cheetahs rewarded for running in their direction."""

    def __init__(self, tasks: Sequence[Task], threads: int = 1):
        super().__init__(tasks, threads)
        self._directions = np.array([task.parameters["direction"][0] for task in self.tasks])

    def reward_terms(self, velocity: Array, actions: Array) -> dict[str, Array]:
        """Return d * v and -0.05 * |a|^2, each (B,)."""
        return {"progress": self._directions * velocity[:, 0], "control": control_cost(actions)}


FAMILY = Family(
    name="cheetah_dir",
    title="Cheetah-Dir",
    colour="#2F855A",
    observation_size=20,
    action_size=6,
    episode_length=EPISODE_LENGTH,
    dt=DT,
    sample_tasks=sample_tasks,
    simulator=CheetahDirSimulator,
    model=CheetahDirSimulator.model,
    reward_terms=("progress", "control"),
    world_points=world_points,
    integrate=integrate,
    unbounded_dims=TRAVELLED,
)
