"""What the robots have in common: gymnasium's model files, and B copies of a robot stepped together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import gymnasium.envs.mujoco
import mujoco
import numpy as np
from numpy.typing import NDArray

from metadiffuser.envs.shared.base import Array, Task
from metadiffuser.envs.shared.physics import BatchedPhysics

EPISODE_LENGTH = 200


def asset(name: str) -> str:
    """Return the path of a model file that comes with gymnasium, such as ``ant.xml``."""
    return str(Path(gymnasium.envs.mujoco.__file__).parent / "assets" / name)


def without_islands(model: mujoco.MjModel) -> mujoco.MjModel:
    """Switch the search for islands of constraints off in ``model``, and return it.

    A robot is one tree of bodies, so all its constraints form one island: the search takes 6 to 9% of a step and
    changes nothing. States are identical bit for bit.
    """
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_ISLAND)
    return model


def dead_reckoning(velocities: Array, start: Array, dt: float) -> Array:
    """Return positions (..., T, D) of velocities (..., T, D) by the trapezoidal rule, from ``start`` (..., D) on.

    Planned paths are drawn with it where observations hold the velocity but not the position.
    """
    moves = 0.5 * dt * (velocities[..., 1:, :] + velocities[..., :-1, :])
    steps = np.concatenate([np.zeros_like(velocities[..., :1, :]), np.cumsum(moves, axis=-2)], axis=-2)
    points: Array = start[..., None, :] + steps
    return points


class RobotSimulator(ABC):
    """B robots stepped together; see ``Simulator``.

    A subclass defines the model of a task, the observation, the start of an episode and the reward.

    Args:
        tasks: the task of each copy.
        threads: CPU threads of the physics.
    """

    frame_skip: int
    noise: float  # of the initial state; m, rad and their rates

    def __init__(self, tasks: Sequence[Task], threads: int = 1):
        self.tasks = list(tasks)
        models: dict[bytes, mujoco.MjModel] = {}
        for task in self.tasks:
            if task.vector.tobytes() not in models:
                models[task.vector.tobytes()] = self.model(task)
        mine = [models[task.vector.tobytes()] for task in self.tasks]
        self._physics = BatchedPhysics(mine, self.frame_skip, threads, self.sensors())

    @classmethod
    @abstractmethod
    def model(cls, task: Task) -> mujoco.MjModel:
        """Return the model of a task; callers do not change it."""

    @classmethod
    def sensors(cls) -> mujoco.MjModel | None:
        """Return a model with the sensors that the reward reads, if it reads any."""
        return None

    @abstractmethod
    def observe(self, positions: Array, velocities: Array) -> Array:
        """Return observations (B, S) of qpos (B, Q) and qvel (B, V)."""

    @abstractmethod
    def unobserve(self, observations: Array) -> tuple[Array, Array]:
        """Return qpos (B, Q) and qvel (B, V) of observations (B, S), hidden entries being 0; inverts ``observe``."""

    @abstractmethod
    def reward_terms(self, velocity: Array, actions: Array) -> dict[str, Array]:
        """Return the terms of the reward, each (B,).

        Args:
            velocity: change of qpos[:2] over the step, divided by its duration (B, 2).
            actions: clipped (B, A).
        """

    def initial_velocities(self, generator: np.random.Generator, shape: tuple[int, int]) -> Array:
        """Draw qvel (B, V) of a start: normal, as gymnasium does for most robots."""
        return self.noise * generator.standard_normal(shape)

    @property
    def positions(self) -> Array:
        """qpos (B, Q)."""
        return self._physics.positions.copy()

    def reset(self, generator: np.random.Generator, chosen: NDArray[np.bool_] | None = None) -> Array:
        """Start all or the ``chosen`` copies (B,) near the rest pose, as gymnasium does; return observations (B, S)."""
        rest, size = self._physics.initial_positions, len(self.tasks)
        positions = rest + generator.uniform(-self.noise, self.noise, (size, rest.size))
        velocities = self.initial_velocities(generator, self._physics.velocities.shape)
        if chosen is not None:
            positions = np.where(chosen[:, None], positions, self._physics.positions)
            velocities = np.where(chosen[:, None], velocities, self._physics.velocities)
        self._physics.reset(positions, velocities)
        return self.observe(self._physics.positions, self._physics.velocities)

    def restore(self, observations: Array) -> NDArray[np.bool_]:
        """Put every copy into the state that its observation (B, S) shows; see ``Simulator``."""
        self._physics.reset(*self.unobserve(observations))
        return np.ones(len(observations), bool)

    def step(self, actions: Array) -> tuple[Array, dict[str, Array]]:
        """Apply actions (B, A), clipped; return observations (B, S) and the reward's terms, each (B,)."""
        actions = np.clip(actions, -1.0, 1.0)
        before = self._physics.positions[:, :2].copy()
        self._physics.step(actions)
        velocity = (self._physics.positions[:, :2] - before) / self._physics.dt
        terms = self.reward_terms(velocity, actions)
        return self.observe(self._physics.positions, self._physics.velocities), terms
