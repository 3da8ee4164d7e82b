"""Point-Robot: a point that moves in the plane towards a goal that its observation does not show.

| observation | meaning | unit |
|---|---|---|
| 0 | x position | m |
| 1 | y position | m |

Actions (2): displacement / 0.1, clipped to [-1, 1]. Reward: minus the distance to the goal after the
move. Episodes last 20 steps and start at the origin; goals are uniform in [-1, 1]^2 (environments.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from metadiffuser.envs.shared.base import Array, Family, Task

STEP = 0.1  # metres of displacement at full action
EPISODE_LENGTH = 20  # steps
NEAR = 1.0  # metres from the origin, beyond which goals are unseen ones where these lie beyond the training range

SCENE = """
<mujoco model="point_robot">
  <visual><map znear="0.05"/><quality shadowsize="1024"/><headlight ambient="0.5 0.5 0.5"/></visual>
  <asset>
    <texture name="grid" type="2d" builtin="checker" width="200" height="200"
             rgb1="0.95 0.95 0.95" rgb2="0.88 0.9 0.92"/>
    <material name="grid" texture="grid" texrepeat="6 6" reflectance="0"/>
  </asset>
  <worldbody>
    <light pos="0 0 4" dir="0 0 -1" castshadow="false"/>
    <camera name="top" pos="0 0 3.4" fovy="45"/>
    <geom name="floor" type="plane" size="1.5 1.5 0.01" material="grid"/>
    <body name="point" pos="0 0 0.05">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <geom name="point" type="sphere" size="0.05" rgba="0.1 0.35 0.75 1"/>
    </body>
    <site name="goal" pos="0 0 0.02" type="cylinder" size="0.06 0.01" rgba="0.2 0.65 0.3 1"/>
  </worldbody>
</mujoco>
"""


def sample_tasks(generator: np.random.Generator, count: int) -> list[dict[str, tuple[float, ...]]]:
    """Draw ``count`` goals, uniform in [-1, 1]^2."""
    return [{"goal": tuple(map(float, generator.uniform(-1.0, 1.0, 2)))} for _ in range(count)]


def model(task: Task) -> mujoco.MjModel:
    """Return a scene for drawing: a sphere on two slide joints, the goal as a disc."""
    scene = mujoco.MjModel.from_xml_string(SCENE)
    scene.site("goal").pos[:2] = task.parameters["goal"]
    return scene


def world_points(positions: Array) -> Array:
    """Return the world points (..., 3) of positions (..., 2), just above the floor."""
    height = np.full((*positions.shape[:-1], 1), 0.06)
    return np.concatenate([positions, height], axis=-1)


def integrate(states: Array, start: Array) -> Array:
    """Return the world points (..., T, 3) of states (..., T, 2), which are positions."""
    return world_points(states)


class PointRobotSimulator:
    """B point robots stepped together."""

    def __init__(self, tasks: Sequence[Task], threads: int = 1):
        self.tasks = list(tasks)
        self._goals = np.array([task.parameters["goal"] for task in self.tasks], float)
        self._position = np.zeros_like(self._goals)

    @property
    def positions(self) -> Array:
        """Positions (B, 2)."""
        return self._position.copy()

    def reset(self, generator: np.random.Generator, chosen: NDArray[np.bool_] | None = None) -> Array:
        """Put all or the ``chosen`` robots (B,) at the origin; return observations (B, 2)."""
        self._position[slice(None) if chosen is None else chosen] = 0.0
        return self._position.copy()

    def restore(self, observations: Array) -> NDArray[np.bool_]:
        """Put the robots at observations (B, 2), which are their positions."""
        self._position = np.array(observations, float)
        return np.ones(len(observations), bool)

    def step(self, actions: Array) -> tuple[Array, dict[str, Array]]:
        """Move by 0.1 * clip(actions); return observations (B, 2) and the distance term (B,)."""
        self._position = self._position + STEP * np.clip(actions, -1.0, 1.0)
        distance = np.linalg.norm(self._position - self._goals, axis=-1)
        return self._position.copy(), {"distance": -distance}


def optimal_return(goal: Array) -> float:
    """Return the best possible return of an episode for a ``goal`` (2,).

    The axes move independently, so moving along both at full speed is optimal at every step.
    """
    steps = np.arange(1, EPISODE_LENGTH + 1)
    gaps = np.maximum(np.abs(np.asarray(goal, float)) - STEP * steps[:, None], 0.0)
    return float(-np.linalg.norm(gaps, axis=1).sum())


FAMILY = Family(
    name="point_robot",
    title="Point-Robot",
    colour="#E8743B",
    observation_size=2,
    action_size=2,
    episode_length=EPISODE_LENGTH,
    dt=1.0,
    sample_tasks=sample_tasks,
    simulator=PointRobotSimulator,
    model=model,
    reward_terms=("distance",),
    world_points=world_points,
    integrate=integrate,
    optimum=lambda task: optimal_return(np.array(task.parameters["goal"])),
    beyond=lambda parameters: float(np.linalg.norm(parameters["goal"])) > NEAR,
)
