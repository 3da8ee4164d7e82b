"""The behaviour-regularised actor-critic, and the encoders that FOCAL and CORRO train before it."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from metadiffuser.baselines import corro, focal
from metadiffuser.baselines.shared.actor_critic import SPREAD, ActorCritic, Batch, cloning_loss, divergence
from metadiffuser.baselines.shared.encoded import EncodedModel, fit_part, standardise_latents, train_policy
from metadiffuser.behaviour.networks import LOG_STD
from metadiffuser.data.windows import draw_contexts
from metadiffuser.errors import InputError
from tests.baselines.test_baselines import SECTIONS, SIZES, build, prepare
from tests.helpers.models import A, S, make_data

I = 3  # noqa: E741 - inputs, as in the code


def make_policy(seed: int = 0) -> ActorCritic:
    policy = ActorCritic(I, A, [32, 32], torch.Generator().manual_seed(seed))
    for network in (policy.actor, policy.behaviour, policy.critics):
        network.flat.data.mul_(3)  # outputs that differ from zero
    return policy


def make_batch(size: int = 64, seed: int = 1) -> tuple[Batch, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs, successors = torch.randn(2, size, I, generator=generator)
    actions = 2 * torch.rand(size, A, generator=generator) - 1
    rewards = torch.randn(size, generator=generator)
    return Batch(inputs, actions, rewards, successors), torch.randn(2, size, A, generator=generator)


def test_divergence_is_that_of_the_gaussians_in_closed_form() -> None:
    outputs, others = torch.randn(2, 50, 2 * A, generator=torch.Generator().manual_seed(0))
    first, second = (
        Normal(part[:, :A], part[:, A:].clamp(least, LOG_STD[1]).exp())
        for part, least in ((outputs.double(), LOG_STD[0]), (others.double(), SPREAD))
    )
    assert torch.allclose(divergence(outputs.double(), others.double()), kl_divergence(first, second).sum(-1))
    wide = outputs.clamp_min(SPREAD)
    assert torch.equal(divergence(wide, wide), torch.zeros(50))


def test_cloning_loss_by_hand() -> None:
    outputs = torch.tensor([[0.0, 0.0, 0.0, math.log(2.0)]])
    actions = torch.tanh(torch.tensor([[1.0, 3.0]]))
    assert float(cloning_loss(outputs, actions)) == pytest.approx(0.5 + 0.5 * 1.5**2 + math.log(2.0), abs=1e-4)
    assert math.isfinite(float(cloning_loss(outputs, torch.ones(1, 2)))), "actions at the edge have a density"


def test_the_target_by_hand_has_no_penalty() -> None:
    policy, (batch, noise) = make_policy(), make_batch(1)
    with torch.no_grad():
        outputs = policy.actor(batch.successors[None])[0]
    action = torch.tanh(outputs[:, :A] + outputs[:, A:].exp() * noise[0])
    with torch.no_grad():
        target = batch.rewards + 0.9 * policy.values(policy.targets, batch.successors, action).min()
        values = policy.values(policy.critics, batch.inputs, batch.actions)
        expected = float((values - target).square().sum())
    assert policy.critic_loss(batch, noise[0], 0.9).item() == pytest.approx(expected, rel=1e-4)


def gradients(policy: ActorCritic) -> list[torch.Tensor]:
    policy.zero_grad()
    policy.losses(*make_batch(), 0.3, 0.9)[0].backward()
    found = [parameter.grad for parameter in policy.trained()]
    return [gradient.clone() for gradient in found if gradient is not None]


def test_every_part_learns_from_its_own_loss_alone() -> None:
    policy, (batch, noise) = make_policy(), make_batch()
    actor, critics, _ = gradients(policy)
    assert policy.behaviour.flat.grad is None, "the penalty does not reach b"
    policy.zero_grad()
    policy.critic_loss(batch, noise[0], 0.9).backward()
    assert policy.critics.flat.grad is not None
    assert torch.allclose(critics, policy.critics.flat.grad, atol=1e-6), "the actor's loss does not reach the critics"
    policy.log_strength.data.fill_(2.0)
    stronger = gradients(policy)
    assert torch.allclose(stronger[1], critics)
    assert not torch.allclose(stronger[0], actor)
    assert all(float(gradient.abs().max()) > 0 for gradient in (actor, critics))


def test_the_actor_begins_as_the_cloned_behaviour() -> None:
    policy, (batch, noise) = make_policy(), make_batch()
    policy.behaviour.flat.data.mul_(0.1)
    policy.begin()
    assert policy.losses(batch, noise, 0.3, 0.9)[1]["divergence"].item() == 0.0
    assert torch.equal(policy.act(batch.inputs), torch.tanh(policy.behaviour(batch.inputs[None])[0, :, :A]))


@pytest.mark.parametrize(("target", "sign"), [(0.0, -1.0), (1e6, 1.0)])
def test_the_penalty_grows_where_the_actor_is_too_far_from_the_data(target: float, sign: float) -> None:
    policy, (batch, noise) = make_policy(), make_batch()
    total, losses = policy.losses(batch, noise, target, 0.9)
    total.backward()
    assert policy.log_strength.grad is not None
    assert float(policy.log_strength.grad) == pytest.approx(target - losses["divergence"].item(), rel=1e-4)
    assert math.copysign(1.0, float(policy.log_strength.grad)) == sign  # a descent step raises alpha where negative


@pytest.mark.parametrize(("target", "low", "high"), [(5.0, 0.6, 1.0), (0.03, -0.3, 0.3)])
def test_the_actor_seeks_reward_as_far_as_it_may_leave_the_data(target: float, low: float, high: float) -> None:
    generator = torch.Generator().manual_seed(0)
    policy = ActorCritic(1, 1, [32, 32], generator)
    optimiser = torch.optim.Adam(policy.trained(), lr=3e-3)
    inputs, cloning = torch.zeros(128, 1), torch.optim.Adam(policy.behaviour.parameters(), lr=3e-3)
    for _ in range(300):
        cloning.zero_grad()
        policy.cloning_loss(inputs, 2 * torch.rand(128, 1, generator=generator) - 1).backward()
        cloning.step()
    policy.begin()
    for _ in range(800):
        actions = 2 * torch.rand(128, 1, generator=generator) - 1
        batch = Batch(inputs, actions, -(actions[:, 0] - 0.8).square(), inputs)
        total, losses = policy.losses(batch, torch.randn(2, 128, 1, generator=generator), target, 0.0)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        policy.follow(0.05)
    assert low < float(policy.act(inputs[:1])) < high
    assert losses["divergence"].item() < 3 * target


@pytest.mark.parametrize("method", ["focal", "corro"])
def test_target_critics_follow_the_critics_through_training(method: str, tmp_path: Path) -> None:
    model = build(method)
    assert isinstance(model, EncodedModel)
    start = model.policy.targets.flat.clone()
    train_policy(model, prepare(tmp_path), method)
    critics, targets = model.policy.critics.flat, model.policy.targets.flat
    moved, ahead = (targets - start).norm().item(), (critics - targets).norm().item()
    assert moved > 0, "the target critics stand still"
    assert ahead > 0, "the target critics are the critics"
    policy, followed = make_policy(), make_policy()
    followed.follow(0.25)
    expected = policy.targets.flat + 0.25 * (policy.critics.flat - policy.targets.flat)
    assert torch.allclose(followed.targets.flat, expected, atol=1e-6)


def stopped_at_the_first_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reward_mean: float = 0.0, reward_std: float = 1.0
) -> tuple[EncodedModel, Batch]:
    """A model as it is when its actor-critic learns from the first batch, and that batch."""
    batches: list[Batch] = []
    model = build("focal")
    assert isinstance(model, EncodedModel)
    model.config = SECTIONS["focal"].model_copy(update={"steps": 2})
    model.normaliser.reward_mean.fill_(reward_mean)
    model.normaliser.reward_std.fill_(reward_std)

    class StoppedError(Exception):
        pass

    def stop(self: ActorCritic, batch: Batch, *rest: object) -> None:
        batches.append(batch)
        raise StoppedError

    monkeypatch.setattr(ActorCritic, "losses", stop)
    with pytest.raises(StoppedError):
        train_policy(model, prepare(folder), "focal")
    return model, batches[0]


def test_training_of_the_actor_begins_with_the_cloned_behaviour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = stopped_at_the_first_batch(tmp_path, monkeypatch)[0].policy
    assert torch.equal(policy.actor.flat, policy.behaviour.flat)


def test_critics_see_normalised_rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, normalised = (
        stopped_at_the_first_batch(tmp_path / str(mean), monkeypatch, mean, std)[1].rewards
        for mean, std in ((0.0, 1.0), (5.0, 10.0))
    )
    assert torch.allclose(normalised, (raw - 5.0) / 10.0)
    assert raw.std() > 0.5


def test_critics_look_ahead_to_the_state_after_the_action_under_the_same_z(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = stopped_at_the_first_batch(tmp_path, monkeypatch)
    before, after = (model.normaliser.denormalise_state(part[:, :S]) for part in (batch.inputs, batch.successors))
    moved = 0.1 * torch.cat([batch.actions, batch.actions[:, :1]], dim=1)  # as the walks of the data go
    assert torch.allclose(after - before, moved, atol=1e-5)
    assert torch.equal(batch.successors[:, S:], batch.inputs[:, S:])


def test_the_actor_climbs_the_lower_of_both_critics() -> None:
    policy, (batch, noise) = make_policy(), make_batch()
    with torch.no_grad():
        outputs = policy.actor(batch.inputs[None])[0]
        actions = torch.tanh(outputs[:, :A] + outputs[:, A:].clamp(*LOG_STD).exp() * noise[1])
        values = policy.values(policy.critics, batch.inputs, actions)
    assert 0 < int((values[0] < values[1]).sum()) < len(actions), "either critic is the lower one somewhere"
    policy.log_strength.data.fill_(-100.0)
    loss, _, _ = policy.actor_losses(batch.inputs, noise[1], 0.3)
    assert loss.item() == pytest.approx(-values.amin(dim=0).mean().item(), rel=1e-4)


def encoders() -> list[object]:
    return [pytest.param("focal", id="focal"), pytest.param("corro", id="corro")]


def trained_encoder(method: str, folder: Path) -> EncodedModel:
    model, training = build(method), prepare(folder)
    assert isinstance(model, EncodedModel)
    model.config = SECTIONS[method].model_copy(update={"encoder_steps": 200, "task_batch": 8})
    drawn_as = training.context.config.model_copy(update={"context_length": 6})
    if isinstance(model, focal.Model):
        fit_part(model.encoder, partial(focal.metric_loss, model, drawn_as), model, training, "encoder")
    else:
        assert isinstance(model, corro.Model)
        relabeller = corro.make_relabeller(model, training)
        fit_part(relabeller, partial(corro.relabelling_loss, model, relabeller), model, training, "relabeller")
        fit_part(
            model.encoder, partial(corro.contrastive_loss, model, relabeller, drawn_as), model, training, "encoder"
        )
    return model


def test_windows_are_drawn_as_the_shared_encoder_s_are(tmp_path: Path) -> None:
    model, training = build("focal"), prepare(tmp_path)
    assert isinstance(model, focal.Model)
    losses = []
    for window in ("scattered", "scattered", "consecutive"):
        drawn_as = training.context.config.model_copy(update={"context_length": 3, "window": window})
        generator = torch.Generator().manual_seed(5)
        losses.append(focal.metric_loss(model, drawn_as, training.contexts(), generator).item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("method", encoders())
def test_contexts_of_one_task_come_to_lie_together(method: str, tmp_path: Path) -> None:
    model = trained_encoder(method, tmp_path)
    latents = standardise_latents(model, prepare(tmp_path))
    assert torch.allclose(latents.flatten(0, 1).std(0), torch.ones(4), atol=1e-3)
    tasks = torch.arange(4).repeat_interleave(8)
    unseen = draw_contexts(make_data(seed=9), tasks, 6, torch.Generator().manual_seed(0), full=True)
    with torch.no_grad():
        distances = torch.cdist(model.encode(*unseen), model.encode(*unseen))
    same = tasks[:, None] == tasks[None]
    assert float(distances[same].mean()) < 0.5 * float(distances[~same].mean())


def test_the_relabeller_tells_what_another_task_would_have_paid(tmp_path: Path) -> None:
    model, training = build("corro"), prepare(tmp_path)
    assert isinstance(model, corro.Model)
    model.config = SECTIONS["corro"].model_copy(update={"encoder_steps": 400, "task_batch": 8})
    relabeller = corro.make_relabeller(model, training)
    fit_part(relabeller, partial(corro.relabelling_loss, model, relabeller), model, training, "relabeller")
    rows = make_data(seed=9).transitions[0, 0]
    with torch.no_grad():
        paid = relabeller.relabel(rows, torch.tensor(3), model.normaliser)
    reward = SIZES.observation + SIZES.action
    assert torch.equal(paid[:, :reward], rows[:, :reward])
    assert float((paid[:, reward] - (rows[:, reward] - 3)).abs().mean()) < 0.5, "task 3 pays three less than task 0"


def test_one_task_is_not_enough(tmp_path: Path) -> None:
    training = prepare(tmp_path)
    alone = type(training)(training.episodes, [0], training.context, training.generator, training.checkpoint)
    with pytest.raises(InputError, match="1 training task with data; encoders that distinguish tasks need two or more"):
        focal.train(focal.Model(SIZES, SECTIONS["focal"]), alone)
