"""The planner's levers: off by default to the bit, and each doing what its name says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from metadiffuser.context.objective import objective
from metadiffuser.context.representation import ContextModel
from metadiffuser.errors import InputError
from metadiffuser.planning.agent import AgentInputs, PlanningAgent
from metadiffuser.planning.conditions import mix
from metadiffuser.planning.guide import DualGuide
from metadiffuser.planning.planner import Planner, Request
from tests.helpers.models import (
    CONTEXT,
    A,
    S,
    Z,
    make_context,
    make_data,
    make_inputs,
    make_planner,
    make_warm_start,
)

ROWS = 4


def request(return_scale: float = 0.5, dynamics_scale: float = 0.5) -> Request:
    generator = torch.Generator().manual_seed(0)
    states, latents = torch.randn(ROWS, S, generator=generator) * 0.1, torch.randn(ROWS, Z, generator=generator)
    scales = torch.full((ROWS,), return_scale), torch.full((ROWS,), dynamics_scale)
    return Request(states, latents, torch.ones(ROWS, dtype=torch.bool), *scales)


def noise(planner: Planner, seed: int = 3) -> Tensor:
    return planner.draw_noise(ROWS, torch.Generator().manual_seed(seed))


def by_autograd(model: ContextModel, plan: Tensor, wanted: Request, value_scale: float = 0.0) -> Tensor:
    with torch.enable_grad():
        plan = plan.detach().clone().requires_grad_(True)
        scales = (wanted.return_scale, wanted.dynamics_scale)
        total = objective(model, plan, wanted.latents, *scales, value_scale=value_scale).sum()
        return torch.autograd.grad(total, plan)[0]


def textbook(planner: Planner, wanted: Request, start: Tensor, exact: bool) -> Tensor:
    """The sampler without any lever, written down plainly; ``exact`` takes the planner's own guide."""
    diffusion, config, network = planner.diffusion, planner.config, planner.diffusion.network
    first = diffusion.normaliser.state(wanted.states)
    null = network.task_condition(wanted.latents, torch.zeros_like(wanted.has_context))
    both = torch.cat([null, network.task_condition(wanted.latents, wanted.has_context)])
    steps = network.step_condition(torch.tensor([step.step for step in planner.steps]))
    own = DualGuide(planner.context).prepare(wanted.latents, wanted.return_scale, wanted.dynamics_scale)
    x, earlier = start[0, 0].clone(), None
    x[:, 0, :S] = first
    for index, step in enumerate(planner.steps):
        unconditional, conditional = network(torch.cat([x, x]), both + steps[index]).chunk(2)
        clean = diffusion.clean(mix(unconditional, conditional, config.guidance_weight), x, step)
        clean[:, 0, :S] = first
        x = step.clean_weight * clean + step.noisy_weight * x
        if earlier is not None:
            x = x + step.earlier_weight * earlier
        if index < len(planner.steps) - config.unguided_steps:
            x = x + step.variance * (own(clean) if exact else by_autograd(planner.context, clean, wanted))
        if index < len(planner.steps) - 1:
            x = x + config.temperature * step.noise_scale * start[index + 1, 0]
        x[:, 0, :S] = first
        earlier = clean
    x = torch.minimum(torch.maximum(x, diffusion.low), diffusion.high)
    x[:, 0, :S] = first
    return x


@contextmanager
def forward_rows(planner: Planner) -> Iterator[list[int]]:
    """Note the rows of every forward pass of the denoiser."""
    rows: list[int] = []
    handle = planner.diffusion.network.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    yield rows
    handle.remove()


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm_solver"])
@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_default_levers_are_the_plain_sampler_to_the_bit(sampler: str, scale: float) -> None:
    planner = make_planner(sampler=sampler)
    wanted, start = request(scale, scale), noise(planner)
    plan = planner.plan(wanted, start).segments
    assert torch.equal(plan, textbook(planner, wanted, start, exact=True))
    assert torch.allclose(plan, textbook(planner, wanted, start, exact=False), atol=1e-5)
    before = torch.randn((len(planner.steps) + 1, ROWS, 8, S + A), generator=torch.Generator().manual_seed(3))
    assert torch.equal(start[:, 0], before), "the noise is drawn as if there were no candidates"


@pytest.mark.parametrize("value_scale", [0.0, 1.7])
@pytest.mark.parametrize("hidden", [[16], [16, 12], [16, 8, 12]])
def test_the_guides_gradient_is_that_of_its_objective(hidden: list[int], value_scale: float) -> None:
    torch.manual_seed(0)
    model = ContextModel(S, A, CONTEXT.model_copy(update={"hidden": hidden}), unbounded_dims=[1])
    data = make_data()
    model.normaliser.fit(data.observations, data.rewards)
    model.set_value_scale(torch.tensor([2.0, 6.0]))
    model.double().requires_grad_(False)
    plan = torch.randn(ROWS, 8, S + A, dtype=torch.float64)
    latents = torch.randn(ROWS, Z, dtype=torch.float64)
    mask = torch.ones(ROWS, dtype=torch.bool)
    for scales in ([0.7, 0.7, 0.7, 0.7], [0.0, 0.7, 0.0, 1.3], [0.0, 0.0, 0.0, 0.0]):
        some, other = torch.tensor(scales).double(), torch.tensor(scales[::-1]).double()
        wanted = Request(latents[:, :0], latents, mask, some, other)
        gradient = DualGuide(model, value_scale).prepare(latents, some, other)(plan)
        assert torch.allclose(gradient, by_autograd(model, plan, wanted, value_scale), rtol=1e-9, atol=1e-9)


def test_a_second_branch_is_made_for_rows_with_a_context_alone() -> None:
    planner = make_planner()
    wanted, start = request(0.0, 0.0), noise(planner)
    some = replace(wanted, has_context=torch.tensor([True, False, False, True]))
    with forward_rows(planner) as rows:
        mixed = planner.plan(some, start).segments
        assert set(rows) == {ROWS + 2}
        rows.clear()
        given = planner.plan(wanted, start).segments
        assert set(rows) == {2 * ROWS}
        rows.clear()
        null = planner.plan(replace(wanted, has_context=torch.zeros(ROWS, dtype=torch.bool)), start).segments
        assert set(rows) == {ROWS}
    expected = torch.where(some.has_context[:, None, None], given, null)
    assert torch.allclose(mixed, expected, atol=1e-5)
    for weight in (0.0, 1.0):
        plain = make_planner(guidance_weight=weight)
        with forward_rows(plain) as rows:
            plain.plan(wanted, start)
            assert rows == [ROWS] * len(plain.steps)


@pytest.mark.parametrize("unguided", [0, 2, 6])
def test_the_guide_acts_on_the_steps_it_is_given(unguided: int, monkeypatch: pytest.MonkeyPatch) -> None:
    planner = make_planner(unguided_steps=unguided)
    calls: list[Tensor] = []

    def note(plan: Tensor) -> Tensor:
        calls.append(plan)
        return torch.zeros_like(plan)

    monkeypatch.setattr(DualGuide, "prepare", lambda *_: note)
    planner.plan(request(), noise(planner))
    assert len(calls) == len(planner.steps) - unguided


def test_the_best_of_the_candidates_is_the_plan() -> None:
    planner, single = make_planner(candidates=5), make_planner()
    wanted, start = request(), noise(planner)
    plans = torch.stack([single.plan(wanted, start[:, index : index + 1]).segments for index in range(5)])
    scales = (wanted.return_scale, wanted.dynamics_scale)
    scores = torch.stack([objective(planner.context, each, wanted.latents, *scales) for each in plans])
    best = scores.argmax(dim=0)
    assert len(set(best.tolist())) > 1
    with forward_rows(planner) as rows:
        chosen = planner.plan(wanted, start)
        assert set(rows) == {2 * 5 * ROWS}, "candidates are rows of the same batch"
    assert torch.allclose(chosen.segments, plans[best, torch.arange(ROWS)], atol=1e-5)
    assert torch.allclose(chosen.states[:, 0], wanted.states, atol=1e-6)


def test_candidates_are_ranked_by_reward_and_value_together() -> None:
    planner, single = make_planner(candidates=5, value_scale=3.0), make_planner(value_scale=3.0)
    wanted, start = request(1.0, 0.0), noise(planner)
    model = planner.context
    model.value_std.fill_(2.0)
    plans = torch.stack([single.plan(wanted, start[:, index : index + 1]).segments for index in range(5)])
    by_reward, by_both = [], []
    for each in plans:
        states, actions = each.split([S, A], dim=-1)
        earned = model.predict_rewards(states, actions, wanted.latents[:, None].expand(-1, 8, -1)).sum(dim=1)
        beyond = model.predict_values(states[:, 7], wanted.latents)
        by_reward.append(earned)
        by_both.append(earned + 3.0 * beyond)
    best = torch.stack(by_both).argmax(dim=0)
    assert not torch.equal(best, torch.stack(by_reward).argmax(dim=0)), "the value decides somewhere"
    assert torch.allclose(planner.plan(wanted, start).segments, plans[best, torch.arange(ROWS)], atol=1e-5)


@pytest.mark.parametrize("candidates", [1, 4])
def test_without_a_value_scale_the_value_is_never_computed(candidates: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = make_planner(candidates=candidates)
    wanted, start = request(), noise(before)
    expected = before.plan(wanted, start).segments
    planner = make_planner(candidates=candidates, value_scale=0.0)
    for parameter in planner.context.value_model.parameters():
        parameter.fill_(float("nan"))
    assert torch.equal(
        Planner(planner.diffusion, planner.context, planner.config).plan(wanted, start).segments, expected
    )
    with_value = planner.config.model_copy(update={"value_scale": 1.0})
    assert bool(Planner(planner.diffusion, planner.context, with_value).plan(wanted, start).segments.isnan().any())


def test_the_value_acts_with_the_return_and_not_without_it() -> None:
    plain, valued = make_planner(), make_planner(value_scale=5.0)
    start = noise(plain)
    for return_scale, same in ((0.0, True), (0.5, False)):
        wanted = request(return_scale, 0.5)
        plans = [planner.plan(wanted, start).segments for planner in (plain, valued)]
        assert torch.equal(*plans) == same


def test_candidates_that_no_model_judges_give_the_first() -> None:
    planner, single = make_planner(candidates=3), make_planner()
    wanted, start = request(0.0, 0.0), noise(planner)
    assert torch.allclose(planner.plan(wanted, start).segments, single.plan(wanted, start[:, :1]).segments, atol=1e-5)


def inputs(size: int, context: str) -> AgentInputs:
    return make_inputs(make_context(), make_warm_start(size, context == "warm"), context == "zero_shot")


@pytest.mark.parametrize("online_context", [False, True])
def test_online_context_adds_the_agents_own_transitions(online_context: bool) -> None:
    planner = make_planner(online_context=online_context)
    joined = AgentInputs.join([inputs(1, "warm"), inputs(1, "none"), inputs(1, "zero_shot")])
    agent = PlanningAgent(planner, joined, torch.Generator().manual_seed(0))
    fixed = agent.latents.clone()
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(2):
        state, action, successor = (generator.normal(size=(3, n)).astype(np.float32) for n in (S, A, S))
        reward = generator.normal(size=3).astype(np.float32)
        agent.act(state)
        agent.observe(state, action, reward, successor)
        rows.append(np.concatenate([state, action, reward[:, None], successor], axis=1))
    agent.act(state)
    own = torch.from_numpy(np.stack(rows, axis=1))
    mask = torch.ones(1, 8, dtype=torch.bool)
    both = planner.context.encode(torch.cat([joined.warm_start.transitions[:1], own[:1]], dim=1), mask)
    assert torch.allclose(agent.latents[:1], both if online_context else fixed[:1], atol=1e-5)
    assert not torch.allclose(both, fixed[:1], atol=1e-3)
    assert agent.has_context.tolist() == [True, False, True], "an episode without a context on purpose stays so"
    assert torch.equal(agent.latents[1], fixed[1])
    alone = planner.context.encode(own[2:], mask[:, :2])
    assert torch.allclose(agent.latents[2:], alone, atol=1e-5)


def test_online_context_leaves_the_unconditional_planner_without_a_condition() -> None:
    planner = make_planner(online_context=True)
    given = replace(inputs(2, "warm"), has_context=torch.tensor([False, True]))
    agent = PlanningAgent(planner, given, torch.Generator().manual_seed(0))
    state, action, reward = np.ones((2, S), np.float32), np.ones((2, A), np.float32), np.ones(2, np.float32)
    agent.act(state)
    agent.observe(state, action, reward, state + 1)
    agent.act(state)
    assert agent.has_context.tolist() == [False, True]
    assert torch.equal(agent.latents[0], given.latents[0]), "its guide keeps the z of the warm start"
    assert not torch.equal(agent.latents[1], given.latents[1])


def test_planners_of_one_process_differ_in_their_settings_alone() -> None:
    planner = make_planner()
    wanted, start = request(), noise(planner)
    before = planner.plan(wanted, start).segments
    for sampler in ("ddpm", "ddim", "dpm_solver"):
        changed = planner.config.model_copy(update={"sampler": sampler, "sampling_steps": 3})
        other = Planner(planner.diffusion, planner.context, changed)
        assert len(other.steps) == 3
        assert bool(other.plan(wanted, noise(other)).segments.isfinite().all())
    assert torch.equal(planner.plan(wanted, start).segments, before)


def test_more_actions_than_a_plan_has_are_refused() -> None:
    with pytest.raises(InputError, match="actions_per_plan is 9, but a plan has 8 actions"):
        make_planner(actions_per_plan=9)
