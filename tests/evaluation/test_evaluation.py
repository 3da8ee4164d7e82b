"""Cells, warm-start contexts and the evaluation loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from metadiffuser.config.schema import Evaluation
from metadiffuser.data.windows import TaskData
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.point_robot import optimal_return
from metadiffuser.evaluation.cells import (
    Cell,
    inform,
    instruct,
    make_cells,
    uniform_actions,
)
from metadiffuser.evaluation.rollout import BatchedEnvs, Floats, play
from metadiffuser.evaluation.warm_start import warm_start_source
from metadiffuser.planning.agent import Instructions, PlanningAgent
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
        Cell("random", "none", "none"),
    ]


def test_the_wrong_task_is_another_one() -> None:
    for position in range(5):
        quality, source = warm_start_source("wrong_task", position, 5)
        assert quality == "expert"
        assert source != position
    assert warm_start_source("medium", 3, 5) == ("medium", 3)


def test_without_warm_start_no_model_knows_the_task_and_no_cell_claims_it() -> None:
    cells = make_cells(CONFIG.model_copy(update={"contexts": ["zero_shot"]}))
    assert [cell for cell in cells if cell.method == "unconditional"] == [Cell("unconditional", "none", "none")]


def test_cells_are_informed_of_what_no_context_says() -> None:
    planner = make_planner()
    cells = [Cell("metadiffuser", "dual", "expert"), Cell("metadiffuser", "dual", "oracle")]
    cells += [Cell("unconditional", "return", "expert"), Cell("unconditional", "none", "none")]
    parts = [told(cell, [0, 2, 3]) for cell in cells]
    parts[2] = replace(parts[2], mask=torch.zeros_like(parts[2].mask))
    agent = PlanningAgent(planner, Instructions.join(parts), torch.Generator().manual_seed(0), blocks=4)
    before = agent.latents
    given = torch.randn(2, 3, planner.context.latent_size)
    inform(agent, cells, [None, given[0], given[1], None])
    assert torch.equal(agent.latents, torch.cat([before[:3], *given, before[9:]]))
    assert agent.known.tolist() == [True] * 6 + [False] * 6, "the denoiser of the unconditional planner is told z"


def told(cell: Cell, positions: list[int]) -> Instructions:
    warm_start: dict[str, TaskData] = {"expert": make_data(seed=0), "medium": make_data(seed=1)}
    return instruct(cell, warm_start, positions, PLANNING, 6, torch.Generator().manual_seed(0))


def test_contexts_hold_the_data_the_cell_names() -> None:
    instructions = told(Cell("metadiffuser", "dual", "medium"), [2, 0])
    data = make_data(seed=1)
    for row, task in enumerate([2, 0]):
        known = (data.transitions[task][:, :, None] == instructions.contexts[row]).all(-1)
        assert bool(known.any(dim=1).all(dim=1).any())
    wrong = told(Cell("metadiffuser", "dual", "wrong_task"), [3])
    rewards = wrong.contexts[0, :, S + A] - wrong.contexts[0, :, S + A + 1]
    assert torch.allclose(rewards, torch.zeros(6), atol=1e-5), "task 3 is told of task 0"


@pytest.mark.parametrize(
    ("guide", "follows", "agrees"), [("none", 0, 0), ("return", 1, 0), ("dynamics", 0, 1), ("dual", 1, 1)]
)
def test_guides_set_their_scales(guide: str, follows: int, agrees: int) -> None:
    instructions = told(Cell("metadiffuser", guide, "expert"), [0, 1])
    assert instructions.return_scale.tolist() == pytest.approx([follows * PLANNING.return_scale] * 2)
    assert instructions.dynamics_scale.tolist() == pytest.approx([agrees * PLANNING.dynamics_scale] * 2)


def test_zero_shot_and_unconditional_are_told_nothing() -> None:
    zero_shot, unconditional = (
        told(cell, [0]) for cell in (Cell("metadiffuser", "dual", "zero_shot"), Cell("unconditional", "none", "none"))
    )
    assert not told(Cell("metadiffuser", "dual", "oracle"), [0]).mask.any()
    assert not zero_shot.mask.any()
    assert bool(zero_shot.online.all())
    assert not unconditional.mask.any()
    assert not unconditional.online.any()


class Straight:
    """Runs to a known goal at full speed."""

    def __init__(self, goals: Floats):
        self.goals = goals
        self.observed = 0

    def act(self, observations: Floats) -> Floats:
        return np.clip((self.goals - observations) / 0.1, -1, 1).astype(np.float32)

    def observe(self, observations: Floats, actions: Floats, rewards: Floats, successors: Floats) -> None:
        assert np.allclose(successors, observations + 0.1 * actions, atol=1e-6)
        self.observed += 1


class Watcher:
    """Keeps what it is told of, in order."""

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
    actions = uniform_actions(np.random.default_rng(0), 5000, 2)
    assert actions.min() < -0.99
    assert actions.max() > 0.99
    assert abs(float(actions.mean())) < 0.02
