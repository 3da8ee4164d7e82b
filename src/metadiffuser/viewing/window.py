"""mujoco-python-viewer's window, made to work with MuJoCo 4 and NumPy 2.4.

What release 0.1.4 does there, and what is put in its place:

- Dragging and scrolling pass a scene to ``mjv_moveCamera``, which takes none since MuJoCo 3.11: the loop ends.
- A double click writes an array into a number, which NumPy 2.4 refuses: the loop ends. And it selects bodies to
  push, which means nothing where recorded motion is shown: here it moves the camera's aim to the point.
- Markers keep whatever material number their memory held: wrong colours, or a crash. Here they are drawn by
  ``scene.py``.
- It keeps a camera file in the user's home and writes screenshots to fixed names: neither happens here.
- It ends GLFW before it frees what it drew with.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import glfw
import mujoco
import numpy as np
from mujoco_viewer import MujocoViewer

from metadiffuser.envs import Array
from metadiffuser.envs.shared.camera import camera, seen_from_top, sight
from metadiffuser.viewing.scene import draw_plan, draw_trail

DOUBLE_CLICK = 0.3  # seconds
SCROLL = 0.05  # zoom of one notch of the wheel


class Window(MujocoViewer):  # type: ignore[misc]  # the package is not typed
    """A window on a scene, with the executed path, the plan and a caption.

    Keys: space pauses, right arrow takes one step, escape ends, H shows the package's own menu.
    Mouse: left drag turns, right drag moves, wheel zooms, double click aims the camera.

    Attributes:
        plan: planned world points (H, 3), or None.
        trail: executed world points (t, 3), t at least 1.
        text: caption; may have several lines.
        paused: whether the play waits for a key.
    """

    is_alive: bool
    _last_mouse_x: float
    _last_mouse_y: float

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, title: str, width: int, height: int):
        os.environ["MUJOCO_GL"] = "glfw"  # the window's own OpenGL, whatever off-screen pictures are made with
        self.plan: Array | None = None
        self.trail: Array = np.zeros((1, 3))
        self.text = ""
        self.paused = False
        self._single_steps = 0
        self._last_click = -DOUBLE_CLICK
        self._sight = np.zeros(3)
        with tempfile.TemporaryDirectory(prefix="metadiffuser-") as scratch:
            self._scratch = Path(scratch)
            super().__init__(model, data, "window", title, width, height, hide_menus=True)

    @property
    def CONFIG_PATH(self) -> Path:  # noqa: N802 - the name that the package reads
        """A camera file that nobody keeps."""
        return self._scratch / "camera.yaml"

    @CONFIG_PATH.setter
    def CONFIG_PATH(self, _: Path) -> None:  # noqa: N802
        pass

    def take_single_step(self) -> bool:
        """Tell whether the right arrow has asked for a step that was not yet taken, and count it as taken."""
        asked = self._single_steps > 0
        self._single_steps -= asked
        return asked

    def place_camera(self, path: Array) -> None:
        """Put the camera where the films have it after the executed ``path`` (t, 3); the mouse can move it."""
        view = camera(self.model, path)
        if view.type == mujoco.mjtCamera.mjCAMERA_FIXED:
            self.cam.lookat[:] = 0.0
            self.cam.distance, self.cam.azimuth, self.cam.elevation = self.model.cam_pos[0, 2], 90.0, -90.0
        else:
            self.cam.lookat[:] = view.lookat
            self.cam.distance, self.cam.azimuth, self.cam.elevation = view.distance, view.azimuth, view.elevation
            self._sight = sight(path)

    def follow(self, path: Array) -> None:
        """Move the camera's aim as far as the robot has moved since the last call."""
        if not seen_from_top(self.model):
            now = sight(path)
            self.cam.lookat[:] += now - self._sight
            self._sight = now

    def render(self) -> None:
        """Draw one frame and handle what keys and mouse did."""
        self._markers[:] = [{}]  # one call of _add_marker_to_scene
        super().render()

    def close(self) -> None:
        """Free what was drawn with, then the window. May be called twice."""
        if self.is_alive:
            self.is_alive = False
            glfw.make_context_current(self.window)
            self.ctx.free()
            glfw.terminate()

    def _add_marker_to_scene(self, marker: dict[str, Any]) -> None:
        draw_trail(self.scn, self.trail)
        if self.plan is not None:
            draw_plan(self.scn, self.plan)

    def _create_overlay(self) -> None:
        super()._create_overlay()
        state = "paused: space goes on, right arrow takes one step" if self.paused else "space pauses"
        self._overlay[mujoco.mjtGridPos.mjGRID_TOPRIGHT] = [f"{self.text}\n{state}", ""]

    def _key_callback(self, window: Any, key: int, scancode: int, action: int, mods: int) -> None:
        released = action == glfw.RELEASE  # the package, too, acts on release
        if key == glfw.KEY_ESCAPE:
            glfw.set_window_should_close(window, True)
        elif key == glfw.KEY_SPACE:
            self.paused ^= released
        elif key == glfw.KEY_RIGHT:
            self.paused = True
            self._single_steps += released
        elif key != glfw.KEY_T and not (key == glfw.KEY_S and mods == glfw.MOD_CONTROL):
            super()._key_callback(window, key, scancode, action, mods)

    def _cursor_pos_callback(self, window: Any, x: float, y: float) -> None:
        left, right = self._button_left_pressed, self._button_right_pressed
        if left or right:
            shifts = (glfw.KEY_LEFT_SHIFT, glfw.KEY_RIGHT_SHIFT)
            shift = any(glfw.get_key(window, key) == glfw.PRESS for key in shifts)
            mouse = mujoco.mjtMouse
            if right:
                action = mouse.mjMOUSE_MOVE_H if shift else mouse.mjMOUSE_MOVE_V
            else:
                action = mouse.mjMOUSE_ROTATE_H if shift else mouse.mjMOUSE_ROTATE_V
            _, height = glfw.get_window_size(window)
            dx, dy = (x - self._last_mouse_x) / height, (y - self._last_mouse_y) / height
            mujoco.mjv_moveCamera(self.model, action, dx, dy, self.cam)
        self._last_mouse_x, self._last_mouse_y = x, y

    def _scroll_callback(self, window: Any, x_offset: float, y_offset: float) -> None:
        mujoco.mjv_moveCamera(self.model, mujoco.mjtMouse.mjMOUSE_ZOOM, 0.0, -SCROLL * y_offset, self.cam)

    def _mouse_button_callback(self, window: Any, button: int, action: int, mods: int) -> None:
        pressed = action == glfw.PRESS
        if button == glfw.MOUSE_BUTTON_LEFT:
            self._button_left_pressed = pressed
        elif button == glfw.MOUSE_BUTTON_RIGHT:
            self._button_right_pressed = pressed
        if pressed:
            now = glfw.get_time()
            if now - self._last_click < DOUBLE_CLICK:
                self._aim_at(self._last_mouse_x, self._last_mouse_y)
            self._last_click = now

    def _aim_at(self, x: float, y: float) -> None:
        width, height = glfw.get_window_size(self.window)
        point = np.zeros((3, 1))
        geom, flex, skin = (np.zeros((1, 1), np.int32) for _ in range(3))
        across, up = x / width, 1.0 - y / height
        hit = mujoco.mjv_select(
            self.model, self.data, self.vopt, width / height, across, up, self.scn, point, geom, flex, skin
        )
        if hit >= 0:
            self.cam.lookat[:] = point[:, 0]
