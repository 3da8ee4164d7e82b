"""Gymnasium environments of the families: one copy of the batched simulator, with rendering.

Importing ``metadiffuser.envs`` registers ``metadiffuser/<Family>-v0``. ``task=`` takes a task, its JSON record or an
index in the family's default list (root seed 0), whose last tasks are the unseen ones. The task of an environment that
exists is changed by ``env.reset(options={"task": 5})``, by ``env.task = 5``, or in vector environments by
``envs.set_attr("task", [...])``; setting it takes effect at once and ends the episode, so ``reset`` comes next. For the
render modes ``human`` and ``rgb_array_list`` gymnasium adds a wrapper, which keeps an attribute to itself: below it the
task is changed by ``reset`` or by ``env.unwrapped.task = 5``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from metadiffuser.envs.shared import gl
from metadiffuser.envs.shared.base import Simulator, Task, total_reward
from metadiffuser.envs.shared.camera import camera
from metadiffuser.envs.shared.gymnasium_batch import GymnasiumSimulator
from metadiffuser.envs.shared.gymnasium_family import GymnasiumFamily
from metadiffuser.envs.shared.registry import get_family
from metadiffuser.envs.shared.tasks import as_task
from metadiffuser.errors import InputError, shortened

FRAME_SIZE = (480, 480)  # height, width in pixels
SLOWEST = 4  # frames a second, of families whose step has no duration of its own
RENDER_MODES = ("rgb_array", "depth_array")  # of families with a MuJoCo model
NAMED = int | Task | Mapping[str, Any]


class FamilyEnv(gym.Env[NDArray[np.float64], NDArray[np.float32]]):
    """One environment of a family; the reward's terms are in ``info["reward_terms"]``.

    Args:
        family: key of the family.
        task: a task, its JSON record or an index in the default list.
        render_mode: ``rgb_array`` (480, 480, 3), ``depth_array`` (480, 480) in metres, or None; a family made of a
            gymnasium environment has that environment's modes. ``gymnasium.make`` offers ``human`` on top of
            ``rgb_array`` where pygame is installed.

    Raises:
        InputError: no such family, task or render mode; the message says what was expected.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 20}  # noqa: RUF012 - as gymnasium has it

    def __init__(self, family: str, task: NAMED = 0, render_mode: str | None = None):
        self.family = get_family(family)
        modes = RENDER_MODES if self.family.has_model else getattr(self.family, "render_modes", ())
        if render_mode is not None and render_mode not in modes:
            raise InputError(
                f"render_mode '{shortened(str(render_mode))}': expected {' or '.join([*modes, 'None'])} for "
                f"{self.family.title}; human needs gymnasium.make and pygame"
            )
        self.render_mode = render_mode
        rate = max(SLOWEST, round(1.0 / self.family.dt))
        self.metadata = {**self.metadata, "render_modes": list(modes), "render_fps": rate}
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (self.family.observation_size,), np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (self.family.action_size,), np.float32)
        self._renderer: mujoco.Renderer | None = None
        self._scene: mujoco.MjData | None = None
        self._begin(as_task(self.family, task))

    def _begin(self, task: Task) -> None:
        """Make the simulator of ``task``; an episode has to be started before a step."""
        self.close()
        self._task = task
        if isinstance(self.family, GymnasiumFamily) and self.render_mode is not None:
            self._simulator: Simulator = self.family.rendered(task, self.render_mode)
        else:
            self._simulator = self.family.simulator([task], 1)
        self._start = self._simulator.positions[0]
        self._started = False

    @property
    def task(self) -> Task:
        """The task whose reward and dynamics are in force."""
        return self._task

    @task.setter
    def task(self, given: NAMED) -> None:
        self._begin(as_task(self.family, given))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Start an episode; return the observation (S,) and an empty info.

        Args:
            seed: of the environment's generator; None continues its stream.
            options: ``{"task": ...}`` changes the task, for this and the following episodes.

        Raises:
            InputError: another option, or no task of the family.
        """
        super().reset(seed=seed)
        if options is not None and not isinstance(options, Mapping):
            raise InputError(f"reset options {shortened(repr(options))}: expected a mapping such as {{'task': 5}}")
        unknown = sorted(set(options or {}) - {"task"})
        if unknown:
            raise InputError(f"reset option '{shortened(str(unknown[0]))}': expected 'task'")
        if options and "task" in options:
            self.task = options["task"]
        observation = self._simulator.reset(self.np_random)[0]
        self._start, self._started = self._simulator.positions[0], True
        return observation, {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Apply ``action`` (A,). Episodes never end; the registered time limit truncates them.

        Raises:
            InputError: no episode was started since the environment was made or its task was set, or ``action`` is not
                A finite numbers.
        """
        if not self._started:
            raise InputError(f"{self.family.gym_id}: step before reset; call reset after making it or setting its task")
        try:
            given = np.asarray(action, float)
        except (TypeError, ValueError):
            given = np.zeros(0)
        if given.shape != self.action_space.shape or not np.isfinite(given).all():
            size = self.family.action_size
            raise InputError(f"{self.family.gym_id}: action {shortened(repr(action))}: expected {size} finite numbers")
        observation, terms = self._simulator.step(given[None])
        info = {"reward_terms": {name: float(value[0]) for name, value in terms.items()}}
        return observation[0], float(total_reward(terms)[0]), False, False, info

    def render(self) -> NDArray[Any] | None:
        """Return the scene as ``render_mode`` says: an image (480, 480, 3), depths (480, 480) in metres, or None.

        Raises:
            InputError: no OpenGL library works on this machine; the message names the packages to install.
        """
        if self.render_mode is None:
            return None
        if isinstance(self._simulator, GymnasiumSimulator):
            return cast("NDArray[Any] | None", self._simulator.render())
        if self._renderer is None or self._scene is None:
            model = gl.scenery(self.family.model(self.task))
            self._renderer = gl.renderer(model, *FRAME_SIZE)
            if self.render_mode == "depth_array":
                self._renderer.enable_depth_rendering()
            self._scene = mujoco.MjData(model)
        model = self._renderer.model
        self._scene.qpos[:] = self._simulator.positions[0]
        mujoco.mj_forward(model, self._scene)
        path = self.family.world_points(np.stack([self._start, self._scene.qpos]))
        self._renderer.update_scene(self._scene, camera(model, path))
        image: NDArray[Any] = self._renderer.render()
        return image

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = self._scene = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for copies and pickles: without the renderer, and with the family by its name."""
        return self.__dict__ | {"family": self.family.name, "_renderer": None, "_scene": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.family = get_family(state["family"])


class TaskAttribute(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """The outermost wrapper of what ``gymnasium.make`` returns, so that ``env.task`` is the environment's own task."""

    def __init__(self, env: gym.Env[Any, Any]):
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    @property
    def task(self) -> Task:
        """The task whose reward and dynamics are in force; see ``FamilyEnv``."""
        task: Task = self.env.get_wrapper_attr("task")
        return task

    @task.setter
    def task(self, given: NAMED) -> None:
        self.env.set_wrapper_attr("task", given)
