"""Gymnasium environments of the families: one copy of the batched simulator, with rendering.

Importing ``metadiffuser.envs`` registers ``metadiffuser/<Family>-v0``; ``task=`` takes a task, its
JSON record or the index of one in the family's default list (root seed 0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from numpy.typing import NDArray

from metadiffuser.envs.shared import gl
from metadiffuser.envs.shared.base import Task, total_reward
from metadiffuser.envs.shared.camera import camera
from metadiffuser.envs.shared.registry import FAMILIES, get_family
from metadiffuser.errors import InputError
from metadiffuser.seeding import numpy_generator

DEFAULT_TASKS = 50
FRAME_SIZE = (480, 480)  # height, width in pixels
SLOWEST = 4  # frames a second, of families whose step has no duration of its own


def default_task(family: str, index: int) -> Task:
    """Return task ``index`` of the list that root seed 0 draws for ``family``. Raises ``InputError`` below 0."""
    if index < 0:
        raise InputError(f"task {index}: expected the index of a task, 0 or more")
    generator = numpy_generator(0, "define_tasks", family)
    parameters = get_family(family).sample_tasks(generator, max(DEFAULT_TASKS, index + 1))[index]
    return Task(index, "train", parameters)


class FamilyEnv(gym.Env[NDArray[np.float64], NDArray[np.float32]]):
    """One environment of a family; the reward's terms are in ``info["reward_terms"]``."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 - as gymnasium has it

    def __init__(self, family: str, task: int | Task | Mapping[str, Any] = 0, render_mode: str | None = None):
        self.family = get_family(family)
        if isinstance(task, Mapping):
            task = Task.from_json(task)
        self.task = task if isinstance(task, Task) else default_task(family, task)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": max(SLOWEST, round(1.0 / self.family.dt))}
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (self.family.observation_size,), np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (self.family.action_size,), np.float32)
        self._simulator = self.family.simulator([self.task], 1)
        self._start = self._simulator.positions[0]
        self._renderer: mujoco.Renderer | None = None
        self._scene: mujoco.MjData | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Start an episode; return the observation (S,) and an empty info."""
        super().reset(seed=seed)
        observation = self._simulator.reset(self.np_random)[0]
        self._start = self._simulator.positions[0]
        return observation, {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Apply ``action`` (A,). Episodes never end; the registered time limit truncates them."""
        observation, terms = self._simulator.step(np.asarray(action, float)[None])
        info = {"reward_terms": {name: float(value[0]) for name, value in terms.items()}}
        return observation[0], float(total_reward(terms)[0]), False, False, info

    def render(self) -> NDArray[np.uint8] | None:
        """Return the scene as an image (480, 480, 3), or None without ``render_mode="rgb_array"``.

        Raises:
            InputError: no OpenGL library works on this machine; the message names the packages to install.
        """
        if self.render_mode is None:
            return None
        if self._renderer is None or self._scene is None:
            model = gl.scenery(self.family.model(self.task))
            self._renderer = gl.renderer(model, *FRAME_SIZE)
            self._scene = mujoco.MjData(model)
        model = self._renderer.model
        self._scene.qpos[:] = self._simulator.positions[0]
        mujoco.mj_forward(model, self._scene)
        way = self.family.world_points(np.stack([self._start, self._scene.qpos]))
        self._renderer.update_scene(self._scene, camera(model, way))
        image: NDArray[np.uint8] = self._renderer.render()
        return image

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = self._scene = None


def register() -> None:
    """Register every family with gymnasium."""
    for family in FAMILIES.values():
        if family.gym_id not in gym.registry:
            gym.register(
                id=family.gym_id,
                entry_point="metadiffuser.envs.shared.gym:FamilyEnv",
                max_episode_steps=family.episode_length,
                kwargs={"family": family.name},
            )
