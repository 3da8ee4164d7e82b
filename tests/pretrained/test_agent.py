"""The agent of published models acts as the evaluation's, in one environment and in a vector of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

import metadiffuser
from metadiffuser.errors import InputError
from metadiffuser.evaluation.cells import Cell, agent_inputs
from metadiffuser.evaluation.rollout import play
from metadiffuser.evaluation.setup import EpisodeSetup
from metadiffuser.planning.agent import PlanningAgent
from metadiffuser.pretrained.agent import PretrainedAgent
from metadiffuser.pretrained.bundle import read_bundle
from metadiffuser.pretrained.watching import make_player

pytestmark = pytest.mark.usefixtures("clone")

SEED = 7


def setup_of(name: str, tasks: Sequence[int], context: str, episode: int = 0, repeated: int = 1) -> EpisodeSetup:
    """The evaluation's episodes with the streams of an agent's random numbers."""
    found = read_bundle(name)
    chosen = [found.tasks[index] for index in tasks] * repeated
    data = {quality: found.data(quality, chosen) for quality in found.episodes}
    stream = ("pretrained", name, str(episode))
    return EpisodeSetup(found.family, chosen, 1, data, 1, SEED, stream, (*stream, "start"))


def evaluated(setup: EpisodeSetup, context: str, value: bool = False) -> PlanningAgent:
    """The agent of a cell, as ``evaluation.blocks`` makes it."""
    planner = read_bundle(setup.family.name).planner(value)
    inputs = agent_inputs(planner, Cell("metadiffuser", "dual", context), setup)
    return PlanningAgent(planner, inputs, setup.generator("noise"))


@pytest.mark.parametrize("context", ["expert", "random", "zero_shot"])
@pytest.mark.parametrize("value", [False, True])
def test_it_earns_what_the_evaluation_earns_step_by_step(context: str, value: bool) -> None:
    setup = setup_of("point_robot", [45, 47], context)
    expected = play(evaluated(setup, context, value), setup.envs(1), 20, "")
    agent = metadiffuser.load("point_robot", seed=SEED, value=value)
    if context != "zero_shot":
        agent.warm_start(task=[45, 47], quality=context)
    found = play(agent, setup.envs(1), 20, "")  # which calls observe without ends
    np.testing.assert_array_equal(found.rewards, expected.rewards)
    assert np.ptp(found.rewards) > 0


def actions_of(
    agent: PretrainedAgent, env: gymnasium.Env[np.ndarray, np.ndarray], start: int | None = None
) -> tuple[list[np.ndarray], list[np.ndarray], list[float]]:
    """Observations, actions and rewards of one episode in a gymnasium environment."""
    observation, _ = env.reset(seed=start)
    observations, actions, rewards, over = [observation], [], [], False
    while not over:
        actions.append(agent.act(observation))
        successor, reward, terminated, truncated, _ = env.step(actions[-1])
        agent.observe(observation, actions[-1], reward, successor, terminated, truncated)
        observation, over = successor, terminated or truncated
        observations.append(observation)
        rewards.append(float(reward))
    return observations, actions, rewards


@pytest.mark.parametrize("context", ["medium", "zero_shot"])
def test_one_gymnasium_environment_gets_the_actions_of_the_evaluation_in_every_episode(context: str) -> None:
    agent = metadiffuser.load("cheetah_vel", seed=SEED)
    env = gymnasium.make(agent.family.gym_id, task=agent.tasks[46], max_episode_steps=8)
    if context != "zero_shot":
        agent.warm_start(task=46, quality=context)
    for episode in range(2):
        observations, actions, rewards = actions_of(agent, env, start=episode)
        assert actions[0].shape == (6,)
        assert actions[0].dtype == np.float32
        expected = evaluated(setup_of("cheetah_vel", [46], context, episode), context)
        for step, action in enumerate(actions):
            before, after = (np.asarray(observations[step + i], np.float32)[None] for i in (0, 1))
            np.testing.assert_array_equal(expected.act(before)[0], action)
            expected.observe(before, action[None], np.array([rewards[step]], np.float32), after)
    env.close()


@pytest.mark.parametrize("context", ["expert", "zero_shot"])
@pytest.mark.parametrize("own_reset", [False, True])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_vector_of_environments_gets_the_actions_of_the_evaluation_through_resets(
    context: str, mode: AutoresetMode, own_reset: bool
) -> None:
    """In every mode of gymnasium, whether the agent is told of a reset or not."""
    agent = metadiffuser.load("point_robot", seed=SEED)
    envs: Any = gymnasium.make_vec(
        agent.family.gym_id, num_envs=3, max_episode_steps=6, vector_kwargs={"autoreset_mode": mode}
    )
    envs.set_attr("task", list(agent.tasks.values()))
    if context != "zero_shot":
        agent.warm_start(task=list(agent.tasks), quality=context)
    observations, _ = envs.reset(seed=3)
    for episode in range(2):
        expected = evaluated(setup_of("point_robot", list(agent.tasks), context, episode), context)
        for _ in range(6):
            actions = agent.act(observations)
            assert actions.shape == (3, 2)
            np.testing.assert_array_equal(expected.act(observations), actions)
            successors, rewards, terminated, truncated, _ = envs.step(actions)
            agent.observe(observations, actions, rewards, successors, terminated, truncated)
            expected.observe(*(np.asarray(part, np.float32) for part in (observations, actions, rewards, successors)))
            observations = successors
        assert truncated.all()
        if own_reset:
            agent.reset()
        if mode == AutoresetMode.NEXT_STEP and not own_reset:
            actions = agent.act(observations)
            observations, rewards, terminated, truncated, _ = envs.step(actions)
            agent.observe(successors, actions, rewards, observations, terminated, truncated)
        elif mode != AutoresetMode.SAME_STEP or own_reset:
            observations, _ = envs.reset()
    envs.close()


def test_episodes_that_the_caller_resets_are_all_alike() -> None:
    """Nothing of an episode is left out after the end of another, as the step is in which gymnasium resets."""
    agent = metadiffuser.load("point_robot", seed=SEED)
    envs: Any = gymnasium.make_vec(agent.family.gym_id, num_envs=3, max_episode_steps=6)
    envs.set_attr("task", list(agent.tasks.values()))
    for episode in range(3):
        expected = evaluated(setup_of("point_robot", list(agent.tasks), "zero_shot", episode), "zero_shot")
        observations, _ = envs.reset(seed=episode)
        for _ in range(6):
            actions = agent.act(observations)
            np.testing.assert_array_equal(expected.act(observations), actions)
            successors, rewards, terminated, truncated, _ = envs.step(actions)
            agent.observe(observations, actions, rewards, successors, terminated, truncated)
            expected.observe(*(np.asarray(part, np.float32) for part in (observations, actions, rewards, successors)))
            observations = successors
    envs.close()


def test_one_task_serves_all_environments_of_a_vector() -> None:
    observations = np.random.default_rng(0).uniform(-1, 1, (2, 2))
    agent = metadiffuser.load("point_robot", seed=SEED)
    agent.warm_start(task=46)
    expected = evaluated(setup_of("point_robot", [46], "expert", repeated=2), "expert")
    np.testing.assert_array_equal(agent.act(observations), expected.act(observations.astype(np.float32)))


def test_own_episodes_are_warm_start_data() -> None:
    found = read_bundle("point_robot")
    stored = found.episodes["expert"][45].select(np.array([0]))
    agent = metadiffuser.load("point_robot", seed=SEED)
    observation = np.array([0.3, -0.2])
    none = agent.act(observation)
    agent.warm_start_from(stored.observations[0], stored.actions[0], stored.rewards[0])
    agent.reset(seed=SEED)
    own = agent.act(observation)
    assert not np.array_equal(own, none)
    agent.warm_start_from(stored.observations, stored.actions, stored.rewards)
    agent.reset(seed=SEED)
    np.testing.assert_array_equal(agent.act(observation), own)
    agent.warm_start(None)
    agent.reset(seed=SEED)
    np.testing.assert_array_equal(agent.act(observation), none)


def test_seeds_and_guides_change_the_plan_and_equal_ones_do_not() -> None:
    observation = np.array([0.3, -0.2])

    def action(seed: int, guide: str) -> tuple[float, ...]:
        agent = metadiffuser.load("point_robot", seed=seed, guide=guide)
        agent.warm_start(task=45)
        return tuple(agent.act(observation).tolist())

    assert action(0, "dual") == action(0, "dual")
    assert len({action(0, "dual"), action(1, "dual"), action(0, "none")}) == 3


def test_mistakes_are_named_with_the_remedy() -> None:
    agent = metadiffuser.load("point_robot")
    with pytest.raises(InputError, match="task 3: not an unseen task of Point-Robot, which are 45, 46, 47"):
        agent.warm_start(task=3)
    with pytest.raises(InputError, match="quality 'exprt'; did you mean 'expert'"):
        agent.warm_start(task=45, quality="exprt")
    with pytest.raises(InputError, match="guide 'daul': unknown; did you mean 'dual'"):
        metadiffuser.load("point_robot", guide="daul")
    with pytest.raises(InputError, match=r"observation of shape \(3,\): expected \(2,\) or \(B, 2\)"):
        agent.act(np.zeros(3))
    with pytest.raises(InputError, match="observe before act"):
        agent.observe(np.zeros(2), np.zeros(2), 0.0, np.zeros(2))
    with pytest.raises(InputError, match=r"shapes \(4, 2\), \(4, 2\), \(4,\): .*|warm-start arrays: expected"):
        agent.warm_start_from(np.zeros((4, 2)), np.zeros((4, 2)), np.zeros(4))
    with pytest.raises(InputError, match=r"expected observations \(T \+ 1, 2\), actions \(T, 2\)"):
        agent.warm_start_from(np.zeros((5, 3)), np.zeros((4, 2)), np.zeros(4))
    agent.warm_start(task=[45, 46])
    with pytest.raises(InputError, match="3 environments, and the warm start is of 2"):
        agent.act(np.zeros((3, 2)))
    agent.warm_start(task=45)
    agent.act(np.zeros((2, 2)))
    with pytest.raises(InputError, match="3 observations, and the episode began with 2; call reset first"):
        agent.act(np.zeros((3, 2)))
    with pytest.raises(InputError, match="1 of 2 environments ended their episodes"):
        agent.observe(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros(2), np.zeros((2, 2)), np.array([True, False]))


STEP: dict[str, Any] = {
    "observation": np.zeros((2, 2)),
    "action": np.zeros((2, 2)),
    "reward": np.zeros(2),
    "next_observation": np.zeros((2, 2)),
    "terminated": np.zeros(2, bool),
    "truncated": False,
}


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("observation", np.zeros((2, 3)), r"observation of shape \(2, 3\): expected \(2, 2\)"),
        ("observation", np.zeros(2), r"observation of shape \(2,\): expected \(2, 2\)"),
        ("action", np.zeros((2, 1)), r"action of shape \(2, 1\): expected \(2, 2\)"),
        ("action", np.full((2, 2), np.nan), "action: has values that are not finite"),
        ("reward", 0.0, r"reward of shape \(\): expected \(2,\)"),
        ("reward", [0.0, np.nan], "reward: has values that are not finite"),
        ("reward", None, "reward: has values that are not finite"),
        ("next_observation", np.full((2, 2), np.inf), "next_observation: has values that are not finite"),
        ("next_observation", ["a", "b"], "not an array of numbers"),
        ("terminated", "False", "terminated 'False': expected True or False, or 2 of them"),
        ("truncated", {}, "truncated {}: expected True or False, or 2 of them"),
        ("truncated", np.zeros(3, bool), "expected True or False, or 2 of them"),
    ],
)
def test_a_step_that_cannot_be_one_is_refused_and_leaves_the_agent_as_it_was(name: str, value: Any, what: str) -> None:
    agent, other = (metadiffuser.load("point_robot", seed=SEED) for _ in range(2))
    for each in (agent, other):
        each.act(STEP["observation"])
    with pytest.raises(InputError, match=what):
        agent.observe(**{**STEP, name: value})
    for each in (agent, other):
        each.observe(**STEP)
    np.testing.assert_array_equal(agent.act(STEP["observation"]), other.act(STEP["observation"]))


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ((np.zeros(2), {}), "an environment's reset returns the observation and an info"),
        ("abc", "observation 'abc': not an array of numbers"),
        ({}, "observation {}: not an array of numbers"),
        ([np.nan, 0.0], "observation: has values that are not finite"),
    ],
)
def test_an_observation_that_is_none_is_refused(given: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        metadiffuser.load("point_robot").act(given)


def test_tasks_are_named_by_any_integer_or_by_themselves() -> None:
    agent = metadiffuser.load("point_robot", seed=SEED)
    actions = []
    task: Any
    for task in (45, np.int64(45), agent.tasks[45], [45], np.array([45]), (agent.tasks[45],)):
        agent.warm_start(task)
        agent.reset(seed=SEED)
        actions.append(agent.act(np.zeros(2)).tolist())
    assert actions == [actions[0]] * len(actions)
    for task, what in (
        ("45", "task '45': expected the index of an unseen task, one of 45"),
        ([], "no task"),
        (4.5, "4.5"),
    ):
        with pytest.raises(InputError, match=what):
            agent.warm_start(task)
    with pytest.raises(InputError, match="quality"):
        agent.warm_start(45, quality=["expert"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("observations", "actions", "rewards", "what"),
    [
        (np.full((5, 2), np.nan), np.zeros((4, 2)), np.zeros(4), "warm-start observations: has values"),
        (np.zeros((5, 2)), np.full((4, 2), 50.0), np.zeros(4), r"warm-start actions: outside \[-1, 1\]"),
        (np.zeros((1, 2)), np.zeros((0, 2)), np.zeros(0), "expected observations"),
        (None, None, None, "warm-start observations: has values"),
    ],
)
def test_an_episode_that_cannot_be_one_is_refused(observations: Any, actions: Any, rewards: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        metadiffuser.load("point_robot").warm_start_from(observations, actions, rewards)


@pytest.mark.parametrize("guide", ["none", "dynamics"])
def test_a_guide_that_rates_no_plan_is_refused_with_a_value(guide: str) -> None:
    with pytest.raises(InputError, match=f"guide '{guide}': rates no plan by its return or value"):
        metadiffuser.load("point_robot", guide=guide, value=True)


@pytest.mark.parametrize("device", ["gpu", "auto", "cuda:97"])
def test_a_device_that_is_not_there_is_named(device: str) -> None:
    with pytest.raises(InputError, match=f"device '{device}': torch cannot compute on it here"):
        metadiffuser.load("point_robot", device=device)


@pytest.mark.parametrize("arguments", [{"family": None}, {"family": 3}, {"family": "point_robot", "guide": 3}])
def test_arguments_of_another_type_are_named(arguments: Any) -> None:
    with pytest.raises(InputError, match=r"None|3"):
        metadiffuser.load(**arguments)


def test_loading_leaves_torchs_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    metadiffuser.load("point_robot")
    assert torch.equal(torch.rand(1), expected)


def test_the_window_shows_the_same_agent() -> None:
    published = read_bundle("point_robot")
    player = make_player(published, published.task(46), "dual")
    player.reset()
    player.step()
    assert player.positions.shape == (2,)
    assert player.plan is not None
    assert "guide dual, step 1" in player.caption
    with pytest.raises(InputError, match="--method daul: unknown guide"):
        make_player(published, published.task(46), "daul")


def test_importing_the_package_imports_no_library(clone: Path) -> None:
    code = "import sys, metadiffuser; print({'torch', 'numpy', 'gymnasium'} & set(sys.modules), metadiffuser.load)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("set() <function load")
