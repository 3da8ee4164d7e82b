"""Hopper-Param: a one-legged hopper whose masses, inertias, friction and damping differ from task to task.

| index | name | joint | unit |
|---|---|---|---|
| 0 | height of the torso | rootz | m |
| 1 | pitch of the torso | rooty | rad |
| 2-4 | angles of the thigh, leg and foot | thigh_joint, leg_joint, foot_joint | rad |
| 5 | forward velocity of the torso, clipped to [-10, 10] | rootx | m/s |
| 6 | upward velocity of the torso, clipped | rootz | m/s |
| 7 | angular velocity of the torso, clipped | rooty | rad/s |
| 8-10 | angular velocities of the thigh, leg and foot, clipped | thigh_joint, leg_joint, foot_joint | rad/s |

Actions (3): torques of thigh, leg and foot, in [-1, 1] of their gear. The exponents of a task (34) are explained in
``dynamics``. Frame skip 4 of 0.004 s: dt = 0.016 s; episodes last 200 steps and never end early, however the hopper
lies (environments.md).
"""

from __future__ import annotations

from functools import cache

import mujoco
import numpy as np
from numpy.typing import NDArray

from metadiffuser.envs.shared.base import Array, Family
from metadiffuser.envs.shared.dynamics import DT, ParamSimulator, integrate, load, sample_exponents, world_points
from metadiffuser.envs.shared.robots import EPISODE_LENGTH


@cache
def robot() -> mujoco.MjModel:
    """Return gymnasium's hopper, with a timestep of 0.004 s."""
    return load("hopper.xml")


def sample_tasks(generator: np.random.Generator, count: int) -> list[dict[str, tuple[float, ...]]]:
    """Draw the exponents of ``count`` tasks, uniform in [-3, 3)."""
    return sample_exponents(robot(), generator, count)


def healthy(observations: Array) -> NDArray[np.bool_]:
    """Return where the torso is more than 0.7 m high and leans by less than 0.2 rad (B,), as in gymnasium."""
    return (observations[:, 0] > 0.7) & (np.abs(observations[:, 1]) < 0.2)


class HopperParamSimulator(ParamSimulator):
    """B hoppers, each with the dynamics of its task."""

    robot = staticmethod(robot)


FAMILY = Family(
    name="hopper_param",
    title="Hopper-Param",
    colour="#B7791F",
    observation_size=11,
    action_size=3,
    episode_length=EPISODE_LENGTH,
    dt=DT,
    sample_tasks=sample_tasks,
    simulator=HopperParamSimulator,
    model=HopperParamSimulator.model,
    reward_terms=("progress", "control", "survival"),
    world_points=world_points,
    integrate=integrate,
    healthy=healthy,
)
