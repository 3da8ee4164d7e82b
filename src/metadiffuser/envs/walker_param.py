"""Walker-Param: a two-legged walker whose masses, inertias, friction and damping differ from task to task.

| index | name | joint | unit |
|---|---|---|---|
| 0 | height of the torso | rootz | m |
| 1 | pitch of the torso | rooty | rad |
| 2-4 | angles of the right thigh, leg and foot | thigh_joint, leg_joint, foot_joint | rad |
| 5-7 | angles of the left thigh, leg and foot | thigh_left_joint, leg_left_joint, foot_left_joint | rad |
| 8 | forward velocity of the torso, clipped to [-10, 10] | rootx | m/s |
| 9 | upward velocity of the torso, clipped | rootz | m/s |
| 10 | angular velocity of the torso, clipped | rooty | rad/s |
| 11-13 | angular velocities of the right leg, clipped | thigh_joint, leg_joint, foot_joint | rad/s |
| 14-16 | angular velocities of the left leg, clipped | thigh_left_joint, leg_left_joint, foot_left_joint | rad/s |

Actions (6): torques of right thigh, leg, foot, left thigh, leg, foot, in [-1, 1] of their gear. The exponents of a task
(58) are explained in ``dynamics``. Frame skip 4 of 0.004 s: dt = 0.016 s; episodes last 200 steps and never end early,
however the walker lies (environments.md).
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
    """Return gymnasium's walker, with a timestep of 0.004 s.

    Of its two files this is the one whose feet have the friction of the original, 0.9 and 1.9.
    """
    return load("walker2d.xml")


def sample_tasks(generator: np.random.Generator, count: int) -> list[dict[str, tuple[float, ...]]]:
    """Draw the exponents of ``count`` tasks, uniform in [-3, 3)."""
    return sample_exponents(robot(), generator, count)


def healthy(observations: Array) -> NDArray[np.bool_]:
    """Return where the torso is between 0.8 and 2 m high and leans by less than 1 rad (B,), as in gymnasium."""
    height, pitch = observations[:, 0], observations[:, 1]
    return (height > 0.8) & (height < 2.0) & (np.abs(pitch) < 1.0)


class WalkerParamSimulator(ParamSimulator):
    """B walkers, each with the dynamics of its task."""

    robot = staticmethod(robot)


FAMILY = Family(
    name="walker_param",
    title="Walker-Param",
    colour="#C53078",
    observation_size=17,
    action_size=6,
    episode_length=EPISODE_LENGTH,
    dt=DT,
    sample_tasks=sample_tasks,
    simulator=WalkerParamSimulator,
    model=WalkerParamSimulator.model,
    reward_terms=("progress", "control", "survival"),
    world_points=world_points,
    integrate=integrate,
    healthy=healthy,
)
