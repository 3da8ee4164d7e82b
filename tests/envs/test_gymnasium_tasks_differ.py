"""Families of gymnasium environments whose tasks differ in more than numbers, or pay and draw in unusual forms."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from metadiffuser.envs import GymnasiumFamily, Task
from metadiffuser.errors import InputError


class Lift(gym.Env[Any, Any]):
    """A load that an action in [-strength, strength] moves by as much; the reward comes in the form ``paid``."""

    paid: Any = np.asarray

    def __init__(self, strength: float = 1.0, joints: int = 1, bounded: bool = True, shown: int = 1):
        high = strength if bounded else np.inf
        self.observation_space = gym.spaces.Box(-10.0, 10.0, (shown,), np.float64)
        self.action_space = gym.spaces.Box(-high, high, (joints,), np.float32)
        self.height = np.zeros(shown)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.height = np.zeros_like(self.height)
        return self.height, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.height = self.height + float(action[0])
        return self.height, Lift.paid(self.height[0]), False, False, {}


def family_of(
    values: list[Any], argument: str = "strength", workers: int = 0, sampled: Any = None
) -> tuple[GymnasiumFamily, list[Task]]:
    """Return a family whose tasks differ in one argument of ``Lift``, and a task for each of its values."""

    def arguments(task: Task) -> dict[str, Any]:
        return {argument: type(values[0])(task.parameters[argument][0])}

    family = GymnasiumFamily(
        name="lift",
        title="Lift",
        colour="#123456",
        environment=f"{__name__}:Lift",
        episode_length=5,
        sample_tasks=sampled or (lambda generator, count: [{argument: float(values[0])}] * count),
        arguments=arguments,
        workers=workers,
    )
    return family, [Task(index, "train", {argument: (float(value),)}) for index, value in enumerate(values)]


def test_actions_are_scaled_to_the_bounds_of_each_task() -> None:
    family, tasks = family_of([1.0, 2.0, 4.0])
    simulator = family.simulator(tasks, 1)
    simulator.reset(np.random.default_rng(0))
    observations, terms = simulator.step(np.array([[1.0], [0.5], [-1.5]]))
    assert observations[:, 0].tolist() == [1.0, 1.0, -4.0]
    assert terms["reward"].tolist() == [1.0, 1.0, -4.0]


@pytest.mark.parametrize("form", [float, np.float32, np.asarray, lambda value: np.array([value])])
def test_a_reward_is_a_number_or_an_array_of_one(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lift, "paid", staticmethod(form))
    family, tasks = family_of([1.0, 2.0])
    simulator = family.simulator(tasks, 1)
    simulator.reset(np.random.default_rng(0))
    rewards = simulator.step(np.array([[0.5], [0.5]]))[1]["reward"]
    assert rewards.dtype == np.float64
    assert rewards.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    "form", [lambda value: np.zeros(2), lambda value: None, lambda value: "much", lambda value: np.nan]
)
def test_a_reward_of_another_form_is_refused(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lift, "paid", staticmethod(form))
    family, tasks = family_of([1.0, 2.0])
    simulator = family.simulator(tasks, 1)
    simulator.reset(np.random.default_rng(0))
    with pytest.raises(InputError, match=r"Lift, task 0: paid .*; expected one finite number as reward"):
        simulator.step(np.zeros((2, 1)))


@pytest.mark.parametrize(
    ("argument", "values", "said"),
    [
        ("joints", [1, 2], r"the action space of task 1 has the shape \(2,\), that of task 0 \(1,\)"),
        ("shown", [1, 3], r"the observation space of task 1 has the shape \(3,\), that of task 0 \(1,\)"),
        ("bounded", [True, False], "task 1: has the observation space .* expected a Box, and a Box with bounds"),
    ],
)
def test_tasks_with_other_spaces_are_refused(argument: str, values: list[Any], said: str) -> None:
    family, tasks = family_of(values, argument)
    with pytest.raises(InputError, match=said):
        family.simulator(tasks, 1)


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        ([{"strength": 1.0}, {"strength": float("nan")}], "returned {'strength': nan}; expected finite numbers"),
        ([{"strength": 1.0}, {"strength": [1.0, float("inf")]}], "expected finite numbers"),
        ([{"strength": 1.0}, {"strength": "much"}], "returned {'strength': 'much'}; expected finite numbers"),
        ([{"strength": 1.0}, {"strength": [1.0, 2.0]}], "expected equal names and sizes for all tasks"),
        ([{"strength": 1.0}, {"load": 1.0}], "returned {'strength': 1.0} and {'load': 1.0}; expected equal names"),
    ],
)
def test_drawn_tasks_that_do_not_fit_together_are_refused(drawn: list[Any], said: str) -> None:
    family, _ = family_of([1.0], sampled=lambda generator, count: drawn[:count])
    with pytest.raises(InputError, match=said) as refused:
        family.sample_tasks(np.random.default_rng(0), 2)
    assert "\n" not in str(refused.value)
