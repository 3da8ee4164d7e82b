"""Prompt-DT and Meta-DT: the mask is causal, a prompt tells, windows and targets are those of the data."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from metadiffuser.baselines import meta_dt, prompt_dt
from metadiffuser.baselines.shared.interface import Sizes
from metadiffuser.baselines.shared.prompting import (
    TARGET_WEIGHT,
    PromptedAgent,
    Sequences,
    draw_windows,
    fit_returns,
    hide_steps,
    no_latents,
    prompted_loss,
    returns_to_go,
)
from metadiffuser.baselines.shared.transformer import PromptedModel, Steps
from metadiffuser.config.loading import load
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData
from tests.conftest import ROOT
from tests.helpers.models import A, S, Z, make_context, make_data

SECTIONS: dict[str, Any] = dict(load(ROOT / "presets" / "smoke.yaml").baseline)
T, P, K = 12, SECTIONS["prompt_dt"].prompt, SECTIONS["prompt_dt"].window
SIZES = Sizes(S, A, Z, T)
METHODS = {"prompt_dt": prompt_dt, "meta_dt": meta_dt}

PLAYED = ("observations", "actions", "rewards", "transitions")  # what a task's data hold of each episode


def build(method: str) -> Any:
    torch.manual_seed(0)
    model = METHODS[method].Model(SIZES, SECTIONS[method])
    model.normaliser.load_state_dict(make_context().normaliser.state_dict())
    return model.eval().requires_grad_(False)


def sequences(latent: int = 0) -> Sequences:
    data = make_data()
    latents = torch.randn(*data.rewards.shape, latent, generator=torch.Generator().manual_seed(1))
    return Sequences.of(data, latents)


def some_steps(length: int, latent: int = 0, rows: int = 3) -> Steps:
    tasks = torch.arange(rows)
    return sequences(latent).take(tasks, tasks, 2 * torch.ones(rows, dtype=torch.long), length)


def changed(steps: Steps, field: str, place: int) -> Steps:
    values = getattr(steps, field).clone()
    values[:, place] = (values[:, place] + 1) % T if field == "times" else values[:, place] + 1.0
    return dataclasses.replace(steps, **{field: values})


def warm_start(has_context: list[bool]) -> WarmStart:
    size, data = len(has_context), make_data()
    order = torch.arange(T).repeat(size, 1)
    return WarmStart(data.transitions[:size, 0], order, torch.tensor(has_context), data.parameters[:size])


FIELDS = [(method, field) for method in METHODS for field in ("returns", "states", "actions", "times")]


@pytest.mark.parametrize("place", [0, 3, K - 1])
@pytest.mark.parametrize(("method", "field"), [*FIELDS, ("meta_dt", "latents")])
def test_a_changed_step_changes_nothing_before_it(method: str, field: str, place: int) -> None:
    model = build(method)
    prompt, history = some_steps(P), some_steps(K, model.latent)
    before = model(prompt, history)
    after = model(prompt, changed(history, field, place))
    # The action of a step is read by later steps only; return, state, time and z by the step itself as well.
    first = place + 1 if field == "actions" else place
    assert torch.equal(before[0][:, :first], after[0][:, :first])
    assert (before[0][:, first:] != after[0][:, first:]).any(dim=-1).all()
    assert torch.equal(before[1], after[1]), "the target reads the prompt alone"


@pytest.mark.parametrize("method", METHODS)
def test_the_prompt_is_read_where_there_are_steps(method: str) -> None:
    model = build(method)
    prompt, history = some_steps(P), some_steps(K, model.latent)
    for place in range(P):
        for field in ("returns", "states", "actions"):
            other = changed(prompt, field, place)
            pairs = zip(model(prompt, history), model(other, history), strict=True)
            assert all((a != b).view(3, -1).any(dim=1).all() for a, b in pairs)
            hidden = torch.arange(P).expand(3, P) != place
            a, b = (model(dataclasses.replace(steps, mask=hidden), history) for steps in (prompt, other))
            assert torch.equal(a[0], b[0])
            assert torch.equal(a[1], b[1])


def test_the_target_alone_is_the_target_with_a_history() -> None:
    model, prompt = build("prompt_dt"), some_steps(P)
    model.target_mean.fill_(-3.0)
    model.target_std.fill_(2.0)
    assert torch.allclose(model.targets(prompt), 2.0 * model(prompt, some_steps(K))[1] - 3.0, atol=1e-5)


def test_returns_to_go_by_hand() -> None:
    assert torch.equal(returns_to_go(torch.tensor([[1.0, 2.0, 4.0]])), torch.tensor([[7.0, 6.0, 4.0]]))


def few_good_among_many() -> tuple[TaskData, TaskData]:
    """Return episodes of all qualities, and of each task those that lose a fiftieth of what others do."""
    data = make_data()
    losses = -1.0 - data.rewards.abs() - torch.arange(len(data.rewards))[:, None, None]
    good = replace(data, rewards=0.02 * losses)
    return replace(data, rewards=torch.cat([losses, good.rewards], dim=1)), good


def test_an_agent_that_errs_is_not_far_from_all_returns_to_go() -> None:
    contexts, good = few_good_among_many()
    model = build("prompt_dt")
    fit_returns(model, contexts, good)
    promised, lost = good.rewards.sum(dim=-1).amax(), contexts.rewards.sum(dim=-1).amin()
    ends_with = promised - lost  # what is left of the target after an episode as bad as any
    assert ((ends_with - model.return_mean) / model.return_std).abs() < 5.0


@pytest.mark.parametrize("method", METHODS)
def test_the_target_does_not_outweigh_the_actions(method: str) -> None:
    contexts, good = few_good_among_many()
    model = build(method).requires_grad_(True)
    targets = fit_returns(model, contexts, good)
    assert targets.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert targets.std(correction=0).item() == pytest.approx(1.0, abs=1e-4)
    action, target = prompted_loss(model, some_steps(P), some_steps(K, model.latent), targets[:3])
    shared = list(model.blocks.parameters())

    def norm(loss: torch.Tensor) -> float:
        gradients = torch.autograd.grad(loss, shared, retain_graph=True)
        return float(torch.stack([gradient.norm() for gradient in gradients]).norm())

    assert norm(TARGET_WEIGHT * target) < 0.5 * norm(action)


def test_the_target_is_a_return_that_one_episode_in_ten_exceeds() -> None:
    data, model = make_data(episodes=11), build("prompt_dt")
    rewards = torch.zeros_like(data.rewards)
    rewards[:, :, 0] = torch.arange(11.0) + 100 * torch.arange(4.0)[:, None]
    targets = fit_returns(model, data, replace(data, rewards=rewards))
    found = targets * model.target_std + model.target_mean
    assert found.tolist() == pytest.approx([9.0, 109.0, 209.0, 309.0], abs=1e-2)


def test_windows_are_consecutive_steps_of_the_rows_task_and_begin_as_episodes_do() -> None:
    data = make_data()
    tasks = torch.tensor([2, 0]).repeat(300)
    window = draw_windows(Sequences.of(data, no_latents(data)), tasks, 5, torch.Generator().manual_seed(0))
    assert (window.times.diff(dim=1) == 1).all()
    assert window.mask.all()
    rewards = window.returns[:, :-1] - window.returns[:, 1:]
    assert torch.allclose(rewards, window.states[:, 1:, 0] - tasks[:, None], atol=1e-4)
    assert torch.allclose(window.states[:, 1:, :A] - window.states[:, :-1, :A], 0.1 * window.actions[:, :-1], atol=1e-5)
    last = window.times[:, 0].bincount(minlength=T - 4) / len(tasks)
    # An agent with K = 5 sees a window from step 0 at its steps 0 to 4, five of twelve, and any other once.
    assert last[0] == pytest.approx(5 / T, abs=0.07)
    assert (last[1:] > 0.03).all()


def test_hidden_steps_are_the_first_of_a_prompt_in_a_share_of_rows() -> None:
    prompt = hide_steps(some_steps(P, rows=4), torch.Generator().manual_seed(0))
    assert prompt.mask.shape == (4, P)
    many = Steps(*(value.repeat(500, *[1] * (value.dim() - 1)) for value in vars(some_steps(P, rows=4)).values()))
    mask = hide_steps(many, torch.Generator().manual_seed(0)).mask
    assert (mask.int().diff(dim=1) >= 0).all(), "a step that is there is followed by others"
    assert (~mask.all(dim=1)).float().mean() == pytest.approx(0.2, abs=0.03)
    assert (~mask.any(dim=1)).float().mean() == pytest.approx(0.2 / P, abs=0.03)


@pytest.mark.parametrize("method", METHODS)
def test_an_agent_reads_the_last_steps_and_what_is_left_of_the_target(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, given = build(method), warm_start([True, False])
    seen: list[tuple[Steps, Steps]] = []

    def recorded(self: PromptedModel, prompt: Steps, history: Steps) -> tuple[torch.Tensor, torch.Tensor]:
        copied = [Steps(*(value.clone() for value in vars(steps).values())) for steps in (prompt, history)]
        seen.append((copied[0], copied[1]))
        return forward(self, prompt, history)

    forward = PromptedModel.forward
    monkeypatch.setattr(PromptedModel, "forward", recorded)
    agent: PromptedAgent = METHODS[method].adapt(model, given, make_context(), torch.Generator())
    promised = agent.targets.clone()
    data = make_data(seed=4)
    states, rewards = data.observations[:2, 0].numpy(), data.rewards[:2, 0].numpy()
    executed = []
    for step in range(T):
        executed.append(agent.act(states[:, step]))
        agent.observe(states[:, step], executed[-1], rewards[:, step], states[:, step + 1])
    assert len(seen) == T, "one forward pass a step"
    for step, (prompt, history) in enumerate(seen):
        first = max(0, step + 1 - K)
        assert history.times.tolist() == [list(range(first, step + 1))] * 2
        assert np.array_equal(history.states.numpy(), states[:, first : step + 1])
        assert np.array_equal(history.actions[:, :-1].numpy(), np.stack(executed, axis=1)[:, first:step])
        assert torch.allclose(history.returns[0, -1], promised[0] - float(rewards[0, :step].sum()), atol=1e-4)
        assert prompt.mask[0].all()
        assert prompt.mask[1].sum() == min(step, P)
        times = prompt.times[1][prompt.mask[1]].tolist()
        assert times == list(range(times[0], times[0] + len(times))) if times else step == 0
        assert np.array_equal(prompt.states[1][prompt.mask[1]].numpy(), states[1, times])
        if method == "prompt_dt":
            assert times == list(range(max(0, step - P), step)), "the last steps of the episode itself"
    assert torch.equal(seen[0][0].states[0], seen[-1][0].states[0]), "the warm start stays the prompt"
    start = int(seen[0][0].times[0, 0])
    assert torch.equal(seen[0][0].states[0], given.transitions[0, start : start + P, :S])
    assert torch.allclose(seen[0][0].returns[0], returns_to_go(given.transitions[..., S + A])[0, start : start + P])


def test_a_prompt_begins_where_the_warm_start_says_as_far_as_its_end_allows() -> None:
    order = torch.stack([torch.arange(T).roll(-7), torch.arange(T).roll(1)])
    given = replace(warm_start([True, True]), order=order)
    agent = prompt_dt.adapt(build("prompt_dt"), given, make_context(), torch.Generator())
    assert order[:, 0].tolist() == [7, T - 1]
    assert agent.prompt.times.tolist() == [list(range(first, first + P)) for first in (7, T - P)]


def test_z_is_of_the_transitions_before_a_step_in_training_and_at_play() -> None:
    model, data = build("meta_dt"), make_data()
    latents = meta_dt.describe(model, data.transitions)
    later = data.transitions.clone()
    later[:, :, 7] += 1.0
    difference = (meta_dt.describe(model, later) - latents).abs().amax(dim=(0, 1, 3))
    length = model.world.length
    assert (difference[:8] == 0).all()
    assert (difference[8 : 8 + length] > 0).all()
    assert (difference[8 + length :] == 0).all()

    agent = meta_dt.adapt(model, warm_start([True, True]), make_context(), torch.Generator())
    episodes = replace(data, **{name: getattr(data, name)[:2, 1] for name in PLAYED})
    for step in range(T):
        agent.act(episodes.observations[:, step].numpy())
        assert torch.allclose(agent.latents[:, step], latents[:2, 1, step], atol=1e-5)
        moved = (episodes.actions[:, step], episodes.rewards[:, step], episodes.observations[:, step + 1])
        agent.observe(episodes.observations[:, step].numpy(), *(value.numpy() for value in moved))
    assert torch.allclose(agent._errors, meta_dt.surprises(model, data.transitions, latents)[:2, 1], atol=1e-5)


def test_z_of_the_world_model_has_not_seen_the_transition_that_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[torch.Tensor] = []
    world = build("meta_dt").world
    windows = torch.randn(5, world.length + 1, S + A + 1 + S, generator=torch.Generator().manual_seed(0))
    encode = meta_dt.WorldModel.encode

    def recorded(self: meta_dt.WorldModel, features: torch.Tensor) -> torch.Tensor:
        given.append(features)
        return encode(self, features)

    monkeypatch.setattr(meta_dt.WorldModel, "encode", recorded)
    meta_dt.world_loss(world, windows)
    assert len(given) == 1
    assert torch.equal(given[0], windows[:, :-1])


def test_half_of_the_windows_are_given_z_of_another_episode_of_their_task() -> None:
    data, rows = make_data(), 4000
    tasks, episodes = len(data.rewards), data.rewards.shape[1]
    # The z of other episodes names its task, episode and time; that of the windows themselves is negative.
    names = torch.cartesian_prod(torch.arange(tasks), torch.arange(episodes), torch.arange(T))
    others = names.float().view(tasks, episodes, T, 3)
    own = Sequences.of(data, -1.0 - others)
    task = torch.arange(rows) % tasks
    window = draw_windows(own, task, K, torch.Generator().manual_seed(0))
    found = meta_dt.swap_latents(window, task, others, torch.Generator().manual_seed(1))
    swapped = found.latents[:, 0, 0] >= 0
    assert swapped.float().mean() == pytest.approx(meta_dt.SWAPPED, abs=0.03)
    assert torch.equal(found.latents[~swapped], window.latents[~swapped])
    named = found.latents[swapped].long()
    assert torch.equal(named[..., 0], task[swapped, None].expand(-1, K))
    assert torch.equal(named[..., 2], window.times[swapped])
    assert (named[..., 1] == named[:, :1, 1]).all(), "all z of a window are of one episode"
    assert len(named[:, 0, 1].unique()) == episodes
    for field in ("returns", "states", "actions", "times", "mask"):
        assert torch.equal(getattr(found, field), getattr(window, field))


def test_surprise_by_hand() -> None:
    model = build("meta_dt")
    features = torch.zeros(1, S + A + 1 + S)
    for head, bias in ((model.world.reward[-1], [0.5]), (model.world.change[-1], [1.0, -2.0, 0.0])):
        head.weight.zero_()
        head.bias.copy_(torch.tensor(bias))
    assert meta_dt.surprise(model.world, features, torch.zeros(1, model.latent)).item() == pytest.approx(0.5 + 1.0)
    windows = features[:, None].repeat(1, model.world.length + 1, 1)
    assert meta_dt.world_loss(model.world, windows).item() == pytest.approx(0.25 + 5 / 3)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([9.0, 9.0, 0.0, 1.0, 2.0, 3.0, 0.0], 4),  # the steps before 2 do not count
        ([0.0, 0.0, 5.0, 1.0, 2.0, 3.0, 0.0], 2),
        ([9.0, 1.0, 2.0], 1),  # too few: the last steps
        ([9.0], 0),
    ],
)
def test_the_segment_predicted_worst(errors: list[float], expected: int) -> None:
    assert meta_dt.worst_segments(torch.tensor([errors]), 2, 2).tolist() == [expected]
