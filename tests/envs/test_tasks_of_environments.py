"""The task of a gymnasium environment: named in several ways, changed later, copied along."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from metadiffuser.config.schema import Tasks
from metadiffuser.envs import FAMILIES, Array, Task
from metadiffuser.envs.gym.env import FamilyEnv
from metadiffuser.envs.shared import gl
from metadiffuser.envs.shared.tasks import default_task, default_tasks
from metadiffuser.errors import InputError

POINT, CHEETAH = "metadiffuser/PointRobot-v0", "metadiffuser/CheetahVel-v0"


def played(env: Any, steps: int = 4) -> list[tuple[Array, float]]:
    """What an environment shows and pays for the same actions each time."""
    actions = np.random.default_rng(3).uniform(-1, 1, (steps, *env.action_space.shape)).astype(np.float32)
    return [env.step(action)[:2] for action in actions]


def same(one: list[tuple[Array, float]], other: list[tuple[Array, float]]) -> bool:
    return all(np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in zip(one, other, strict=True))


def refusal(call: Any) -> str:
    with pytest.raises(InputError) as refused:
        call()
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- changed later ---------------------------------------------------------------------------------------------------


def by_attribute(env: Any, task: object) -> None:
    env.task = task
    env.reset(seed=5)


def by_unwrapped(env: Any, task: object) -> None:
    env.unwrapped.task = task
    env.reset(seed=5)


def by_wrappers(env: Any, task: object) -> None:
    env.set_wrapper_attr("task", task)
    env.reset(seed=5)


def by_options(env: Any, task: object) -> None:
    env.reset(seed=5, options={"task": task})


@pytest.mark.parametrize("change", [by_attribute, by_unwrapped, by_wrappers, by_options])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_changed_task_is_that_of_label_reward_and_dynamics(name: str, change: Any) -> None:
    gym_id = FAMILIES[name].gym_id
    fresh: Any = gym.make(gym_id, task=6)
    fresh.reset(seed=5)
    expected = played(fresh)
    changed: Any = gym.make(gym_id, task=3)
    changed.reset(seed=1)
    before = played(changed)
    for task in (6, fresh.task, fresh.task.to_json()):
        change(changed, task)
        assert changed.task == changed.unwrapped.task == fresh.task
        assert same(played(changed), expected)
    assert not same(before, expected)
    changed.reset(seed=5)
    assert same(played(changed), expected), "the task did not stay"


def test_vector_environments_have_a_task_each() -> None:
    envs: Any = gym.make_vec(POINT, num_envs=3, vectorization_mode="sync", task=0)
    envs.set_attr("task", [2, default_task("point_robot", 4), 6])
    envs.reset(seed=0)
    assert [task.index for task in envs.get_attr("task")] == [2, 4, 6]
    action = np.full((3, 2), 0.5, np.float32)
    goals = np.array([default_task("point_robot", index).parameters["goal"] for index in (2, 4, 6)])
    assert np.allclose(envs.step(action)[1], -np.linalg.norm(0.05 - goals, axis=1))
    envs.reset(seed=0, options={"task": 9})
    assert [task.index for task in envs.get_attr("task")] == [9, 9, 9]
    goal = np.array(default_task("point_robot", 9).parameters["goal"])
    assert np.allclose(envs.step(action)[1], -np.linalg.norm(0.05 - goal))
    envs.close()


def test_a_set_task_ends_the_episode() -> None:
    env: Any = gym.make(POINT, task=0)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.task = 5
    assert "call reset after making it or setting its task" in refusal(lambda: env.step(env.action_space.sample()))
    env.reset()
    env.step(env.action_space.sample())


def test_a_refused_task_leaves_the_environment_as_it_is() -> None:
    env: Any = gym.make(POINT, task=2)
    env.reset(seed=0)
    for attempt in (lambda: by_attribute(env, "3"), lambda: by_options(env, 10_000)):
        refusal(attempt)
        assert env.task.index == 2
        env.step(env.action_space.sample())
    assert refusal(lambda: env.reset(options={"tsak": 3})) == "reset option 'tsak': expected 'task'"


# --- odd tasks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Task(0, "train", {"speed": (1.0, 2.0)}), "task 0 has the parameters {'speed': (1.0, 2.0)}; expected finite"),
        (Task(0, "train", {"goal": (0.1, 0.2)}), "expected finite numbers for speed (1), as Cheetah-Vel has them"),
        (Task(0, "train", {"speed": (float("nan"),)}), "expected finite numbers for speed (1)"),
        (Task(0, "train", {"speed": "fast"}), "expected finite numbers for speed (1)"),  # type: ignore[dict-item]
        (Task(0, "held-out", {"speed": (1.0,)}), "task 0 has the split 'held-out'; expected 'train' or 'test'"),
        ({"speed": [1.0]}, "task {'speed': [1.0]}: expected a record with index, split and parameters"),
        ("3", "task '3': expected the index of a task"),
        (True, "task True: expected the index of a task"),
        (3.0, "task 3.0: expected the index of a task"),
        (None, "task None: expected the index of a task"),
        (-1, "task -1: expected the index of a task in the default list of Cheetah-Vel, 0 to "),
        (10_000, "task 10000: expected the index of a task in the default list of Cheetah-Vel, 0 to "),
    ],
)
def test_what_is_no_task_of_the_family_is_refused_in_one_sentence(given: Any, said: str) -> None:
    assert said in refusal(lambda: gym.make(CHEETAH, task=given))


def test_a_goal_of_one_number_is_refused() -> None:
    said = refusal(lambda: gym.make(POINT, task=Task(0, "train", {"goal": (0.1,)})))
    assert said.endswith("expected finite numbers for goal (2), as Point-Robot has them")


def test_the_last_tasks_of_the_default_list_are_unseen() -> None:
    numbers = Tasks()
    tasks = default_tasks("cheetah_vel")
    assert len(tasks) == numbers.train + numbers.test
    for index in (0, numbers.train - 1, numbers.train, len(tasks) - 1):
        env: Any = gym.make(CHEETAH, task=np.int64(index))
        assert env.task == tasks[index]
        assert env.task.index == index
        assert env.task.split == ("train" if index < numbers.train else "test")
    with pytest.raises(InputError, match=rf"0 to {len(tasks) - 1} \(unseen tasks from {numbers.train} on\)"):
        default_task("cheetah_vel", len(tasks))


# --- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_copy_goes_on_alike_and_apart(name: str, copied: Any) -> None:
    env: Any = gym.make(FAMILIES[name].gym_id, task=4)
    env.reset(seed=2)
    played(env)
    other = copied(env)
    assert other.task == env.task
    expected = played(env)
    assert same(played(other), expected)
    env.reset()
    other.reset()  # the generator of starts goes on alike, too
    assert same(played(env), played(other))
    other.task = 6
    assert env.task.index == 4


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_copied_batch_steps_as_the_original(name: str, threads: int) -> None:
    family = FAMILIES[name]
    simulator = family.simulator([default_task(name, index) for index in range(3)], threads)
    simulator.reset(np.random.default_rng(0))
    action = np.random.default_rng(1).uniform(-1, 1, (3, family.action_size))
    simulator.step(action)
    other = copy.deepcopy(simulator)
    reached, terms = simulator.step(action)
    again, others = other.step(action)
    assert reached.tobytes() == again.tobytes()
    assert all(terms[key].tobytes() == others[key].tobytes() for key in terms)


# --- rendering -------------------------------------------------------------------------------------------------------


def test_render_modes_that_do_not_exist_are_refused_in_one_sentence() -> None:
    for mode in ("human", "ansi", "rgb"):
        said = refusal(lambda: FamilyEnv("cheetah_vel", 0, mode))  # noqa: B023 - called at once
        assert said.startswith(f"render_mode '{mode}': expected rgb_array or depth_array or None for Cheetah-Vel")
        assert said.endswith("human needs gymnasium.make and pygame")


@pytest.mark.window
def test_depths_are_metres_and_a_changed_task_is_drawn() -> None:
    if gl.backend() is None:
        pytest.skip(gl.REMEDY)
    depths: Any = gym.make(CHEETAH, task=3, render_mode="depth_array")
    depths.reset(seed=0)
    image = depths.render()
    assert image.shape == (480, 480)
    assert image.dtype == np.float32
    assert 1.0 < image.min() < 3.6, "the robot is nearer than the camera's distance"
    depths.close()
    pictures: Any = gym.make(POINT, task=0, render_mode="rgb_array")
    pictures.reset(seed=0)
    first = pictures.render()
    pictures.reset(seed=0, options={"task": 5})
    assert (pictures.render() != first).any(), "the goal of the former task is drawn"
    copied = copy.deepcopy(pictures)
    assert np.array_equal(copied.render(), pictures.render())
    copied.close()
    pictures.close()
