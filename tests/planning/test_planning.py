"""Condition mixing, the dual guide and the batched planner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from metadiffuser.context.objective import inconsistency, predicted_return
from metadiffuser.context.representation import ContextModel
from metadiffuser.planning.agent import AgentInputs, PlanningAgent
from metadiffuser.planning.conditions import mix
from metadiffuser.planning.guide import DualGuide
from metadiffuser.planning.planner import Planner, Request
from tests.helpers.models import (
    PLANNING,
    A,
    S,
    Z,
    make_context,
    make_diffusion,
    make_inputs,
    make_planner,
    make_warm_start,
)


def request(size: int = 4, return_scale: float = 0.0, dynamics_scale: float = 0.0, has_context: bool = True) -> Request:
    generator = torch.Generator().manual_seed(0)
    return Request(
        torch.randn(size, S, generator=generator) * 0.1,
        torch.randn(size, Z, generator=generator),
        torch.full((size,), has_context),
        torch.full((size,), return_scale),
        torch.full((size,), dynamics_scale),
    )


def noise(planner: Planner, size: int = 4) -> torch.Tensor:
    return planner.draw_noise(size, torch.Generator().manual_seed(3))


def score(
    function: Callable[..., torch.Tensor], model: ContextModel, plan: torch.Tensor, latents: torch.Tensor
) -> torch.Tensor:
    states, actions = plan.split([S, A], dim=-1)
    return function(model, states, actions, latents)


def test_mixing_is_affine_in_omega() -> None:
    a, b = torch.randn(3), torch.randn(3)
    assert torch.equal(mix(a, b, 0.0), a)
    assert torch.allclose(mix(a, b, 1.0), b)
    assert torch.allclose(mix(a, b, 1.2), a + 1.2 * (b - a))


@pytest.mark.parametrize(("return_scale", "dynamics_scale"), [(1.0, 0.0), (0.0, 1.0)])
def test_guide_raises_the_return_and_lowers_the_inconsistency(return_scale: float, dynamics_scale: float) -> None:
    model = make_context()
    plan, latents = torch.randn(6, 8, S + A), torch.randn(6, Z)
    scales = torch.full((6,), return_scale), torch.full((6,), dynamics_scale)
    gradient = DualGuide(model).prepare(latents, *scales)(plan)
    step = 1e-3 / gradient.norm(dim=(1, 2), keepdim=True)
    for sign in (1, -1):
        moved = plan + sign * step * gradient
        gained = score(predicted_return, model, moved, latents) - score(predicted_return, model, plan, latents)
        spoiled = score(inconsistency, model, moved, latents) - score(inconsistency, model, plan, latents)
        if return_scale:
            assert bool((sign * gained > 0).all())
        else:
            assert bool((sign * spoiled < 0).all())


def test_guide_agrees_with_finite_differences() -> None:
    model = make_context().double()
    plan = torch.randn(2, 8, S + A, dtype=torch.float64)
    latents = torch.randn(2, Z, dtype=torch.float64)
    alpha, weight = torch.tensor([0.7, 0.7]).double(), torch.tensor([0.3, 0.3]).double()
    gradient = DualGuide(model).prepare(latents, alpha, weight)(plan)

    def objective(x: torch.Tensor) -> torch.Tensor:
        gained = score(predicted_return, model, x, latents)
        return (0.7 * gained - 0.3 * score(inconsistency, model, x, latents)).sum()

    for index in [(0, 0, 0), (1, 3, S), (0, 7, S + A - 1), (1, 5, 1)]:
        step = torch.zeros_like(plan)
        step[index] = 1e-5
        numeric = (objective(plan + step) - objective(plan - step)) / 2e-5
        assert float(numeric) == pytest.approx(float(gradient[index]), rel=1e-4, abs=1e-7)


def test_the_value_term_climbs_and_agrees_with_finite_differences() -> None:
    model = make_context().double()
    model.set_value_scale(torch.tensor([1.0, 7.0]))
    plan = torch.randn(2, 8, S + A, dtype=torch.float64)
    latents = torch.randn(2, Z, dtype=torch.float64)
    alpha, none = torch.tensor([0.7, 0.2]).double(), torch.zeros(2).double()
    without = DualGuide(model).prepare(latents, alpha, none)(plan)
    gradient = DualGuide(model, 2.5).prepare(latents, alpha, none)(plan) - without

    def beyond(x: torch.Tensor) -> torch.Tensor:
        return 2.5 * model.predict_values(x[:, -1, :S], latents)

    assert bool((gradient[:, :-1] == 0).all()), "the value is that of the last state"
    assert bool((gradient[:, -1, S:] == 0).all()), "and not of an action"
    for index in [(0, 7, 0), (1, 7, 1), (0, 7, 2)]:
        step = torch.zeros_like(plan)
        step[index] = 1e-5
        numeric = alpha[index[0]] * (beyond(plan + step) - beyond(plan - step))[index[0]] / 2e-5
        assert float(numeric) == pytest.approx(float(gradient[index]), rel=1e-4, abs=1e-7)
    small = 1e-3 / gradient.norm(dim=(1, 2), keepdim=True)
    for sign in (1, -1):
        assert bool((sign * (beyond(plan + sign * small * gradient) - beyond(plan)) > 0).all())


def test_a_consistent_plan_has_no_inconsistency() -> None:
    model = make_context()
    latents, actions = torch.randn(2, Z), torch.rand(2, 8, A)
    states = [torch.randn(2, S)]
    for step in range(7):
        states.append(model.predict_states(states[-1], actions[:, step], latents))
    assert torch.allclose(inconsistency(model, torch.stack(states, 1), actions, latents), torch.zeros(2), atol=1e-9)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm_solver"])
def test_zero_scales_give_the_unguided_plan_exactly(sampler: str) -> None:
    planner = make_planner(sampler=sampler)
    plain = planner.plan(request(), noise(planner))
    guided = request(return_scale=50.0, dynamics_scale=1.0)
    assert not torch.equal(planner.plan(guided, noise(planner)).segments, plain.segments)
    mixed = replace(guided, return_scale=torch.tensor([0.0, 50, 50, 50]), dynamics_scale=torch.tensor([0.0, 1, 1, 1]))
    assert torch.allclose(planner.plan(mixed, noise(planner)).segments[0], plain.segments[0], atol=1e-6)
    assert torch.equal(planner.plan(request(), noise(planner)).segments, plain.segments)


def test_unguided_steps_cover_all_of_them() -> None:
    planner = make_planner(unguided_steps=6)
    plain = planner.plan(request(), noise(planner)).segments
    assert torch.equal(planner.plan(request(return_scale=50.0), noise(planner)).segments, plain)


def test_plans_start_where_the_agent_stands_and_stay_in_range() -> None:
    planner = make_planner()
    wanted = request(return_scale=100.0)
    plan = planner.plan(wanted, noise(planner))
    assert torch.allclose(plan.states[:, 0], wanted.states, atol=1e-6)
    assert bool((plan.actions.abs() <= 1).all())
    assert plan.actions.shape == (4, 8, A)


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.2])
def test_one_forward_pass_equals_two_branches(weight: float) -> None:
    planner = make_planner(guidance_weight=weight, sampling_steps=1)
    wanted, start = request(), noise(planner)
    network = planner.diffusion.network
    x = start[0, 0].clone()
    x[:, 0, :S] = planner.diffusion.normaliser.state(wanted.states)
    step = network.step_condition(torch.tensor([6]))
    null = network(x, network.task_condition(wanted.latents, torch.zeros(4, dtype=torch.bool)) + step)
    given = network(x, network.task_condition(wanted.latents, wanted.has_context) + step)
    expected = planner.diffusion.clean(mix(null, given, weight), x, planner.steps[0])
    expected[:, 0, :S] = x[:, 0, :S]
    assert torch.allclose(planner.plan(wanted, start).segments, expected, atol=1e-5)


def test_unknown_tasks_are_planned_without_z() -> None:
    planner = make_planner()
    unknown = request(has_context=False)
    other = replace(unknown, latents=unknown.latents + 5)
    assert torch.equal(planner.plan(unknown, noise(planner)).segments, planner.plan(other, noise(planner)).segments)


def test_a_batch_of_plans_equals_single_plans() -> None:
    planner = make_planner()
    wanted, start = request(return_scale=0.5, dynamics_scale=0.5), noise(planner)
    together = planner.plan(wanted, start).segments
    for row in range(4):
        names = Request.__dataclass_fields__
        alone = Request(*(getattr(wanted, name)[row : row + 1] for name in names))
        assert torch.allclose(planner.plan(alone, start[:, :, row : row + 1]).segments[0], together[row], atol=1e-5)


def inputs(size: int, online: bool) -> AgentInputs:
    return make_inputs(make_context(), make_warm_start(size, not online), online)


def test_blocks_share_their_noise() -> None:
    joined = AgentInputs.join([inputs(2, False)] * 3)
    agent = PlanningAgent(make_planner(), joined, torch.Generator().manual_seed(0), blocks=3)
    actions = agent.act(np.tile(np.zeros((2, S), np.float32), (3, 1)))
    assert np.allclose(actions[:2], actions[2:4], atol=1e-6)
    assert np.allclose(actions[:2], actions[4:], atol=1e-6)


def test_actions_per_plan_executes_the_plan_before_remaking_it() -> None:
    agent = PlanningAgent(make_planner(actions_per_plan=3), inputs(2, False), torch.Generator().manual_seed(0))
    state = np.zeros((2, S), np.float32)
    first = agent.act(state)
    plan = agent.plan
    assert plan is not None
    assert np.array_equal(first, plan.actions[:, 0].numpy())
    assert np.array_equal(agent.act(state), plan.actions[:, 1].numpy())
    assert np.array_equal(agent.act(state), plan.actions[:, 2].numpy())
    agent.act(state)
    assert agent.plan is not plan


def test_zero_shot_starts_without_z_and_then_uses_its_own_transitions() -> None:
    planner = make_planner()
    joined = AgentInputs.join([inputs(1, True), inputs(1, False)])
    agent = PlanningAgent(planner, joined, torch.Generator().manual_seed(0))
    assert agent.has_context.tolist() == [False, True]
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(9):
        state, action, successor = (generator.normal(size=(2, n)).astype(np.float32) for n in (S, A, S))
        reward = generator.normal(size=2).astype(np.float32)
        agent.act(state)
        agent.observe(state, action, reward, successor)
        rows.append(np.concatenate([state[0], action[0], reward[:1], successor[0]]))
    fixed = agent.latents[1].clone()
    agent.act(state)
    assert agent.has_context.tolist() == [True, True]
    assert torch.equal(agent.latents[1], fixed)
    chosen = np.linspace(0, 8, 6).round().astype(int)
    own = torch.from_numpy(np.stack([rows[index] for index in chosen]))[None].float()
    expected = make_context().encode(own, torch.ones(1, 6, dtype=torch.bool))
    assert torch.allclose(agent.latents[:1], expected, atol=1e-5)


def test_plans_do_not_depend_on_where_a_travelled_coordinate_starts() -> None:
    context, diffusion = make_context(), make_diffusion()
    for model in (context, diffusion):
        model.normaliser.local_mask[1] = 0.0
        model.normaliser.state_mean[1] = 0.0
    planner = Planner(diffusion, context, PLANNING)
    here = request(return_scale=1.0, dynamics_scale=1.0)
    there = replace(here, states=here.states + torch.tensor([0.0, 30.0, 0.0]))
    start = noise(planner)
    first, second = planner.plan(here, start), planner.plan(there, start)
    assert torch.allclose(first.actions, second.actions, atol=1e-5)
    shift = torch.tensor([0.0, 30.0, 0.0]).expand(4, 8, -1)
    assert torch.allclose(second.states - first.states, shift, atol=1e-3)
    assert torch.allclose(second.states[:, 0], there.states, atol=1e-4)
