"""The half-cheetah that Cheetah-Vel and Cheetah-Dir share: its model, observations and actions.

| index | name | joint | unit |
|---|---|---|---|
| 0 | height of the torso above its rest | rootz | m |
| 1 | pitch of the torso | rooty | rad |
| 2-4 | angles of the back thigh, shin and foot | bthigh, bshin, bfoot | rad |
| 5-7 | angles of the front thigh, shin and foot | fthigh, fshin, ffoot | rad |
| 8 | forward velocity of the torso | rootx | m/s |
| 9 | upward velocity of the torso | rootz | m/s |
| 10 | angular velocity of the torso | rooty | rad/s |
| 11-13 | angular velocities of the back leg | bthigh, bshin, bfoot | rad/s |
| 14-16 | angular velocities of the front leg | fthigh, fshin, ffoot | rad/s |
| 17-19 | position x, y, z of the torso in the world | rootx, -, rootz | m |

Actions (6): torques of back thigh, shin, foot, front thigh, shin, foot, in [-1, 1] of their gear.
Frame skip 5 of 0.01 s: dt = 0.05 s; episodes last 200 steps and never end early (environments.md).
"""

from __future__ import annotations

from functools import cache

import mujoco
import numpy as np

from metadiffuser.envs.shared.base import Array, Task
from metadiffuser.envs.shared.robots import RobotSimulator, asset, without_islands

FRAME_SKIP = 5
DT = 0.05  # seconds
TRAVELLED = (17,)  # entries of the observation that grow without end as the robot runs
CONTROL_COST = 0.05
TORSO_HEIGHT = 0.7  # metres: the torso's z where qpos is zero
RESET_NOISE = 0.1  # rad or m, and standard deviation of velocities, as in gymnasium's HalfCheetah


@cache
def robot() -> mujoco.MjModel:
    """Return gymnasium's half-cheetah (timestep 0.01 s).

    Its file states the total mass by an attribute of which MuJoCo warns on the terminal and in a log file;
    the call that the warning recommends gives the same model, bit for bit.
    """
    spec = mujoco.MjSpec.from_file(asset("half_cheetah.xml"))
    mass = spec.compiler.settotalmass
    spec.compiler.settotalmass = -1.0
    model = spec.compile()
    mujoco.mj_setTotalmass(model, mass)
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return without_islands(model)


def world_points(positions: Array) -> Array:
    """Return the torso's world points (..., 3) of qpos (..., 9)."""
    x, z = positions[..., 0], positions[..., 1] + TORSO_HEIGHT
    return np.stack([x, np.zeros_like(x), z], axis=-1)


def integrate(states: Array, start: Array) -> Array:
    """Return the torso's world points (..., T, 3) of states (..., T, 20), which hold them."""
    return states[..., 17:20]


class CheetahSimulator(RobotSimulator):
    """B half-cheetahs stepped together."""

    frame_skip = FRAME_SKIP
    noise = RESET_NOISE

    @classmethod
    def model(cls, task: Task) -> mujoco.MjModel:
        """Return the robot: the same for every task."""
        return robot()

    def observe(self, positions: Array, velocities: Array) -> Array:
        """Return observations (B, 20) of qpos (B, 9) and qvel (B, 9)."""
        return np.concatenate([positions[:, 1:], velocities, world_points(positions)], axis=1)

    def unobserve(self, observations: Array) -> tuple[Array, Array]:
        """Return qpos (B, 9) and qvel (B, 9)."""
        return np.concatenate([observations[:, 17:18], observations[:, :8]], axis=1), observations[:, 8:17]


def control_cost(actions: Array) -> Array:
    """Return the reward's term -0.05 * |a|^2 (B,) of clipped actions (B, 6)."""
    return -CONTROL_COST * np.square(actions).sum(axis=1)
