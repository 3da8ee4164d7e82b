"""Families made of any gymnasium environment, here one of our own whose episodes end early."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from metadiffuser.behaviour.training import Trainer
from metadiffuser.config.schema import Behaviour
from metadiffuser.envs import Array, Family, GymnasiumFamily, Task, get_family
from metadiffuser.envs.gym.env import FamilyEnv
from metadiffuser.envs.shared.symmetry import Symmetry
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.errors import InputError

DRIFT = "tests.envs.test_gymnasium_family:Drift"


class Drift(gym.Env[Any, Any]):
    """A cart pushed along a line: actions in [0, 4], pushed by ``wind`` besides; the episode ends beyond 1."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as gymnasium has it

    def __init__(self, wind: float = 0.0, render_mode: str | None = None):
        self.wind, self.mass, self.render_mode = wind, 1.0, render_mode
        self.observation_space = gym.spaces.Box(-10.0, 10.0 + wind, (2,), np.float32)
        self.action_space = gym.spaces.Box(0.0, 4.0, (1,), np.float32)
        self.state = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        width = (options or {}).get("width", 1.0)
        self.state = self.np_random.uniform(-width, width, 2)
        return self.state.astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.state[1] += 0.1 * (float(action[0]) - 2.0 + self.wind) / self.mass
        self.state[0] += 0.1 * self.state[1]
        return self.state.astype(np.float32), -abs(self.state[0]), bool(abs(self.state[0]) > 1.0), False, {"noise": 1}

    def render(self) -> Any:
        return np.full((8, 8, 3), int(100 * self.mass), np.uint8)


def sample_tasks(generator: np.random.Generator, count: int) -> list[dict[str, Any]]:
    return [{"wind": generator.uniform(-1, 1), "load": [generator.uniform(1, 2)]} for _ in range(count)]


def arguments(task: Task) -> dict[str, float]:
    return {"wind": task.parameters["wind"][0]}


def load(env: Drift, task: Task) -> None:
    env.mass = task.parameters["load"][0]


def options(task: Task) -> dict[str, float]:
    return {"width": 0.5}


def restore(env: Drift, observation: Array) -> None:
    env.state = np.array(observation)


def family_of(**changed: Any) -> GymnasiumFamily:
    given: dict[str, Any] = {
        "name": "drift",
        "title": "Drift",
        "colour": "#123456",
        "environment": DRIFT,
        "sample_tasks": sample_tasks,
        "episode_length": 30,
        "arguments": arguments,
        "apply": load,
        "reset_options": options,
    }
    return GymnasiumFamily(**given | changed)


def tasks_of(family: Family, count: int) -> list[Task]:
    return draw_tasks(family, count, 0, np.random.default_rng(3))


def play(family: Family, tasks: list[Task], steps: int = 12) -> tuple[Array, Array]:
    """Observations (T + 1, B, S) and rewards (T, B), some actions out of range, some copies started anew half way."""
    simulator = family.simulator(tasks, 1)
    generator = np.random.default_rng(5)
    observations, rewards = [simulator.reset(generator)], []
    for step, action in enumerate(np.random.default_rng(4).uniform(-1.3, 1.3, (steps, len(tasks), 1))):
        observation, terms = simulator.step(action)
        assert tuple(terms) == family.reward_terms == ("reward",)
        assert np.array_equal(simulator.positions, observation)
        if step == steps // 2:
            observation = simulator.reset(generator, np.arange(len(tasks)) % 2 == 0)
        observations.append(observation)
        rewards.append(terms["reward"])
    return np.stack(observations), np.stack(rewards)


def test_tasks_are_arguments_settings_and_reset_options_of_the_environment() -> None:
    family = family_of()
    tasks = tasks_of(family, 4)
    assert [sorted(task.parameters) for task in tasks] == [["load", "wind"]] * 4
    observations, rewards = play(family, tasks)
    actions = np.clip(np.random.default_rng(4).uniform(-1.3, 1.3, (12, 4, 1)), -1, 1)
    assert np.abs(observations[0]).max() <= 0.5
    for row, task in enumerate(tasks):
        change = 10 * np.diff(observations[:6, row, 1])
        expected = (2.0 * actions[:5, row, 0] + task.parameters["wind"][0]) / task.parameters["load"][0]
        assert np.allclose(change, expected, atol=1e-5)
    assert np.allclose(rewards[:6], -np.abs(observations[1:7, :, 0]), atol=1e-6)


def test_episodes_go_on_past_the_environments_own_end() -> None:
    family = family_of()
    simulator = family.simulator(tasks_of(family, 3), 1)
    simulator.reset(np.random.default_rng(0))
    places = np.stack([simulator.step(np.ones((3, 1)))[0][:, 0] for _ in range(family.episode_length)])
    assert (places[-1] > 1.5).all(), "beyond 1 the environment says that the episode has ended"
    assert (np.abs(np.diff(places, axis=0)) < 1.0).all(), "an episode started anew"


def test_equal_generators_give_equal_episodes_and_others_do_not() -> None:
    family = family_of()
    one, two = play(family, tasks_of(family, 3)), play(family, tasks_of(family, 3))
    assert one[0].tobytes() == two[0].tobytes()
    assert one[1].tobytes() == two[1].tobytes()
    simulator = family.simulator(tasks_of(family, 3), 1)
    starts = simulator.reset(np.random.default_rng(6))
    assert not np.array_equal(starts, one[0][0])
    assert len(np.unique(starts[:, 0])) == 3


def test_chosen_copies_start_anew_and_the_others_stay_where_they_are() -> None:
    family = family_of()
    simulator = family.simulator(tasks_of(family, 4), 1)
    simulator.reset(np.random.default_rng(0))
    before, _ = simulator.step(np.ones((4, 1)))
    after = simulator.reset(np.random.default_rng(1), np.array([True, False, True, False]))
    assert np.array_equal(after[[1, 3]], before[[1, 3]])
    assert (after[[0, 2]] != before[[0, 2]]).any(axis=1).all()
    assert np.array_equal(simulator.reset(np.random.default_rng(2), np.zeros(4, bool)), after)


@pytest.mark.slow
def test_worker_processes_give_the_same_bytes() -> None:
    here, there = family_of(restore=restore), family_of(restore=restore, workers=2)
    tasks = tasks_of(here, 5)
    one, two = play(here, tasks), play(there, tasks)
    assert one[0].tobytes() == two[0].tobytes()
    assert one[1].tobytes() == two[1].tobytes()
    states = np.random.default_rng(0).uniform(-0.5, 0.5, (5, 2))
    reached = []
    for family in (here, there):
        simulator = family.simulator(tasks, 1)
        assert simulator.restore(states).all()
        reached.append(simulator.step(np.zeros((5, 1)))[0])
    assert np.array_equal(reached[0], reached[1])
    assert not np.array_equal(reached[0], states)


def test_a_state_is_restored_where_the_family_says_how_and_declared_unknown_elsewhere() -> None:
    plain, able = family_of(), family_of(restore=restore)
    tasks = tasks_of(plain, 3)
    states = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 2))
    simulator = plain.simulator(tasks, 1)
    assert not simulator.restore(states).any()
    simulator.step(np.zeros((3, 1)))
    simulator = able.simulator(tasks, 1)
    assert simulator.restore(states).all()
    reached, _ = simulator.step(np.zeros((3, 1)))
    assert np.allclose(reached[:, 0], states[:, 0] + 0.1 * reached[:, 1], atol=1e-6)


def test_a_copied_or_pickled_batch_goes_on_alike() -> None:
    family = family_of()
    simulator = family.simulator(tasks_of(family, 2), 1)
    simulator.reset(np.random.default_rng(0))
    simulator.step(np.ones((2, 1)))
    for other in (copy.deepcopy(simulator), pickle.loads(pickle.dumps(simulator))):
        again, _ = copy.deepcopy(simulator).step(np.full((2, 1), 0.3))
        reached, _ = other.step(np.full((2, 1), 0.3))
        assert np.array_equal(again, reached)


def test_sizes_length_and_duration_come_from_the_environment() -> None:
    family = family_of()
    assert (family.observation_size, family.action_size, family.episode_length, family.dt) == (2, 1, 30, 0.1)
    registered = family_of(environment="Pendulum-v1", episode_length=None, arguments=None, apply=None)
    assert (registered.observation_size, registered.episode_length, registered.dt) == (3, 200, 0.05)
    points = family.world_points(np.array([[0.1, 0.2], [0.3, 0.4]]))
    assert np.array_equal(points, [[0.1, 0.0, 0.2], [0.3, 0.0, 0.4]])
    assert np.array_equal(family.integrate(np.array([[0.1, 0.2]]), points[0]), points[:1])
    assert not family.has_model
    with pytest.raises(InputError, match="has no MuJoCo model"):
        family.model(tasks_of(family, 1)[0])


def test_what_is_said_of_travel_falls_symmetries_and_the_optimum_holds() -> None:
    mirror = Symmetry(-np.eye(2), -np.eye(1), np.diag([1.0, -1.0]))
    said: dict[str, Any] = {
        "unbounded_dims": (0,),
        "healthy": lambda observations: np.abs(observations[:, 0]) < 1.0,
        "optimum": lambda task: -task.parameters["wind"][0],
        "symmetries": (mirror.after(mirror), mirror),
    }
    family = family_of(**said)
    assert {name: getattr(family, name) for name in said} == said


def test_the_environment_draws_itself_in_its_own_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    family = family_of()
    monkeypatch.setattr("metadiffuser.envs.gym.env.get_family", lambda name: family)
    task = tasks_of(family, 1)[0]
    env = FamilyEnv("drift", task, "rgb_array")
    env.reset(seed=0)
    image = env.render()
    assert image is not None
    assert image.shape == (8, 8, 3)
    assert (image == int(100 * task.parameters["load"][0])).all()
    assert FamilyEnv("drift", task).render() is None
    with pytest.raises(InputError, match="render_mode 'depth_array': expected rgb_array or None for Drift"):
        FamilyEnv("drift", task, "depth_array")


def test_experts_are_trained_on_families_without_falls_and_symmetries() -> None:
    family = family_of()
    config = Behaviour.model_validate(
        {
            **get_behaviour(),
            "steps": 640,
            "copies": 8,
            "warmup_steps": 160,
            "updates_per_step": 0.05,
            "batch_size": 16,
            "hidden": [8],
            "replay_capacity": 1000,
            "checkpoints": 3,
            "evaluation_episodes": 1,
        }
    )
    assert config.terminate_when_unhealthy
    assert config.symmetries
    trained, records = Trainer(family, tasks_of(family, 3), [[0, 1, 2]], config, 0, ("test",), "cpu").train()
    assert trained.returns.shape == (3, 3)
    assert np.isfinite(trained.returns).all()
    assert len(records) == 3


def get_behaviour() -> dict[str, Any]:
    return {name: field.default for name, field in Behaviour.model_fields.items() if not field.is_required()}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"environment": "Nothing-v0"}, r"family 'drift': Nothing-v0 cannot be made \("),
        ({"environment": "tests.envs.test_gymnasium_family:Nothing"}, r"cannot be made \(AttributeError"),
        ({"arguments": lambda task: {"gale": 1.0}}, r"Drift cannot be made \(TypeError: .*'gale'"),
        (
            {"environment": "CartPole-v1", "arguments": None, "apply": None},
            "action space Discrete.*; expected a Box of",
        ),
        ({"episode_length": None}, "Drift has no episode length; give episode_length"),
        ({"sample_tasks": lambda generator, count: []}, "sample_tasks returned 0 tasks; expected 1"),
        (
            {"sample_tasks": lambda generator, count: [{"wind": "much"}]},
            "expected finite numbers, or sequences of them",
        ),
        ({"sample_tasks": lambda generator, count: [3.0]}, "sample_tasks returned 3.0; expected finite numbers"),
    ],
)
def test_what_cannot_be_a_family_is_refused_in_one_sentence(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        family_of(**changed)
    assert "\n" not in str(refused.value)


def test_families_with_a_model_keep_it() -> None:
    family = get_family("point_robot")
    assert family.has_model
    assert family.gym_id == "metadiffuser/PointRobot-v0"
    assert replace(family, name="other_robot").gym_id == "metadiffuser/OtherRobot-v0"
