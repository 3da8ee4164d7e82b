"""Rewards that a family's observations determine by themselves, in closed form.

Ant-Dir and the -Param families are missing on purpose: the distance covered is not among their observations. A
test holds every function to the rewards of its family's simulator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from metadiffuser.envs import Array, Family, Task

TORSO_X = 17  # index of the torso's x in a cheetah's observation
CONTROL_COST = 0.05

Reward = Callable[[Family, Task, Array, Array, Array], Array]


def _point_robot(family: Family, task: Task, states: Array, actions: Array, successors: Array) -> Array:
    """Return -|s' - g|."""
    return -np.linalg.norm(successors - np.asarray(task.parameters["goal"]), axis=-1)


def _velocity(family: Family, states: Array, successors: Array) -> Array:
    """Return the torso's mean forward velocity (N,) over each step."""
    return (successors[..., TORSO_X] - states[..., TORSO_X]) / family.dt


def _cheetah_vel(family: Family, task: Task, states: Array, actions: Array, successors: Array) -> Array:
    """Return -abs(v - v*) - 0.05 |a|^2."""
    velocity = _velocity(family, states, successors)
    return -np.abs(velocity - task.parameters["speed"][0]) - CONTROL_COST * np.square(actions).sum(axis=-1)


def _cheetah_dir(family: Family, task: Task, states: Array, actions: Array, successors: Array) -> Array:
    """Return d v - 0.05 |a|^2."""
    velocity = _velocity(family, states, successors)
    return task.parameters["direction"][0] * velocity - CONTROL_COST * np.square(actions).sum(axis=-1)


REWARDS: dict[str, Reward] = {
    "point_robot": _point_robot,
    "cheetah_vel": _cheetah_vel,
    "cheetah_dir": _cheetah_dir,
}


def expected_rewards(family: Family, task: Task, states: Array, actions: Array, successors: Array) -> Array | None:
    """Return the rewards (N,) of transitions by the family's definition, or None where observations do not tell.

    Args:
        family: the family.
        task: whose reward.
        states: s (N, S).
        actions: a (N, A).
        successors: s' (N, S).
    """
    function = REWARDS.get(family.name)
    return None if function is None else function(family, task, states, actions, successors)
