"""The agent at work in a window, live: what ``metadiffuser view`` opens."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, get_args

import glfw
import mujoco
import numpy as np

from metadiffuser import paths
from metadiffuser.config.params import Params
from metadiffuser.config.schema import Guide
from metadiffuser.envs import Array, Family, Task, get_family
from metadiffuser.envs.shared import gl
from metadiffuser.envs.shared.tasks import read_tasks, split
from metadiffuser.errors import InputError, nearest
from metadiffuser.viewing.frames import frame_rate
from metadiffuser.viewing.window import Window

WINDOW_SIZE = (960, 720)  # width, height in pixels
IDLE = 1 / 60  # seconds between two frames that show the same


class Player(Protocol):
    """An agent in its environment, one decision at a time."""

    def reset(self) -> None:
        """Start an episode and plan its first step."""
        ...

    def step(self) -> None:
        """Execute the plan's first action, then plan again."""
        ...

    @property
    def positions(self) -> Array:
        """Generalised positions qpos (Q,)."""
        ...

    @property
    def plan(self) -> Array | None:
        """Planned world points (H, 3) from here on, or None."""
        ...

    @property
    def caption(self) -> str:
        """What to write over the scene: task, guide, step, return so far; may have several lines."""
        ...


PlayerFactory = Callable[[Params, Family, Task, str], Player]


def view(params: Params, family: str, task: int | None, method: str, factory: PlayerFactory) -> None:
    """Open a window and play the agent in it until the window is closed.

    Args:
        params: the parameters in force.
        family: name of the family.
        task: index in the family's task list, or None for the first unseen task.
        method: guide variant of the planner.
        factory: (params, family, task, guide) -> the agent in its environment.

    Raises:
        InputError: an unknown family, task or guide, a missing artifact, or no display.
    """
    chosen = get_family(family)
    if family not in params.families:
        raise InputError(f"--family {family}: not in params.yaml, which has {', '.join(params.families)}")
    if method not in get_args(Guide):
        raise InputError(f"--method {method}: unknown guide{nearest(method, get_args(Guide))}")
    place = {"preset": params.preset, "family": family}
    videos = Path(paths.VIDEOS.format(**place))
    if not chosen.has_model:
        raise InputError(f"--family {family}: has no MuJoCo model to open a window on; play the films in {videos}")
    require_display(videos)
    shown = pick_task(Path(paths.TASKS.format(**place)), task, Path(paths.DATASET.format(**place)))
    play(chosen, shown, factory(params, chosen, shown, method))


def pick_task(path: Path, index: int | None, dataset: Path | None = None) -> Task:
    """Return task ``index`` of a task list, or its first unseen task, of those that are not left out of ``dataset``.

    Raises:
        InputError: there is none.
    """
    tasks = read_tasks(path, dataset)
    found = [task for task in tasks if task.index == index] if index is not None else split(tasks, "test")
    if not found and index is None:
        raise InputError(f"{path}: holds no unseen task; name one of the others by --task")
    if not found:
        numbers = [task.index for task in tasks]
        last = max(numbers, default=0)
        missing = sorted(set(range(last)) - set(numbers))
        left_out = f"; left out of the data: {', '.join(map(str, missing))}" if missing else ""
        raise InputError(f"--task {index}: not in {path}, which has tasks 0 to {last}{left_out}")
    return found[0]


def require_display(videos: Path) -> None:
    """Raise ``InputError``, which points at the folder ``videos``, unless a window can be opened here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", glfw.GLFWError)  # the sentence below says it
        usable = bool(glfw.init())
        if usable:
            glfw.window_hint(glfw.VISIBLE, False)
            usable = bool(glfw.create_window(16, 16, "", None, None))
            glfw.terminate()
    if not usable:
        raise InputError(
            f"no display with OpenGL to open a window on; play the films in {videos} instead "
            "('snakemake --cores all all' makes them)"
        )


def play(family: Family, task: Task, player: Player) -> None:
    """Play ``player`` in a window, episode after episode, at the films' pace, until the window is closed."""
    model = gl.scenery(family.model(task))
    data = mujoco.MjData(model)
    player.reset()
    trail = [_show(model, data, player)]
    window = Window(model, data, f"{family.title}, task {task.index}", *WINDOW_SIZE)
    window.place_camera(np.stack(trail))
    pace = 1.0 / frame_rate(family, 1)
    due = time.monotonic() + pace
    try:
        while window.is_alive:
            if window.take_single_step() or (not window.paused and time.monotonic() >= due):
                if len(trail) > family.episode_length:
                    player.reset()
                    trail.clear()
                else:
                    player.step()
                trail.append(_show(model, data, player))
                due = max(due + pace, time.monotonic())
            window.plan, window.trail, window.text = player.plan, np.stack(trail), player.caption
            window.follow(window.trail)
            window.render()
            time.sleep(IDLE if window.paused else 0.0)
    finally:
        window.close()


def _show(model: mujoco.MjModel, data: mujoco.MjData, player: Player) -> Array:
    """Put the scene where the player is; return the world point (3,) of its root body."""
    data.qpos[:] = player.positions
    mujoco.mj_forward(model, data)
    return np.array(data.xpos[1], float)
