"""Actions and options that a gymnasium environment refuses, in one sentence, and goes on as if they had not been."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

import metadiffuser.envs  # noqa: F401 - registers the environments
from metadiffuser.errors import InputError


@pytest.mark.parametrize(
    "action",
    [0.5, [0.5], np.zeros(3), np.zeros((1, 2)), [0.1, np.nan], [np.inf, 0.0], "up", None, {}, [[0.1], [0.2, 0.3]]],
    ids=repr,
)
def test_an_action_that_is_none_is_refused(action: Any) -> None:
    envs = [gymnasium.make("metadiffuser/PointRobot-v0", task=3) for _ in range(2)]
    for env in envs:
        env.reset(seed=0)
    with pytest.raises(InputError, match=r"metadiffuser/PointRobot-v0: action .*: expected 2 finite numbers"):
        envs[0].step(action)
    one, other = (env.step(np.array([0.3, -0.2], np.float32)) for env in envs)
    np.testing.assert_array_equal(one[0], other[0])


def test_actions_may_lie_outside_the_bounds_and_are_clipped() -> None:
    far, near = (gymnasium.make("metadiffuser/PointRobot-v0", task=3) for _ in range(2))
    for env in (far, near):
        env.reset(seed=0)
    np.testing.assert_array_equal(far.step(np.array([7.0, -7.0]))[0], near.step(np.array([1.0, -1.0]))[0])


def test_options_are_a_mapping() -> None:
    env = gymnasium.make("metadiffuser/PointRobot-v0")
    with pytest.raises(InputError, match=r"reset options \['task'\]: expected a mapping such as {'task': 5}"):
        env.reset(options=["task"])  # type: ignore[arg-type]
