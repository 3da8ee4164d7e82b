"""The choice of the OpenGL library for off-screen drawing: EGL, else OSMesa, else GLFW; made once per process.

MuJoCo reads ``MUJOCO_GL`` in two places: its Python package picks a context class when it is imported, and its C
library picks a function loader when the first context is made. An installed library may still fail when it is used,
and can end the process. So each candidate first draws a picture in a process of its own, and the choice is written to
both places before the first context, however early ``mujoco`` was imported. A backend that the user names in
``MUJOCO_GL`` is tried before the others.
"""

from __future__ import annotations

import copy
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache

import mujoco
import numpy as np
from mujoco.rendering.classic import gl_context

from metadiffuser.errors import InputError

BACKENDS = ("egl", "osmesa", "glfw") if sys.platform == "linux" else ("glfw",)
SWITCHED_OFF = ("disable", "disabled", "off", "false", "0")  # values of MUJOCO_GL that turn rendering off
PROBE_SECONDS = 60
SLATE = (0.36, 0.40, 0.46, 1.0)  # RGBA of robots
LIGHT_SLATE = (0.55, 0.60, 0.67, 1.0)  # of parts that have another colour in the robot's file, such as a second leg
FLOOR = (218, 244)  # darkest and lightest of the floor's pattern, of 255
FLOOR_REACH = 13.5  # metres from the middle to the edge of a floor, at least
SKY = (228, 250)
REMEDY = (
    "no OpenGL library works off screen here; install one, on Debian and Ubuntu with "
    "'apt install libegl1 libegl-mesa0 libgl1-mesa-dri libopengl0' (EGL) or 'apt install libosmesa6' (OSMesa)"
)

_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><light pos="0 0 3"/><geom type="plane" size="1 1 1"/></worldbody></mujoco>'
)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 16, 16) as renderer:
    renderer.update_scene(data)
    assert renderer.render().any()
"""


class NoGraphicsError(InputError):
    """No OpenGL library works on this machine; the message names the packages to install."""


def probe(backend: str) -> bool:
    """Return whether ``backend`` can draw, by drawing with it in another process."""
    with tempfile.TemporaryDirectory() as scratch:  # MuJoCo logs errors in the working directory
        try:
            ended = subprocess.run(
                [sys.executable, "-c", _PROBE],
                env={**os.environ, "MUJOCO_GL": backend},
                cwd=scratch,
                capture_output=True,
                timeout=PROBE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return ended.returncode == 0


def choose(wanted: str, works: Callable[[str], bool] = probe) -> str | None:
    """Return the first backend that ``works``, the ``wanted`` one (a value of MUJOCO_GL) first, or None."""
    wanted = wanted.strip().lower()
    if wanted in SWITCHED_OFF:
        return None
    candidates = sorted(BACKENDS, key=lambda name: name != wanted)
    return next((name for name in candidates if works(name)), None)


@cache
def backend() -> str | None:
    """Return this process's backend, prepared for ``mujoco.Renderer``, or None if there is none."""
    name = choose(os.environ.get("MUJOCO_GL", ""))
    if name is not None:
        os.environ["MUJOCO_GL"] = name
        gl_context.GLContext = importlib.import_module(f"mujoco.{name}").GLContext
    return name


def renderer(model: mujoco.MjModel, height: int, width: int) -> mujoco.Renderer:
    """Return a renderer of ``model`` whose pictures are ``height`` x ``width`` pixels; close it after use.

    The model's off-screen buffer is enlarged to that size if need be.

    Raises:
        NoGraphicsError: no OpenGL library works on this machine.
    """
    if backend() is None:
        raise NoGraphicsError(REMEDY)
    size = model.vis.global_
    size.offwidth, size.offheight = max(size.offwidth, width), max(size.offheight, height)
    return mujoco.Renderer(model, height, width)


def scenery(model: mujoco.MjModel) -> mujoco.MjModel:
    """Return a copy of ``model`` that is fast to draw and has pale colours; its physics is the same.

    Without a graphics card, shadows and reflections take most of a frame's time: both are removed. Floor and sky become
    pale and wide and robots slate, so that plans and paths drawn over them stand out.
    """
    model = copy.copy(model)
    model.vis.quality.shadowsize = 0
    model.vis.headlight.ambient[:] = 0.65
    model.vis.headlight.diffuse[:] = 0.2
    model.vis.headlight.specular[:] = 0.0
    model.light_diffuse[:] = 0.2
    model.light_exponent[:] = 0.0
    model.light_specular[:] = 0.1
    model.mat_reflectance[:] = 0.0
    model.mat_specular[:] = 0.0
    for plane in np.flatnonzero(model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)):
        widening = max(1.0, FLOOR_REACH / model.geom_size[plane, 0])
        model.geom_size[plane, :2] *= widening
        model.mat_texrepeat[model.geom_matid[plane]] *= widening
        model.geom_rgba[plane] = 1.0
    if model.nu:  # a robot with motors, and not a point that carries the colours of a diagram
        robot = model.geom_bodyid > 0
        set_off = (model.geom_rgba[robot] != model.geom_rgba[robot][0]).any(axis=1, keepdims=True)
        model.geom_rgba[robot] = np.where(set_off, LIGHT_SLATE, SLATE)
        model.geom_matid[robot] = -1
    for index, kind in enumerate(model.tex_type):
        low, high = SKY if int(kind) == mujoco.mjtTexture.mjTEXTURE_SKYBOX else FLOOR
        start = model.tex_adr[index]
        pixels = model.tex_data[start : start + model.tex_height[index] * model.tex_width[index] * 3]
        pixels[:] = low + (pixels - float(pixels.min())) * ((high - low) / max(1.0, float(np.ptp(pixels))))
    return model
