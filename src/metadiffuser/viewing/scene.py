"""What every picture shares: the colours, and how paths are drawn into a scene."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from metadiffuser.envs import Array

Image = NDArray[np.uint8]  # (height, width, 3)
Colour = tuple[int, int, int]

PLAN: Colour = (0xE8, 0x74, 0x3B)
EXECUTED: Colour = (0x2B, 0x6C, 0xB0)

PLAN_RADIUS = 0.022  # metres, of the first planned point; the plan tapers to TAPER of it
TAPER = 0.55
TRAIL_RADIUS = 0.010
TRAIL_REACH = 3.5  # metres behind the robot that the executed path is drawn
LIFT = 0.08  # of the distance to the camera, by which the plan is drawn nearer

GLOW = 0.12  # of its own colour that a marker adds to what the lights give it


def draw_plan(scene: mujoco.MjvScene, points: Array) -> None:
    """Add the planned ``points`` (H, 3) to an updated scene, as balls on a tapering line.

    They are moved along the line of sight towards the camera, which changes nothing in the picture but that
    the robot does not hide its own plan.
    """
    eye = np.mean([np.array(view.pos, float) for view in scene.camera], axis=0)
    nearer = eye + (np.asarray(points, float) - eye) * (1.0 - LIFT)
    radii = np.linspace(PLAN_RADIUS, TAPER * PLAN_RADIUS, len(nearer)) * (1.0 - LIFT)
    for point, radius in zip(nearer, radii, strict=True):
        _add_ball(scene, point, radius, PLAN)
    _add_line(scene, nearer, 0.5 * radii, PLAN)


def draw_trail(scene: mujoco.MjvScene, points: Array) -> None:
    """Add the end of the executed ``points`` (t, 3), as far as it can be in sight, to a scene as a thin line."""
    points = np.asarray(points, float)
    (far,) = np.nonzero(np.linalg.norm(points - points[-1], axis=1) > TRAIL_REACH)
    shown = points[far[-1] :] if len(far) else points
    _add_line(scene, shown, np.full(len(shown), TRAIL_RADIUS), EXECUTED)


def _next_geom(
    scene: mujoco.MjvScene, kind: mujoco.mjtGeom, size: Sequence[float], place: Array, colour: Colour
) -> int:
    index = int(scene.ngeom)
    rgba = np.array([*(value / 255.0 for value in colour), 1.0], np.float32)
    geom = scene.geoms[index]
    mujoco.mjv_initGeom(geom, kind, np.asarray(size, float), place, np.eye(3).ravel(), rgba)
    geom.emission, geom.specular = GLOW, 0.0
    scene.ngeom = index + 1
    return index


def _add_ball(scene: mujoco.MjvScene, centre: Array, radius: float, colour: Colour) -> None:
    if scene.ngeom < scene.maxgeom:
        _next_geom(scene, mujoco.mjtGeom.mjGEOM_SPHERE, [radius] * 3, centre, colour)


def _add_line(scene: mujoco.MjvScene, points: Array, radii: Array, colour: Colour) -> None:
    for start, end, radius in zip(points[:-1], points[1:], radii[:-1], strict=True):
        if scene.ngeom < scene.maxgeom and not np.allclose(start, end):
            index = _next_geom(scene, mujoco.mjtGeom.mjGEOM_CAPSULE, [radius] * 3, start, colour)
            mujoco.mjv_connector(scene.geoms[index], mujoco.mjtGeom.mjGEOM_CAPSULE, radius, start, end)
