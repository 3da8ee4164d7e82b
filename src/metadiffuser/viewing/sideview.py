"""Plain two-dimensional views that need no OpenGL: lines and discs, drawn by Pillow.

``SideView`` draws the shapes of a MuJoCo model, whose kinematics need no graphics, from the side or, if the robot can
go anywhere, from the top. ``SketchView`` draws a family that has no model by its ``Sketch``.
"""

from __future__ import annotations

from math import ceil, tan

import mujoco
import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw

from metadiffuser.envs import Array, Family
from metadiffuser.envs.shared import gl
from metadiffuser.envs.shared.camera import DISTANCE, roams, seen_from_top, sight
from metadiffuser.viewing.scene import EXECUTED, PLAN, PLAN_RADIUS, TAPER, TRAIL_RADIUS, Colour, Image

SMOOTHING = 2  # pictures are drawn so many times larger and shrunk, for smooth edges
PAPER: Colour = (247, 248, 250)
RULE: Colour = (205, 210, 217)  # floor and its marks, one a metre
AGENT: Colour = (92, 102, 117)  # of a sketch
AGENT_RADIUS = 0.03  # of its lines, in the unit of world points
LENGTHY = (mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_CYLINDER)


class PlainView:
    """Lines and discs in a plane of the world; what ``SideView`` and ``SketchView`` share.

    Args:
        height: pixels.
        width: pixels.
        reach: from the middle of the picture to its upper edge, in the unit of world points.
        axes: the world's axes to the right and up in the picture.
    """

    def __init__(self, height: int, width: int, reach: float, axes: tuple[int, int]):
        self._size = (width, height)
        self._axes = list(axes)
        self._scale = SMOOTHING * height / (2 * reach)  # pixels a unit
        self._centre = np.zeros(2)

    def _canvas(self) -> tuple[Pictures.Image, ImageDraw.ImageDraw]:
        canvas = Pictures.new("RGB", self._extent(), PAPER)
        return canvas, ImageDraw.Draw(canvas)

    def _picture(self, canvas: Pictures.Image) -> Image:
        return np.asarray(canvas.resize(self._size, Pictures.Resampling.BOX))

    def _extent(self) -> tuple[int, int]:
        return self._size[0] * SMOOTHING, self._size[1] * SMOOTHING

    def _pixels(self, points: Array) -> Array:
        size = self._extent()
        offsets = (np.asarray(points, float)[..., self._axes] - self._centre) * self._scale
        pixels: Array = np.array([size[0] / 2, size[1] / 2]) + offsets * np.array([1.0, -1.0])
        return pixels

    def _disc(self, pen: ImageDraw.ImageDraw, centre: Array, radius: float, colour: Colour) -> None:
        x, y = self._pixels(centre)
        reach = max(radius * self._scale, SMOOTHING)
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)

    def _line(self, pen: ImageDraw.ImageDraw, points: Array, radii: Array, colour: Colour) -> None:
        spots = self._pixels(points)
        for start, end, radius in zip(spots[:-1], spots[1:], radii[:-1], strict=True):
            width = max(SMOOTHING, round(2 * radius * self._scale))
            pen.line((*start, *end), fill=colour, width=width)

    def _trail(self, pen: ImageDraw.ImageDraw, trail: Array) -> None:
        self._line(pen, trail, np.full(len(trail), TRAIL_RADIUS), EXECUTED)

    def _plan(self, pen: ImageDraw.ImageDraw, plan: Array | None) -> None:
        if plan is None:
            return
        radii = np.linspace(PLAN_RADIUS, TAPER * PLAN_RADIUS, len(plan))
        self._line(pen, plan, 0.5 * radii, PLAN)
        for point, radius in zip(plan, radii, strict=True):
            self._disc(pen, point, radius, PLAN)

    def _floor(self, pen: ImageDraw.ImageDraw, grid: bool) -> None:
        """Draw a mark every unit, and rows of them as a ``grid`` or one floor at height 0."""
        size = self._extent()
        reach = 1 + size[0] / (2 * self._scale)
        _, level = self._pixels(np.zeros(3))
        for shift in range(-ceil(reach), ceil(reach) + 1):
            point = np.zeros(3)
            point[self._axes] = np.floor(self._centre) + shift
            x, y = self._pixels(point)
            pen.line((x, 0 if grid else level, x, size[1]), fill=RULE, width=SMOOTHING)
            if grid:
                pen.line((0, y, size[0], y), fill=RULE, width=SMOOTHING)
        if not grid:
            pen.line((0, level, size[0], level), fill=RULE, width=3 * SMOOTHING)


class SideView(PlainView):
    """Draws one state of a MuJoCo model without OpenGL; see ``frames.Painter``."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int):
        self._model = gl.scenery(model)
        self._data = mujoco.MjData(self._model)
        self._still = seen_from_top(self._model)
        self._top = self._still or roams(self._model)
        half = DISTANCE * tan(np.radians(self._model.vis.global_.fovy / 2))
        if self._still:
            half = float(self._model.cam_pos[0, 2]) * tan(np.radians(float(self._model.cam_fovy[0]) / 2))
        super().__init__(height, width, half, (0, 1) if self._top else (0, 2))

    def paint(self, positions: Array, plan: Array | None, trail: Array) -> Image:
        """Return a picture (height, width, 3); see ``frames.Painter``."""
        self._data.qpos[:] = positions
        mujoco.mj_kinematics(self._model, self._data)
        self._centre = np.zeros(2) if self._still else sight(trail)[self._axes]
        canvas, pen = self._canvas()
        self._floor(pen, self._top)
        for site in range(self._model.nsite):
            colour = _rgb(self._model.site_rgba[site])
            self._disc(pen, self._data.site_xpos[site], self._model.site_size[site, 0], colour)
        self._trail(pen, trail)
        for geom in range(self._model.ngeom):
            self._shape(pen, geom)
        self._plan(pen, plan)
        return self._picture(canvas)

    def _shape(self, pen: ImageDraw.ImageDraw, geom: int) -> None:
        kind, size = mujoco.mjtGeom(int(self._model.geom_type[geom])), self._model.geom_size[geom]
        if kind == mujoco.mjtGeom.mjGEOM_PLANE:
            return
        centre, colour = self._data.geom_xpos[geom], _rgb(self._model.geom_rgba[geom])
        radius = size[0]
        if kind in LENGTHY:
            along = self._data.geom_xmat[geom].reshape(3, 3)[:, 2] * size[1]
            ends = np.stack([centre - along, centre + along])
            self._line(pen, ends, np.full(2, radius), colour)
            for end in ends:
                self._disc(pen, end, radius, colour)
        else:
            self._disc(pen, centre, radius, colour)


class SketchView(PlainView):
    """Draws one state of a family that has no MuJoCo model: its sketch, on a grid; see ``frames.Painter``."""

    def __init__(self, family: Family, height: int, width: int):
        super().__init__(height, width, family.sketch.reach, (0, 2))
        self._sketch = family.sketch

    def paint(self, positions: Array, plan: Array | None, trail: Array) -> Image:
        """Return a picture (height, width, 3); see ``frames.Painter``."""
        self._centre = np.zeros(2) if self._sketch.still else np.asarray(trail, float)[-1, self._axes]
        canvas, pen = self._canvas()
        self._floor(pen, grid=True)
        self._trail(pen, trail)
        outline = trail[-1:] if self._sketch.outline is None else self._sketch.outline(positions)
        self._line(pen, outline, np.full(len(outline), AGENT_RADIUS), AGENT)
        self._disc(pen, outline[-1], 2 * AGENT_RADIUS, AGENT)
        self._plan(pen, plan)
        return self._picture(canvas)


def _rgb(rgba: Array) -> Colour:
    red, green, blue = (round(255 * float(value)) for value in rgba[:3])
    return red, green, blue
