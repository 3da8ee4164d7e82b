"""Random dynamics: what the -Param families share; every task has its own robot (environments.md).

Every element of body_mass, body_inertia and geom_friction is multiplied by 1.5^u and every one of dof_damping by
1.3^u, with u uniform in (-3, 3) and independent. A task holds the exponents u, one tuple an array, in the order of the
array's elements. Elements that are zero in the robot (the world's mass, the damping of undamped joints) stay zero and
have no exponent.
"""

from __future__ import annotations

import copy
from abc import abstractmethod

import mujoco
import numpy as np
from numpy.typing import NDArray

from metadiffuser.envs.shared.base import Array, Task
from metadiffuser.envs.shared.robots import RobotSimulator, asset, dead_reckoning, without_islands
from metadiffuser.errors import InputError

BASES = {"body_inertia": 1.5, "body_mass": 1.5, "dof_damping": 1.3, "geom_friction": 1.5}
REACH = 3.0  # largest exponent

TIMESTEP = 0.004  # seconds: that of the original environments; gymnasium's files have half of it
FRAME_SKIP = 4
DT = 0.016  # seconds
CONTROL_COST = 0.001
SURVIVAL = 1.0
VELOCITY_RANGE = 10.0  # m/s or rad/s, to which observed velocities are clipped
RESET_NOISE = 0.005  # m, rad and their rates, as in gymnasium's Hopper and Walker2d


def load(name: str) -> mujoco.MjModel:
    """Return gymnasium's robot of a file, with the original timestep."""
    model = mujoco.MjModel.from_xml_path(asset(name))
    model.opt.timestep = TIMESTEP
    return without_islands(model)


def sample_exponents(
    robot: mujoco.MjModel, generator: np.random.Generator, count: int
) -> list[dict[str, tuple[float, ...]]]:
    """Draw the exponents of ``count`` tasks for the elements of ``robot`` that are not zero."""
    sizes = {name: np.count_nonzero(getattr(robot, name)) for name in BASES}
    return [
        {name: tuple(map(float, generator.uniform(-REACH, REACH, size))) for name, size in sizes.items()}
        for _ in range(count)
    ]


def randomised(robot: mujoco.MjModel, task: Task) -> mujoco.MjModel:
    """Return a copy of ``robot`` with the dynamics of ``task``; ``robot`` is not changed, so factors do not accumulate.

    What MuJoCo derives from masses and inertias when it compiles a model (the inverse weights, which scale the softness
    of contacts, and the masses of subtrees) is recomputed (deviation 27).

    Raises:
        InputError: the task's exponents are not those of this robot.
    """
    model = copy.copy(robot)
    for name, base in BASES.items():
        values = getattr(model, name)
        acting = values != 0.0
        exponents = np.asarray(task.parameters.get(name, ()), float)
        if exponents.size != np.count_nonzero(acting):
            raise InputError(
                f"task {task.index}: {name} has {exponents.size} exponents; this robot has {np.count_nonzero(acting)}"
            )
        values[acting] *= base**exponents
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def world_points(positions: Array) -> Array:
    """Return the torso's world points (..., 3) of qpos (..., Q), which begins with x and z."""
    x, z = positions[..., 0], positions[..., 1]
    return np.stack([x, np.zeros_like(x), z], axis=-1)


def integrate(states: Array, start: Array) -> Array:
    """Return the torso's world points (..., T, 3) of states (..., T, S) that begin at ``start`` (..., 3)."""
    forward = states.shape[-1] // 2  # the first of the velocities, of which there is one more than postures
    plane = dead_reckoning(states[..., forward : forward + 1], start[..., :1], DT)
    return np.concatenate([plane, np.zeros_like(plane), states[..., :1]], axis=-1)


class ParamSimulator(RobotSimulator):
    """B robots of one kind, each with the dynamics of its task, stepped together and rewarded for running."""

    frame_skip = FRAME_SKIP
    noise = RESET_NOISE

    @staticmethod
    @abstractmethod
    def robot() -> mujoco.MjModel:
        """Return the robot before randomisation; callers do not change it."""

    @classmethod
    def model(cls, task: Task) -> mujoco.MjModel:
        """Return the robot of a task."""
        return randomised(cls.robot(), task)

    def initial_velocities(self, generator: np.random.Generator, shape: tuple[int, int]) -> Array:
        """Draw qvel (B, V) of a start: uniform for these robots."""
        return generator.uniform(-self.noise, self.noise, shape)

    def observe(self, positions: Array, velocities: Array) -> Array:
        """Return observations (B, S): qpos without x, then qvel clipped."""
        return np.concatenate([positions[:, 1:], np.clip(velocities, -VELOCITY_RANGE, VELOCITY_RANGE)], axis=1)

    def unobserve(self, observations: Array) -> tuple[Array, Array]:
        """Return qpos (B, Q) with the torso at x = 0, and qvel (B, V), of which entries at the bound were clipped."""
        postures = observations.shape[1] // 2
        positions = np.concatenate([np.zeros((len(observations), 1)), observations[:, :postures]], axis=1)
        return positions, observations[:, postures:]

    def restore(self, observations: Array) -> NDArray[np.bool_]:
        """Put every copy into the state that its observation shows; it is known where no velocity is clipped."""
        super().restore(observations)
        return np.all(np.abs(self._physics.velocities) < VELOCITY_RANGE, axis=1)

    def reward_terms(self, velocity: Array, actions: Array) -> dict[str, Array]:
        """Return dx / dt, -0.001 * |a|^2 and 1, each (B,)."""
        return {
            "progress": velocity[:, 0],
            "control": -CONTROL_COST * np.square(actions).sum(axis=1),
            "survival": np.full(len(actions), SURVIVAL),
        }
