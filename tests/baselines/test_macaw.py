"""MACAW's own parts: returns, the inner step, which tasks and parameters it touches, and when it is taken anew."""

from __future__ import annotations

import math
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from metadiffuser.baselines import macaw
from metadiffuser.baselines.shared.inner_step import Layers
from metadiffuser.baselines.shared.interface import Sizes
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.evaluation.warm_start import draw_warm_start
from tests.baselines.test_baselines import prepare
from tests.helpers.models import CONTEXT, A, S, Z, make_context, make_data

T = 12
CONFIG = macaw.Parameters(
    threads=1,
    qualities=["expert"],
    steps=10,
    batch_size=8,
    learning_rate=1e-3,
    task_batch=3,
    hidden=[16, 16],
    discount=0.9,
    inner_rate=0.05,
    head_weight=0.5,
    temperature=0.5,
    adaptation_steps=1,
)


def make_model(**changes: object) -> macaw.Model:
    torch.manual_seed(0)
    model = macaw.Model(Sizes(S, A, Z, T), CONFIG.model_copy(update=changes))
    model.normaliser.load_state_dict(make_context().normaliser.state_dict())
    return model


def make_batch(model: macaw.Model) -> macaw.Batch:
    """The first episode of each of four tasks."""
    return macaw.batch_of(model, make_data().transitions[:, 0], torch.ones(4, T))


def drawn_data(context: str) -> WarmStart:
    return draw_warm_start(context, {"expert": make_data()}, (0, 1, 2), CONTEXT, torch.Generator().manual_seed(0))


def flat(layers: Layers) -> list[Tensor]:
    return list(chain.from_iterable(layers))


def test_returns_are_discounted_means_of_what_counts() -> None:
    rewards, mask = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]]), torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    returns = macaw.returns_to_go(rewards, mask, 0.5)
    assert returns[0].tolist() == pytest.approx([(1 + 1 + 1) / 1.75, (2 + 2) / 1.5, 4])
    assert returns[1, :2].tolist() == pytest.approx([(1 + 1) / 1.5, 2])
    constant = macaw.returns_to_go(torch.full((1, 200), -3.0), torch.ones(1, 200), 0.99)
    assert torch.allclose(constant, torch.tensor(-3.0)), "the same at every step of an episode"


def test_the_inner_step_changes_the_policy_in_the_copy_alone() -> None:
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    moved = macaw.inner_step(model, macaw.meta_copies(model, 4), make_batch(model), create_graph=False)
    meta = macaw.meta_copies(model, 4)
    for new, old in zip(flat(moved.policy[:3]), flat(meta.policy[:3]), strict=True):
        assert (new - old).abs().flatten(1).amax(dim=1).min() > 0, "every task's every layer"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())

    inputs = make_batch(model).inputs
    means, _ = macaw.means_and_features(model, moved.policy, inputs)
    meta_means, _ = macaw.means_and_features(model, meta.policy, inputs)
    assert (means - meta_means).abs().amax(dim=(1, 2)).min() > 1e-5


def test_a_task_adapts_to_its_own_data_and_lowers_its_own_losses() -> None:
    model, batch = make_model(inner_rate=1e-3), make_batch(make_model())
    moved = macaw.inner_step(model, macaw.meta_copies(model, 4), batch, create_graph=False)
    for task in range(4):
        own = macaw.Batch(*(getattr(batch, name)[task : task + 1] for name in macaw.Batch.__dataclass_fields__))
        alone = macaw.inner_step(model, macaw.meta_copies(model, 1), own, create_graph=False)
        for among, single in zip(
            flat(moved.policy) + flat(moved.value), flat(alone.policy) + flat(alone.value), strict=True
        ):
            assert torch.allclose(among[task], single[0], atol=1e-6)
    meta = macaw.meta_copies(model, 4)
    assert (macaw.value_loss(moved, batch) < macaw.value_loss(meta, batch)).all()
    advantage = macaw.advantages(moved, batch)
    for part in range(2):  # the weighted regression and the head's
        after, before = (macaw.policy_losses(model, copies, batch, advantage)[part] for copies in (moved, meta))
        assert (after < before).all()


def test_the_policys_loss_is_the_gaussians_weighted_by_bounded_advantage() -> None:
    model = make_model()
    batch, copies = make_batch(model), macaw.meta_copies(model, 4)
    advantage = torch.linspace(-1, 5, T).expand(4, T)
    weighted, head = macaw.policy_losses(model, copies, batch, advantage)
    means, features = macaw.means_and_features(model, copies.policy, batch.inputs)
    density = torch.distributions.Normal(means, macaw.SIGMA).log_prob(batch.actions).sum(-1)
    constant = A * (math.log(macaw.SIGMA) + 0.5 * math.log(2 * math.pi))
    weights = (advantage / 0.5).exp().clamp_max(20.0)
    assert float(weights.amax()) == 20.0
    assert torch.allclose(weighted, (weights * (-density - constant)).mean(1), rtol=1e-4)
    predicted = model.head(torch.cat([features, batch.actions], -1).flatten(0, 1)[None])[0, :, 0].view(4, T)
    assert torch.allclose(head, (predicted - advantage).square().mean(1), rtol=1e-4)


def test_the_policys_loss_does_not_reach_the_value_function() -> None:
    model = make_model()
    batch, copies = make_batch(model), macaw.meta_copies(model, 4)
    advantage = macaw.advantages(copies, batch)
    assert not advantage.requires_grad
    torch.stack(macaw.policy_losses(model, copies, batch, advantage)).sum().backward()
    assert model.policy.flat.grad is not None
    assert model.value.flat.grad is None


def test_everything_learned_has_a_gradient_through_the_step_and_rewards_tell_the_policy() -> None:
    model = make_model()
    batch = make_batch(model)
    _, policy = macaw.meta_loss(model, batch, batch)
    policy.backward()
    for network in (model.policy, model.head):
        assert network.flat.grad is not None
        assert network.flat.grad.any()
    assert model.policy_step.log_rates.grad is not None
    layers = model.depth
    assert model.policy_step.log_rates.grad[:layers].all()
    for outputs in model.policy_step.maps[:layers]:
        assert outputs.grad is not None
        assert outputs.grad.any()
    assert model.log_head_weight.grad is not None
    assert float(model.log_head_weight.grad) != 0

    other = macaw.Batch(batch.inputs, batch.actions, batch.returns.flip(1), batch.mask)
    one, two = (macaw.inner_step(model, macaw.meta_copies(model, 4), b, create_graph=False) for b in (batch, other))
    assert not torch.allclose(one.policy[0][0], two.policy[0][0])


def test_nothing_told_leaves_the_meta_policy_and_more_steps_move_on() -> None:
    model = make_model()
    meta = [layer.detach() for layer in flat(macaw.meta_copies(model, 3).policy)]
    nothing = macaw.AdaptedAgent(model, drawn_data("zero_shot"))
    assert all(torch.equal(own, old) for own, old in zip(flat(nothing.policies), meta, strict=True))
    one, two = (macaw.AdaptedAgent(make_model(adaptation_steps=n), drawn_data("expert")) for n in (1, 2))
    assert not torch.allclose(one.policies[0][0], meta[0])
    assert not torch.allclose(one.policies[0][0], two.policies[0][0])


def test_the_adaptation_rate_says_how_far_a_policy_moves() -> None:
    def moved(rate: float) -> Tensor:
        # Steps so small that those of the value function hardly change the policy's.
        model = make_model(inner_rate=1e-3, adaptation_rate=rate)
        meta = macaw.meta_copies(model, 3).policy[0][0].detach()
        return macaw.AdaptedAgent(model, drawn_data("expert")).policies[0][0] - meta

    once = moved(1.0).norm()
    assert moved(1e-9).norm() < 1e-3 * once
    assert float(moved(2.0).norm() / once) == pytest.approx(2.0, rel=0.05)


def test_zero_shot_adapts_to_all_of_its_own_transitions_at_even_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(macaw, "READAPTATIONS", 4)  # every third of twelve steps
    model = make_model()
    agent = macaw.AdaptedAgent(model, WarmStart.join([drawn_data("expert"), drawn_data("zero_shot")]))
    at_start = [layer.clone() for layer in flat(agent.policies)]
    rows = make_data().transitions[[0, 1, 2, 3, 0, 1], 0].numpy()
    changes = []
    for step in range(7):
        before = agent.policies[0][0].clone()
        agent.act(rows[:, step, :S])
        changes.append(not torch.equal(before, agent.policies[0][0]))
        parts = np.split(rows[:, step], [S, S + A, S + A + 1], axis=1)
        agent.observe(parts[0], parts[1], parts[2][:, 0], parts[3])
    assert changes == [False, False, False, True, False, False, True]
    expected = macaw.adapted(model, torch.from_numpy(rows[3:, :6]), torch.ones(3, 6))
    for own, want, first in zip(flat(agent.policies), flat(expected), at_start, strict=True):
        assert torch.allclose(own[3:], want, atol=1e-6)
        assert torch.equal(own[:3], first[:3]), "the others' policies stay"


def test_inner_data_are_whole_episodes_and_beginnings_of_the_rows_own_task() -> None:
    model, data = make_model(), make_data()
    tasks = torch.arange(4).repeat(50)
    drawn = macaw.draw_inner(model, data, tasks, torch.Generator().manual_seed(0))
    assert drawn.inputs.shape == (200, T, S)
    assert drawn.mask[:, 0].all()
    assert (drawn.mask.diff(dim=1) <= 0).all(), "an episode's beginning"
    assert 0.4 < float(drawn.mask[:, -1].mean()) < 0.7, "every other time all of it"
    for row, task in enumerate(tasks):
        assert (drawn.actions[row] == data.actions[task]).all(dim=(1, 2)).any()

    rewards = model.normaliser.reward(data.rewards)
    returns = macaw.returns_to_go(rewards, torch.ones_like(rewards), 0.9)
    outer = macaw.draw_outer(model, data, returns, tasks, 3, torch.Generator().manual_seed(0))
    assert outer.returns.shape == (200, 3)
    for row, task in enumerate(tasks):
        assert torch.isin(outer.returns[row], returns[task]).all()


def test_outer_data_are_states_with_the_actions_taken_in_them_and_the_returns_from_there() -> None:
    model, data = make_model(), make_data()
    tasks, returns = torch.arange(4).repeat(20), data.rewards.flip(-1)
    outer = macaw.draw_outer(model, data, returns, tasks, 3, torch.Generator().manual_seed(0))
    stored = torch.cat([model.inputs(data.observations[:, :, :-1]), data.actions, returns[..., None]], dim=-1)
    drawn = torch.cat([outer.inputs, outer.actions, outer.returns[..., None]], dim=-1)
    assert (drawn[:, :, None] == stored.flatten(1, 2)[tasks][:, None]).all(-1).any(-1).all()


def first_batches(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mean: float, deviation: float
) -> tuple[macaw.Batch, macaw.Batch]:
    """The inner and the outer batch that training begins with, rewards having this mean and deviation."""
    given: list[tuple[macaw.Batch, macaw.Batch]] = []

    class StoppedError(Exception):
        pass

    def stop(model: macaw.Model, inner: macaw.Batch, outer: macaw.Batch) -> None:
        given.append((inner, outer))
        raise StoppedError

    monkeypatch.setattr(macaw, "meta_loss", stop)
    model = make_model()
    model.normaliser.reward_mean.fill_(mean)
    model.normaliser.reward_std.fill_(deviation)
    with pytest.raises(StoppedError):
        macaw.train(model, prepare(folder))
    return given[0]


def test_inner_and_outer_returns_are_of_normalised_rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, scaled = (
        first_batches(tmp_path / str(mean), monkeypatch, mean, deviation) for mean, deviation in ((0, 1), (5, 10))
    )
    for raw, normalised in zip(plain, scaled, strict=True):
        counts = raw.mask == 1
        assert torch.allclose(normalised.returns[counts], (raw.returns[counts] - 5) / 10, atol=1e-5)
        assert raw.returns[counts].std() > 0.5
