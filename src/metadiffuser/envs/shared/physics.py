"""Batched MuJoCo physics: B copies of robots stepped at once on ``mujoco.rollout``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from mujoco import rollout

from metadiffuser.envs.shared.base import Array

TURNS = 2  # chunks of copies per thread: more chunks balance the load better, but each has overhead


class BatchedPhysics:
    """B copies stepped together, each with its own model or all with one.

    The state of a copy is (time, qpos, qvel); every step starts the constraint solver from a zero warm
    start, so a copy's future depends on its state and actions alone and not on its neighbours.

    Args:
        models: the model of each copy (B,); of one structure, but with parameters of their own.
        frame_skip: physics steps of one control step.
        threads: CPU threads; they change the speed and nothing else.
        sensors: a model of the same structure whose sensors ``sense`` reads.
    """

    def __init__(
        self,
        models: Sequence[mujoco.MjModel],
        frame_skip: int,
        threads: int,
        sensors: mujoco.MjModel | None = None,
    ):
        first = models[0]
        self.models = list(models)
        self.frame_skip = frame_skip
        self.dt = first.opt.timestep * frame_skip
        self.initial_positions = first.qpos0.copy()
        self._nq, self._nv = first.nq, first.nv
        self._state = np.zeros((len(models), mujoco.mj_stateSize(first, mujoco.mjtState.mjSTATE_FULLPHYSICS)))
        self._threads = threads
        self._sensors = [] if sensors is None else [sensors] * len(models)
        self._allocate()

    def _allocate(self) -> None:
        """Allocate MuJoCo's scratch memory and threads; no step depends on their content."""
        threads, sensors = self._threads, self._sensors
        self._data = [mujoco.MjData(self.models[0]) for _ in range(threads)]
        self._rollout = rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._chunk = math.ceil(len(self.models) / (TURNS * threads))
        self._sensed = [mujoco.MjData(sensors[0]) for _ in range(threads)] if sensors else []

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for copies and pickles: without scratch memory and threads."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_data", "_rollout", "_sensed")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._allocate()

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
        states, _ = self._run(self.models, self._data, controls, self.frame_skip)
        self._state = states[:, -1].copy()

    def sense(self, controls: Array) -> Array:
        """Return the readings (B, M) of the model of sensors in the present states under controls (B, A).

        MuJoCo evaluates sensors at the beginning of a physics step: so one step is computed and its result discarded.
        """
        _, readings = self._run(self._sensors, self._sensed, controls, 1)
        return readings[:, 0]

    def _run(
        self, models: list[mujoco.MjModel], data: list[mujoco.MjData], controls: Array, steps: int
    ) -> tuple[Array, Array]:
        """Return states (B, steps, -) and sensor readings (B, steps, M) of physics steps from here on.

        MuJoCo's own checks of shapes inspect every model at every call, which takes as long as the physics of one copy;
        here only the array that the caller passes is checked.
        """
        size = len(self._state)
        if controls.shape != (size, models[0].nu):
            raise ValueError(f"expected controls of shape {(size, models[0].nu)}, got {controls.shape}")
        states = np.empty((size, steps, self._state.shape[1]))
        readings = np.empty((size, steps, models[0].nsensordata))
        held = np.repeat(np.asarray(controls, float)[:, None, :], steps, axis=1)
        self._rollout.rollout(
            models,
            data,
            self._state,
            held,
            skip_checks=True,
            nstep=steps,
            state=states,
            sensordata=readings,
            chunk_size=self._chunk,
        )
        return states, readings
