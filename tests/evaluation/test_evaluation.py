"""Cells, warm-start contexts and the evaluation loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metadiffuser.config.schema import Evaluation
from metadiffuser.data.episodes import Floats
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.point_robot import optimal_return
from metadiffuser.errors import InputError
from metadiffuser.evaluation.blocks import UniformAgent
from metadiffuser.evaluation.cells import Cell, agent_inputs, make_cells, one_call, one_call_planner
from metadiffuser.evaluation.rollout import BatchedEnvs, play
from metadiffuser.evaluation.setup import EpisodeSetup
from metadiffuser.evaluation.warm_start import warm_start_source
from metadiffuser.planning.agent import AgentInputs, PlanningAgent
from metadiffuser.seeding import numpy_generator
from tests.helpers.models import PLANNING, A, S, make_data, make_planner

CONFIG = Evaluation(
    threads=1,
    episodes=2,
    contexts=["expert", "zero_shot", "wrong_task", "oracle"],
    guides=["dual", "none", "return"],
    samplers=[],
    study_tasks=1,
    study_episodes=1,
)


def test_cells_cross_contexts_with_the_first_guide_and_guides_with_the_first_context() -> None:
    cells = make_cells(CONFIG)
    assert cells == [
        Cell("metadiffuser", "dual", "expert"),
        Cell("metadiffuser", "dual", "zero_shot"),
        Cell("metadiffuser", "dual", "wrong_task"),
        Cell("metadiffuser", "dual", "oracle"),
        Cell("metadiffuser", "none", "expert"),
        Cell("metadiffuser", "return", "expert"),
        Cell("unconditional", "return", "expert"),
        Cell("unconditional", "none", "none"),
        Cell("one_call", "none", "expert"),
        Cell("random", "none", "none"),
    ]


def test_the_wrong_task_is_another_one() -> None:
    for position in range(5):
        quality, source = warm_start_source("wrong_task", position, 5)
        assert quality == "expert"
        assert source != position
    assert warm_start_source("medium", 3, 5) == ("medium", 3)
    with pytest.raises(InputError, match="wrong_task takes data of another unseen task, and there is only one"):
        warm_start_source("wrong_task", 0, 1)


def test_without_warm_start_no_model_knows_the_task_and_no_cell_claims_it() -> None:
    cells = make_cells(CONFIG.model_copy(update={"contexts": ["zero_shot"]}))
    assert [cell for cell in cells if cell.method == "unconditional"] == [Cell("unconditional", "none", "none")]


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm_solver"])
def test_one_call_is_one_forward_pass_of_the_conditional_denoiser(sampler: str) -> None:
    planner = make_planner(sampler=sampler, sampling_steps=4, guidance_weight=3.0, candidates=5)
    given = inputs(one_call(CONFIG))
    assert not given.return_scale.any()
    assert not given.dynamics_scale.any()
    passes: list[int] = []
    planner.diffusion.network.register_forward_pre_hook(lambda _, arguments: passes.append(len(arguments[0])))
    agent = PlanningAgent(one_call_planner(planner), given, torch.Generator().manual_seed(0))
    actions = agent.act(np.zeros((len(given), S), np.float32))
    assert passes == [len(given)]
    assert actions.shape == (len(given), A)
    assert len(planner.steps) == 4, "the planner itself stays as it is"


def inputs(cell: Cell, tasks: int = 4, episodes: int = 1) -> AgentInputs:
    """What the planner is given of a cell, on the first of four tasks."""
    data = {"expert": make_data(tasks, seed=0), "medium": make_data(tasks, seed=1)}
    played = [Task(index, "test", {"goal": (0.0, 0.0)}) for index in range(tasks)]
    setup = EpisodeSetup(get_family("point_robot"), played, episodes, data, 1, 0, ("evaluate",), ("start",))
    return agent_inputs(make_planner(), cell, setup)


def test_the_denoiser_sees_z_of_every_context_but_in_the_unconditional_planner() -> None:
    cells = [Cell("metadiffuser", "dual", "expert"), Cell("metadiffuser", "dual", "oracle")]
    cells += [Cell("unconditional", "return", "expert"), Cell("unconditional", "none", "none")]
    expert, oracle, unconditional, nothing = (inputs(cell) for cell in cells)
    assert [bool(part.has_context.all()) for part in (expert, oracle)] == [True, True]
    assert [bool(part.has_context.any()) for part in (unconditional, nothing)] == [False, False]
    assert torch.equal(unconditional.latents, expert.latents), "the guide of the unconditional planner sees z"
    assert not torch.equal(oracle.latents, expert.latents)
    assert not nothing.latents.any()
    joined = AgentInputs.join([expert, oracle, unconditional, nothing])
    agent = PlanningAgent(make_planner(), joined, torch.Generator().manual_seed(0), blocks=4)
    assert torch.equal(agent.latents[4:8], oracle.latents)
    assert agent.has_context.tolist() == [True] * 8 + [False] * 8


def test_contexts_hold_the_data_the_cell_names() -> None:
    contexts, mask = inputs(Cell("metadiffuser", "dual", "medium")).warm_start.contexts(6)
    data = make_data(seed=1)
    assert bool(mask.all())
    for task, context in enumerate(contexts):
        found = (data.transitions[task][:, :, None] == context).all(-1)
        assert bool(found.any(dim=1).all(dim=1).any())
    wrong, _ = inputs(Cell("metadiffuser", "dual", "wrong_task")).warm_start.contexts(6)
    rewards = wrong[3, :, S + A] - wrong[3, :, S + A + 1]
    assert torch.allclose(rewards, torch.zeros(6), atol=1e-5), "task 3 is given data of task 0"


@pytest.mark.parametrize(
    ("guide", "follows", "agrees"), [("none", 0, 0), ("return", 1, 0), ("dynamics", 0, 1), ("dual", 1, 1)]
)
def test_guides_set_their_scales(guide: str, follows: int, agrees: int) -> None:
    found = inputs(Cell("metadiffuser", guide, "expert"))
    assert found.return_scale.tolist() == pytest.approx([follows * PLANNING.return_scale] * 4)
    assert found.dynamics_scale.tolist() == pytest.approx([agrees * PLANNING.dynamics_scale] * 4)


def test_cells_without_a_context_have_no_transitions_and_zero_shot_gathers_its_own() -> None:
    for method, context in (("metadiffuser", "zero_shot"), ("unconditional", "none"), ("metadiffuser", "oracle")):
        found = inputs(Cell(method, "dual", context))
        assert not found.warm_start.contexts(6)[1].any()
        assert bool(found.online.all()) == bool(found.online.any()) == (context == "zero_shot")


class Straight:
    """Runs to its goal at full speed."""

    def __init__(self, goals: Floats):
        self.goals = goals
        self.observed = 0

    def act(self, observations: Floats) -> Floats:
        return np.clip((self.goals - observations) / 0.1, -1, 1).astype(np.float32)

    def observe(self, observations: Floats, actions: Floats, rewards: Floats, successors: Floats) -> None:
        assert np.allclose(successors, observations + 0.1 * actions, atol=1e-6)
        self.observed += 1


class Watcher:
    """Keeps what it is called with, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def decided(self, step: int) -> None:
        self.seen.append((step, "decided"))

    def stepped(self, step: int, observations: Floats, rewards: Floats) -> None:
        assert (observations.shape, rewards.shape) == ((6, 2), (6,))
        self.seen.append((step, "stepped"))


def goals_and_tasks() -> tuple[Floats, list[Task]]:
    goals = np.array([[0.5, -0.3], [-0.9, 0.2]], np.float32)
    return goals, [Task(i, "test", {"goal": tuple(map(float, goal))}) for i, goal in enumerate(goals)]


def test_the_loop_plays_every_block_and_returns_what_the_optimum_says() -> None:
    family = get_family("point_robot")
    goals, tasks = goals_and_tasks()
    envs = BatchedEnvs(family, tasks, 3, lambda: np.random.default_rng(0), 1)
    agent = Straight(np.tile(goals, (3, 1)))
    watcher = Watcher()
    recording = play(agent, envs, family.episode_length, "test", [watcher])
    assert agent.observed == 20
    assert watcher.seen == [(step, what) for step in range(20) for what in ("decided", "stepped")]
    expected = [optimal_return(goal.astype(float)) for goal in goals] * 3
    assert recording.rewards.sum(axis=1) == pytest.approx(expected, rel=1e-4)


def test_blocks_start_alike() -> None:
    family = get_family("cheetah_vel")
    tasks = [Task(i, "test", {"speed": (1.0,)}) for i in range(2)]
    start = BatchedEnvs(family, tasks, 2, lambda: numpy_generator(0, "start"), 1).reset()
    assert np.array_equal(start[:2], start[2:])
    assert not np.array_equal(start[0], start[1])


def test_uniform_actions_fill_the_action_range() -> None:
    actions = UniformAgent(np.random.default_rng(0), 2).act(np.zeros((5000, 3), np.float32))
    assert actions.min() < -0.99
    assert actions.max() > 0.99
    assert abs(float(actions.mean())) < 0.02
