"""The camera's position, the same in pictures of environments and of rollouts."""

from __future__ import annotations

import mujoco
import numpy as np

from metadiffuser.envs.shared.base import Array

DISTANCE = 3.6  # metres from a robot to its camera
ELEVATION = -8.0  # degrees, for robots that move in a vertical plane
ROAMING_ELEVATION = -35.0  # for robots that move freely in the plane, so that their paths are seen
AHEAD = 0.3  # metres that the camera looks ahead of the robot
SIGHT_HEIGHT = 0.75  # where the camera looks, in heights of the first executed point


def seen_from_top(model: mujoco.MjModel) -> bool:
    """Return whether the model has a fixed camera, as the families in the plane do."""
    return bool(model.ncam) and int(model.cam_mode[0]) == mujoco.mjtCamLight.mjCAMLIGHT_FIXED


def roams(model: mujoco.MjModel) -> bool:
    """Return whether the robot moves freely in the plane, and not only forward and backward."""
    return int(model.jnt_type[0]) == mujoco.mjtJoint.mjJNT_FREE


def sight(path: Array) -> Array:
    """Return the point (3,) that a robot's camera looks at after the executed ``path`` (t, 3).

    It follows the robot along the floor at a fixed height, so that jumps are visible.
    """
    return np.array([path[-1, 0] + AHEAD, path[-1, 1], SIGHT_HEIGHT * path[0, 2]])


def camera(model: mujoco.MjModel, path: Array) -> mujoco.MjvCamera:
    """Return the camera of the scene after the executed ``path`` (t, 3)."""
    view = mujoco.MjvCamera()
    if seen_from_top(model):
        view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        view.fixedcamid = 0
    else:
        view.type = mujoco.mjtCamera.mjCAMERA_FREE
        view.lookat[:] = sight(path)
        view.distance, view.azimuth = DISTANCE, 90.0
        view.elevation = ROAMING_ELEVATION if roams(model) else ELEVATION
    return view
