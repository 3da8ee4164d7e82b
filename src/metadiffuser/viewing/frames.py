"""Frames of a rollout: the robot where it was, the plan it had there, and a caption.

A painter draws one state; there are three, of one interface: ``ScenePainter`` here, through OpenGL, ``SideView`` for
machines that have none, and ``SketchView`` for families without a MuJoCo model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from math import ceil
from typing import Protocol

import mujoco
import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from metadiffuser.envs import Array, Family, Task
from metadiffuser.envs.shared import gl
from metadiffuser.envs.shared.camera import camera
from metadiffuser.viewing.rollouts import Episode
from metadiffuser.viewing.scene import EXECUTED, PLAN, Colour, Image, draw_plan, draw_trail
from metadiffuser.viewing.sideview import SideView, SketchView

SLOWEST = 4.0  # frames a second, of families whose step is long or has no duration of its own
INK: Colour = (30, 36, 44)
PAPER = (255, 255, 255, 215)  # RGBA behind captions


class Painter(Protocol):
    """Draws one state of a family's scene."""

    def paint(self, positions: Array, plan: Array | None, trail: Array) -> Image:
        """Return a picture (height, width, 3) of the state.

        Args:
            positions: generalised positions (Q,).
            plan: planned world points (H, 3), or None after the last decision.
            trail: executed world points (t, 3), up to this state.
        """
        ...


class ScenePainter:
    """Draws through ``mujoco.Renderer``. Raises ``NoGraphicsError`` if no OpenGL library works."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int):
        self._model = gl.scenery(model)
        self._data = mujoco.MjData(self._model)
        self._renderer = gl.renderer(self._model, height, width)

    def paint(self, positions: Array, plan: Array | None, trail: Array) -> Image:
        """Return a picture (height, width, 3); see ``Painter``."""
        self._data.qpos[:] = positions
        mujoco.mj_forward(self._model, self._data)
        self._renderer.update_scene(self._data, camera(self._model, trail))
        draw_trail(self._renderer.scene, trail)
        if plan is not None:
            draw_plan(self._renderer.scene, plan)
        image: Image = self._renderer.render()
        return image

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()


@contextmanager
def open_painter(family: Family, task: Task, height: int, width: int) -> Iterator[Painter]:
    """Yield a painter of a task's model, through OpenGL if a library works here, or of a family's sketch."""
    if not family.has_model:
        yield SketchView(family, height, width)
    elif gl.backend() is None:
        yield SideView(family.model(task), height, width)
    else:
        with closing(ScenePainter(family.model(task), height, width)) as painter:
            yield painter


def stride(steps: int, most: int) -> int:
    """Return the number of steps from one frame to the next, so that ``most`` frames cover ``steps``."""
    return ceil(steps / most)


def frame_rate(family: Family, every: int) -> float:
    """Return frames a second for one frame ``every`` so many steps: real time, but no slower than ``SLOWEST``."""
    return max(SLOWEST, 1.0 / (family.dt * every))


def rollout_frames(painter: Painter, family: Family, episode: Episode, most: int) -> Iterator[Image]:
    """Yield up to ``most`` frames of an episode, evenly spaced from its first state on, with captions."""
    steps = len(episode.rewards)
    for step in list(range(0, steps + 1, stride(steps, most)))[:most]:
        yield caption(episode_frame(painter, episode, step), *caption_lines(family, episode, step))


def episode_frame(painter: Painter, episode: Episode, step: int) -> Image:
    """Return the picture of the state after ``step`` steps, with the plan made there."""
    plan = episode.plans[step] if step < len(episode.plans) else None
    return painter.paint(episode.positions[step], plan, episode.path[: step + 1])


def caption_lines(family: Family, episode: Episode, step: int) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the caption's two lines, each as (left, right)."""
    gained = episode.rewards[:step].sum(dtype=np.float64)
    return (
        (f"{family.title}, {episode.task.description}", f"guide: {episode.guide}"),
        (f"step {step} of {len(episode.rewards)}", f"return {gained:.1f}"),
    )


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def caption(image: Image, *lines: tuple[str, str]) -> Image:
    """Return ``image`` with lines of (left, right) text on a band at the top, and the colours' key at the bottom."""
    picture = Pictures.fromarray(image).convert("RGBA")
    width, height = picture.size
    size = max(9, min(width, height) // 28)
    font = _font(size)
    band = Pictures.new("RGBA", picture.size)
    pen = ImageDraw.Draw(band)
    margin, line_height = size // 2, round(1.35 * size)
    pen.rectangle((0, 0, width, margin + line_height * len(lines) + margin // 2), fill=PAPER)
    for row, (left, right) in enumerate(lines):
        pen.text((margin, margin + row * line_height), left, INK, font)
        pen.text((width - margin, margin + row * line_height), right, INK, font, anchor="ra")
    middle, x = height - line_height, float(margin)
    for colour, name in ((PLAN, "planned"), (EXECUTED, "executed")):
        pen.line((x, middle, x + 1.4 * size, middle), fill=(*colour, 255), width=max(2, size // 4))
        pen.text((x + 1.8 * size, middle), name, INK, font, anchor="lm")
        x += 2.6 * size + font.getlength(name)
    return np.asarray(Pictures.alpha_composite(picture, band).convert("RGB"))
