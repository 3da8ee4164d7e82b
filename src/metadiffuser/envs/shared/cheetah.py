"""Half-cheetah families: Cheetah-Vel (run at a target speed) and Cheetah-Dir (run forward or backward).

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
Frame skip 5 of 0.01 s: dt = 0.05 s; episodes last 200 steps and never end early (method section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import mujoco
import numpy as np

from metadiffuser.envs.shared.base import Array, Family, Task
from metadiffuser.envs.shared.robots import EPISODE_LENGTH, RobotSimulator, asset, without_islands

FRAME_SKIP = 5
CONTROL_COST = 0.05
TORSO_HEIGHT = 0.7  # metres: the torso's z where qpos is zero
RESET_NOISE = 0.1  # rad or m, and standard deviation of velocities, as in gymnasium's HalfCheetah
SPEEDS = (0.075, 3.0)  # m/s: range of target speeds
FAST = 2.5  # m/s, above which speeds are unseen ones where these lie beyond the training range
DIRECTIONS = (-1.0, 1.0)  # backward, forward


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


def sample_speeds(generator: np.random.Generator, count: int) -> list[dict[str, tuple[float, ...]]]:
    """Draw ``count`` target speeds, uniform in [0.075, 3) m/s."""
    return [{"speed": (float(generator.uniform(*SPEEDS)),)} for _ in range(count)]


def list_directions(generator: np.random.Generator, count: int) -> list[dict[str, tuple[float, ...]]]:
    """Return ``count`` directions, backward and forward in turn; nothing is drawn.

    The family has two tasks only, and both are trained on and tested on: with two training and two test tasks, tasks
    0 and 1 train, and 2 and 3 are the same two again, with episodes of their own. More tasks would repeat them.
    """
    return [{"direction": (DIRECTIONS[index % 2],)} for index in range(count)]


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


class CheetahVelSimulator(CheetahSimulator):
    """Half-cheetahs rewarded for running at their target speed."""

    def __init__(self, tasks: Sequence[Task], threads: int = 1):
        super().__init__(tasks, threads)
        self._speeds = np.array([task.parameters["speed"][0] for task in self.tasks])

    def reward_terms(self, velocity: Array, actions: Array) -> dict[str, Array]:
        """Return -abs(v - v*) and -0.05 * |a|^2, each (B,)."""
        return {
            "speed": -np.abs(velocity[:, 0] - self._speeds),
            "control": -CONTROL_COST * np.square(actions).sum(axis=1),
        }


class CheetahDirSimulator(CheetahSimulator):
    """Half-cheetahs rewarded for running in their direction."""

    def __init__(self, tasks: Sequence[Task], threads: int = 1):
        super().__init__(tasks, threads)
        self._directions = np.array([task.parameters["direction"][0] for task in self.tasks])

    def reward_terms(self, velocity: Array, actions: Array) -> dict[str, Array]:
        """Return d * v and -0.05 * |a|^2, each (B,)."""
        return {
            "progress": self._directions * velocity[:, 0],
            "control": -CONTROL_COST * np.square(actions).sum(axis=1),
        }


CHEETAH_VEL = Family(
    name="cheetah_vel",
    title="Cheetah-Vel",
    gym_id="metadiffuser/CheetahVel-v0",
    observation_size=20,
    action_size=6,
    episode_length=EPISODE_LENGTH,
    dt=0.05,
    sample_tasks=sample_speeds,
    simulator=CheetahVelSimulator,
    model=CheetahVelSimulator.model,
    reward_terms=("speed", "control"),
    world_points=world_points,
    integrate=integrate,
    unbounded_dims=(17,),
    beyond=lambda parameters: parameters["speed"][0] > FAST,
)

CHEETAH_DIR = Family(
    name="cheetah_dir",
    title="Cheetah-Dir",
    gym_id="metadiffuser/CheetahDir-v0",
    observation_size=20,
    action_size=6,
    episode_length=EPISODE_LENGTH,
    dt=0.05,
    sample_tasks=list_directions,
    simulator=CheetahDirSimulator,
    model=CheetahDirSimulator.model,
    reward_terms=("progress", "control"),
    world_points=world_points,
    integrate=integrate,
    unbounded_dims=(17,),
)
