"""Cheetah-Vel: a half-cheetah that runs at a target speed.

Observations (20) and actions (6) are those of the half-cheetah (``shared.cheetah`` has the table). A task is a target
speed, uniform in [0.075, 3) m/s. Frame skip 5 of 0.01 s: dt = 0.05 s; episodes last 200 steps and never end early
(environments.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metadiffuser.envs.shared.base import Array, Family, Task
from metadiffuser.envs.shared.cheetah import DT, TRAVELLED, CheetahSimulator, control_cost, integrate, world_points
from metadiffuser.envs.shared.robots import EPISODE_LENGTH

SPEEDS = (0.075, 3.0)  # m/s: range of target speeds
FAST = 2.5  # m/s; faster speeds are unseen tasks where these lie beyond the training range


def sample_tasks(generator: np.random.Generator, count: int) -> list[dict[str, tuple[float, ...]]]:
    """Draw ``count`` target speeds, uniform in [0.075, 3) m/s."""
    return [{"speed": (float(generator.uniform(*SPEEDS)),)} for _ in range(count)]


class CheetahVelSimulator(CheetahSimulator):
    """Half-cheetahs rewarded for running at their target speed."""

    def __init__(self, tasks: Sequence[Task], threads: int = 1):
        super().__init__(tasks, threads)
        self._speeds = np.array([task.parameters["speed"][0] for task in self.tasks])

    def reward_terms(self, velocity: Array, actions: Array) -> dict[str, Array]:
        """Return -abs(v - v*) and -0.05 * |a|^2, each (B,)."""
        return {"speed": -np.abs(velocity[:, 0] - self._speeds), "control": control_cost(actions)}


FAMILY = Family(
    name="cheetah_vel",
    title="Cheetah-Vel",
    colour="#2B6CB0",
    observation_size=20,
    action_size=6,
    episode_length=EPISODE_LENGTH,
    dt=DT,
    sample_tasks=sample_tasks,
    simulator=CheetahVelSimulator,
    model=CheetahVelSimulator.model,
    reward_terms=("speed", "control"),
    world_points=world_points,
    integrate=integrate,
    unbounded_dims=TRAVELLED,
    beyond=lambda parameters: parameters["speed"][0] > FAST,
)
