"""Zero-shot by hypotheses: off to the bit, each episode by itself, and the encoder's z alone with a full context."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metadiffuser.context.hypotheses import costs, refine
from metadiffuser.context.training import keep_hypotheses
from metadiffuser.planning.agent import AgentInputs, PlanningAgent
from metadiffuser.planning.planner import Planner
from tests.helpers.models import (
    CONTEXT,
    PLANNING,
    A,
    S,
    make_context,
    make_data,
    make_diffusion,
    make_inputs,
    make_warm_start,
)

ON = {"zero_shot": "hypotheses"}
TASKS = 4


def make_planner(**changes: object) -> Planner:
    """A planner over the tiny models, which knows its training tasks."""
    context = make_context()
    keep_hypotheses(context, make_data(TASKS), torch.Generator().manual_seed(0))
    return Planner(make_diffusion(), context, PLANNING.model_copy(update=changes))


def transitions(steps: int, size: int) -> list[tuple[np.ndarray, ...]]:
    generator = np.random.default_rng(0)
    shapes = ((size, S), (size, A), (size,), (size, S))
    return [tuple(generator.normal(size=shape).astype(np.float32) for shape in shapes) for _ in range(steps)]


def played(
    planner: Planner, inputs: AgentInputs, steps: int, rows: slice = slice(None)
) -> tuple[np.ndarray, list[torch.Tensor]]:
    """Return the actions and z of an agent that is shown the same transitions whatever it does."""
    size = 3
    agent = PlanningAgent(planner, inputs, torch.Generator().manual_seed(0), blocks=len(inputs))
    actions, latents = [], []
    for state, action, reward, successor in transitions(steps, size):
        actions.append(agent.act(state[rows]))
        latents.append(agent.latents.clone())
        agent.observe(state[rows], action[rows], reward[rows], successor[rows])
    return np.stack(actions), latents


def zero_shot(size: int = 3) -> AgentInputs:
    return make_inputs(make_context(), make_warm_start(size, False), online=True)


def test_off_nothing_is_read_of_what_the_model_keeps() -> None:
    plain, damaged = make_planner(), make_planner()
    damaged.context.task_latents.fill_(float("nan"))
    damaged.context.error_variance.fill_(float("nan"))
    assert plain.config.zero_shot == "encoder"
    actions, latents = played(plain, zero_shot(), 9)
    others, _ = played(damaged, zero_shot(), 9)
    assert np.array_equal(actions, others)
    assert not bool(latents[0].any())
    on, _ = played(make_planner(**ON), zero_shot(), 9)
    assert not np.array_equal(on[1], actions[1])


def test_the_first_decision_is_the_null_conditions_and_the_models_are_given_the_prior_mean() -> None:
    planner = make_planner(**ON)
    agent = PlanningAgent(planner, zero_shot(), torch.Generator().manual_seed(0))
    agent.act(np.zeros((3, S), np.float32))
    assert agent.has_context.tolist() == [False] * 3
    assert torch.allclose(agent.latents, planner.context.task_latents.mean(dim=0).expand(3, -1), atol=1e-6)


def test_a_full_context_is_the_encoders_alone() -> None:
    steps = CONTEXT.context_length + 3
    _, off = played(make_planner(), zero_shot(), steps)
    _, on = played(make_planner(**ON), zero_shot(), steps)
    same = [torch.equal(first, second) for first, second in zip(off, on, strict=True)]
    assert same == [False] * CONTEXT.context_length + [True] * 3


@pytest.mark.parametrize("steps", [0, 5])
def test_an_episode_is_played_the_same_by_itself(steps: int) -> None:
    planner = make_planner(**ON, refinement_steps=steps)
    together, z = played(planner, zero_shot(), 5)
    for row in range(3):
        alone, own = played(planner, zero_shot(1), 5, slice(row, row + 1))
        assert np.allclose(alone[:, 0], together[:, row], atol=1e-4)
        assert torch.allclose(torch.stack(own)[:, 0], torch.stack(z)[:, row], atol=1e-4)
    again, _ = played(planner, zero_shot(), 5)
    assert np.array_equal(again, together)


def test_episodes_with_a_warm_start_are_left_alone() -> None:
    warm = make_inputs(make_context(), make_warm_start(1))
    nothing = make_inputs(make_context(), make_warm_start(1, False))
    joined = AgentInputs.join([zero_shot(1), warm, nothing])
    (_, off), (_, on) = (played(planner, joined, 4) for planner in (make_planner(), make_planner(**ON)))
    for before, after in zip(off, on, strict=True):
        assert torch.equal(before[1:], after[1:])
        assert not torch.equal(before[0], after[0])


def test_the_refinement_explains_more_and_keeps_to_the_prior() -> None:
    model = make_planner().context
    spread = 10 * torch.randn(TASKS, model.latent_size, generator=torch.Generator().manual_seed(1))
    model.keep_tasks(spread, torch.full((1 + S,), 1e-3))
    rows = make_data(TASKS).transitions[:, 0]
    start = torch.zeros(TASKS, model.latent_size)
    found = refine(model, start, rows, 50)
    assert bool((costs(model, found[:, None], rows) < costs(model, start[:, None], rows)).all())
    assert torch.equal(refine(model, start, rows, 0), start)
    alone = torch.cat([refine(model, start[row : row + 1], rows[row : row + 1], 50) for row in range(TASKS)])
    assert torch.allclose(alone, found, atol=1e-3)
    model.error_variance.fill_(1e6)  # what happened says nothing then
    model.task_latents.div_(10)
    far = model.task_latents.mean(dim=0) + 3 * model.task_latents.std(dim=0, correction=0)
    kept = refine(model, far.expand(TASKS, -1), rows, 300)
    assert torch.allclose(kept, model.task_latents.mean(dim=0).expand(TASKS, -1), atol=0.1)


def test_z_is_refined_by_the_steps_that_are_asked_for_once_there_are_transitions() -> None:
    (_, plain), (_, refined) = (played(make_planner(**ON, refinement_steps=steps), zero_shot(), 2) for steps in (0, 5))
    assert torch.equal(refined[0], plain[0]), "of no transition there is no gradient"
    assert not torch.allclose(refined[1], plain[1], atol=1e-3)
