"""Pendulum: swing a pendulum up and hold it there, under a gravity that differs from task to task.

| index | name | unit |
|---|---|---|
| 0, 1 | cosine and sine of the angle, which is 0 where the pendulum stands upright | 1 |
| 2 | angular velocity | rad/s |

Action (1): torque at the joint, as a share of 2 N m. A task is a gravity, uniform in [2, 14) m/s^2, and a start: the
angle at the beginning of an episode is uniform between minus and plus this many radians, itself uniform in [1, pi).
The reward is gymnasium's; episodes last 100 steps of 0.05 s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metadiffuser.envs import GymnasiumFamily, Sketch, Task

GRAVITIES = (2.0, 14.0)  # m/s^2
STARTS = (1.0, float(np.pi))  # rad
START_RATE = 1.0  # rad/s: largest angular velocity at the start

Array = NDArray[np.float64]


def sample_tasks(generator: np.random.Generator, count: int) -> list[dict[str, float]]:
    """Draw gravity and start of ``count`` tasks."""
    return [{"gravity": generator.uniform(*GRAVITIES), "start": generator.uniform(*STARTS)} for _ in range(count)]


def arguments(task: Task) -> dict[str, float]:
    """Return the arguments that ``gymnasium.make`` takes for a task."""
    return {"g": task.parameters["gravity"][0]}


def reset_options(task: Task) -> dict[str, float]:
    """Return the options of a task's resets."""
    return {"x_init": task.parameters["start"][0], "y_init": START_RATE}


def restore(env: Any, observation: Array) -> None:
    """Put gymnasium's pendulum into the state that an observation (3,) shows."""
    cosine, sine, rate = observation
    env.state = np.array([np.arctan2(sine, cosine), rate])


def place(states: Array) -> Array:
    """Return the world points (..., 3) of the pendulum's free end in states (..., 3); it is 1 m long."""
    return np.stack([states[..., 1], np.zeros_like(states[..., 0]), states[..., 0]], axis=-1)


def outline(state: Array) -> Array:
    """Return the pendulum in one state (3,) as a line (2, 3) from its joint to its free end."""
    return np.stack([np.zeros(3), place(state)])


FAMILY = GymnasiumFamily(
    name="pendulum",
    title="Pendulum",
    colour="#319795",
    environment="Pendulum-v1",
    episode_length=100,
    sample_tasks=sample_tasks,
    arguments=arguments,
    reset_options=reset_options,
    restore=restore,
    place=place,
    sketch=Sketch(outline=outline, reach=1.4),
)
