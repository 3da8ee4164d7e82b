"""Batched MuJoCo physics: B copies of robots stepped at once on ``mujoco.rollout``."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from mujoco import rollout

from metadiffuser.envs.base import Array


class BatchedPhysics:
    """B copies stepped together, each with its own model or all with one.

    The state of a copy is (time, qpos, qvel); every step starts the constraint solver from a zero warm
    start, so a copy's future depends on its state and actions alone and not on its neighbours.
    """

    def __init__(self, models: Sequence[mujoco.MjModel], frame_skip: int, threads: int):
        first = models[0]
        self.models = list(models)
        self.frame_skip = frame_skip
        self.dt = first.opt.timestep * frame_skip
        self.initial_positions = first.qpos0.copy()
        self._nq, self._nv = first.nq, first.nv
        self._state = np.zeros((len(models), mujoco.mj_stateSize(first, mujoco.mjtState.mjSTATE_FULLPHYSICS)))
        self._data = [mujoco.MjData(first) for _ in range(threads)]
        self._rollout = rollout.Rollout(nthread=threads if threads > 1 else 0)

    @property
    def positions(self) -> Array:
        """qpos (B, Q), a view."""
        return self._state[:, 1 : 1 + self._nq]

    @property
    def velocities(self) -> Array:
        """qvel (B, V), a view."""
        return self._state[:, 1 + self._nq : 1 + self._nq + self._nv]

    def reset(self, positions: Array, velocities: Array) -> None:
        """Set qpos (B, Q) and qvel (B, V), and time to zero."""
        self._state[:, 0] = 0.0
        self.positions[:] = positions
        self.velocities[:] = velocities

    def step(self, controls: Array) -> None:
        """Apply controls (B, A) for ``frame_skip`` physics steps."""
        held = np.repeat(controls[:, None, :], self.frame_skip, axis=1)
        states, _ = self._rollout.rollout(self.models, self._data, self._state, held)
        self._state = states[:, -1].copy()
