"""Tasks and seeds that are given to an agent are the ones that it uses, or are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import metadiffuser
from metadiffuser.envs import Task
from metadiffuser.errors import InputError
from metadiffuser.pretrained.bundle import read_bundle

pytestmark = pytest.mark.usefixtures("clone")


def test_a_task_that_differs_from_the_unseen_one_of_its_index_is_refused() -> None:
    agent = metadiffuser.load("point_robot")
    known = agent.tasks[45]
    agent.warm_start(Task.from_json(known.to_json()))
    moved = replace(known, parameters={"goal": tuple(x + 0.01 for x in known.parameters["goal"])})
    with pytest.raises(InputError, match=r"task 45 .*differs from the models' unseen task 45 .*warm_start_from"):
        agent.warm_start(moved)
    with pytest.raises(InputError, match=r"task 45 \(speed 1.50\): differs"):
        agent.warm_start([known, Task(45, "test", {"speed": (1.5,)})])


@pytest.mark.parametrize("seed", [None, "a", 1.5, -1, [1], np.array([1, 2])])
def test_a_seed_that_is_no_whole_number_is_refused(seed: Any) -> None:
    with pytest.raises(InputError, match=r"seed .*: expected a whole number, 0 or more"):
        metadiffuser.load("point_robot", seed=seed)
    if seed is not None:
        with pytest.raises(InputError, match="seed"):
            metadiffuser.load("point_robot").reset(seed=seed)


def test_a_seed_of_numpy_is_the_same_seed() -> None:
    start = np.zeros(read_bundle("point_robot").family.observation_size)
    seeds: list[Any] = [7, np.int64(7), np.array(7)]
    first, *others = [metadiffuser.load("point_robot", seed=seed).act(start).tolist() for seed in seeds]
    assert others == [first, first]


def test_numbers_that_overflow_in_the_networks_are_refused() -> None:
    agent = metadiffuser.load("point_robot")
    with pytest.raises(InputError, match=r"observation: has values as large as 1e\+30; expected the env"):
        agent.act(np.array([0.0, -1e30]))
    with pytest.raises(InputError, match="warm-start observations: has values as large as"):
        agent.warm_start_from(np.full((5, 2), 1e30), np.zeros((4, 2)), np.zeros(4))
    assert np.abs(agent.act(np.array([0.0, 1e5]))).max() <= 1.0
