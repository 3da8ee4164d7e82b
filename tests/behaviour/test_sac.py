"""Batched soft actor-critic: its losses, networks, optimiser and replay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from metadiffuser.behaviour.adam import Adam
from metadiffuser.behaviour.networks import LOG_STD, MemberMLP, squashed_sample, unflatten
from metadiffuser.behaviour.replay import Batch, Replay
from metadiffuser.behaviour.sac import SoftActorCritic
from tests.helpers.behaviour import CONFIG, config, generator


def some_batch(members: int, count: int, size: int, actions: int, draws: torch.Generator) -> Batch:
    shapes = [(members, count, size + actions), (members, count), (members, count, size), (members, count)]
    return Batch(*(torch.randn(shape, generator=draws) for shape in shapes))


def shaken(agent: SoftActorCritic) -> SoftActorCritic:
    """Return an agent as if trained: its last layers are no longer small."""
    for seed, network in enumerate((agent.actor, agent.critics, agent.targets)):
        network.flat.copy_(0.5 * torch.randn(network.flat.shape, generator=generator(seed)))
    return agent


def apply(flat: torch.Tensor, network: MemberMLP, inputs: torch.Tensor) -> torch.Tensor:
    """Return what ``network`` makes of ``inputs`` with parameters ``flat``, in operations that autograd follows."""
    *hidden, last = unflatten(flat, network.members, network.sizes)
    for weight, bias in hidden:
        inputs = torch.relu(inputs @ weight + bias)
    return inputs @ last[0] + last[1]


def both_values(
    flat: torch.Tensor, critics: MemberMLP, inputs: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = torch.cat([inputs, actions], dim=-1)
    first, second = apply(flat, critics, torch.cat([pairs, pairs])).squeeze(-1).chunk(2)
    return first, second


def test_all_members_learn_what_each_would_alone() -> None:
    members, size, actions = 3, 5, 2
    together = SoftActorCritic(CONFIG, members, size, actions, generator())
    alone = [SoftActorCritic(CONFIG, 1, size, actions, generator()) for _ in range(members)]
    for member, single in enumerate(alone):
        for name in ("actor", "critics", "targets"):
            several, one = getattr(together, name).layers, getattr(single, name).layers
            rows = [member] if name == "actor" else [member, members + member]
            for ours, theirs in zip(several, one, strict=True):
                theirs[0].copy_(ours[0][rows])
                theirs[1].copy_(ours[1][rows])
    draws = generator(1)
    for step in range(6):
        batch = some_batch(members, 16, size, actions, draws)
        noise = torch.randn((2, members, 16, actions), generator=draws)
        together.update(batch, noise[0], noise[1] if step % 2 == 1 else None, 0.003)
        for member, single in enumerate(alone):
            own = slice(member, member + 1)
            mine = Batch(*(part[own] for part in batch))
            single.update(mine, noise[0, own], noise[1, own] if step % 2 == 1 else None, 0.003)
    for member, single in enumerate(alone):
        for name in ("actor", "critics", "targets"):
            rows = [member] if name == "actor" else [member, members + member]
            for ours, theirs in zip(getattr(together, name).layers, getattr(single, name).layers, strict=True):
                torch.testing.assert_close(ours[0][rows], theirs[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(together.log_temperature[member], single.log_temperature[0])
    assert not torch.allclose(together.actor.layers[0][0][0], together.actor.layers[0][0][1])


def test_critics_follow_the_gradient_of_their_loss() -> None:
    agent = shaken(SoftActorCritic(config(entropy=0.3), 2, 3, 2, generator()))
    batch, noise = some_batch(2, 8, 3, 2, generator(2)), torch.randn((2, 8, 2), generator=generator(3))
    actions, density = squashed_sample(apply(agent.actor.flat, agent.actor, batch.successors), noise)
    ahead = torch.minimum(*both_values(agent.targets.flat, agent.targets, batch.successors, actions))
    goal = batch.rewards + CONFIG.discount * batch.not_done * (ahead - 0.3 * density)
    flat = agent.critics.flat.clone().requires_grad_()
    errors = [(value - goal).square() for value in both_values(flat, agent.critics, batch.inputs, batch.actions)]
    loss = errors[0].mean(dim=1) + errors[1].mean(dim=1)
    loss.sum().backward()
    torch.testing.assert_close(agent.goal(batch, noise), goal)
    torch.testing.assert_close(agent.update_critics(batch, noise, 0.0), loss.detach())
    assert flat.grad is not None
    torch.testing.assert_close(agent.critics.gradient, flat.grad)


def test_the_actor_follows_the_gradient_of_its_loss() -> None:
    agent = shaken(SoftActorCritic(config(entropy=0.3), 2, 3, 2, generator()))
    batch, noise = some_batch(2, 64, 3, 2, generator(2)), torch.randn((2, 64, 2), generator=generator(3))
    flat = agent.actor.flat.clone().requires_grad_()
    outputs = apply(flat, agent.actor, batch.inputs)
    log_std = outputs.chunk(2, dim=-1)[1]
    assert ((log_std > LOG_STD[0]) & (log_std < LOG_STD[1])).any(), "some log standard deviations are free"
    assert (log_std > LOG_STD[1]).any(), "and some are held"
    actions, density = squashed_sample(outputs, noise)
    first, second = both_values(agent.critics.flat, agent.critics, batch.inputs, actions)
    assert 0 < int((first < second).sum()) < first.numel(), "either critic is the lower one somewhere"
    (0.3 * density - torch.minimum(first, second)).mean(dim=1).sum().backward()
    critics = agent.critics.flat.clone()
    entropy = agent.update_actor(batch, noise, 0.0)
    torch.testing.assert_close(entropy, -density.detach().mean(dim=1))
    assert flat.grad is not None
    torch.testing.assert_close(agent.actor.gradient, flat.grad, rtol=1e-4, atol=1e-5)
    assert torch.equal(agent.critics.flat, critics)


def test_targets_move_at_their_rate_and_actor_waits_for_its_turn() -> None:
    agent = SoftActorCritic(CONFIG, 2, 3, 2, generator())
    batch, noise = some_batch(2, 8, 3, 2, generator(2)), torch.randn((2, 2, 8, 2), generator=generator(3))
    targets, actor = agent.targets.flat.clone(), agent.actor.flat.clone()
    assert agent.update(batch, noise[0], None, 0.003)[1] is None
    torch.testing.assert_close(agent.targets.flat, targets + CONFIG.target_rate * (agent.critics.flat - targets))
    assert not torch.equal(agent.targets.flat, targets)
    assert torch.equal(agent.actor.flat, actor)
    agent.update(batch, noise[0], noise[1], 0.003)
    assert not torch.equal(agent.actor.flat, actor)


def test_temperature_rises_when_entropy_is_short_and_stays_when_fixed() -> None:
    batch, noise = some_batch(1, 8, 3, 2, generator(2)), torch.randn((2, 1, 8, 2), generator=generator(3))
    for target, direction in ((10.0, 1), (-10.0, -1)):
        agent = SoftActorCritic(CONFIG, 1, 3, 2, generator())
        agent.target_entropy = target
        before = float(agent.log_temperature)
        agent.update(batch, noise[0], noise[1], 0.003)
        assert np.sign(float(agent.log_temperature) - before) == direction
    fixed = SoftActorCritic(config(entropy=0.2), 1, 3, 2, generator())
    fixed.update(batch, noise[0], noise[1], 0.003)
    assert float(fixed.log_temperature.exp()) == pytest.approx(0.2)


def test_adam_is_that_of_torch() -> None:
    ours = torch.randn(50, generator=generator(1))
    theirs = torch.nn.Parameter(ours.clone())
    mine, reference = Adam(ours), torch.optim.Adam([theirs], fused=True)
    draws = generator(2)
    for rate in (0.1, 0.1, 0.03, 0.001):
        gradient = torch.randn(50, generator=draws)
        theirs.grad = gradient.clone()
        reference.param_groups[0]["lr"] = rate
        reference.step()
        mine.step(gradient, rate)
        assert torch.equal(ours, theirs.detach())
    assert set(mine.state_dict()) == {"steps", "mean", "square"}


def test_log_density_of_squashed_actions() -> None:
    outputs = torch.randn((7, 6), generator=generator(4))
    actions, ours = squashed_sample(outputs, torch.randn((7, 3), generator=generator(5)))
    mean, log_std = outputs.double().chunk(2, dim=-1)
    normal = Normal(mean, log_std.clamp(max=1.0).exp())
    theirs = Independent(TransformedDistribution(normal, [TanhTransform()]), 1).log_prob(actions.double())
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-3)


def test_layers_are_the_memory_that_is_optimised() -> None:
    network = MemberMLP(2, [3, 4, 1], generator())
    inputs = torch.randn((2, 5, 3), generator=generator(1))
    before = network(inputs)
    network.flat.mul_(1.5)
    assert not torch.allclose(before, network(inputs))
    torch.testing.assert_close(network(inputs), apply(network.flat, network, inputs))


def test_replay_overwrites_the_oldest_and_normalises() -> None:
    centre, scale = np.array([[2.0], [1.0]], np.float32), np.array([[4.0], [8.0]], np.float32)
    replay = Replay(2, 10, 3, centre, scale, 1)
    draw = np.random.default_rng(0)
    seen = []
    for number in range(4):
        successors = draw.normal(5.0, 3.0, (2, 4, 4)).astype(np.float32)
        inputs = np.full((2, 4, 4), number, np.float32)
        flat = np.full((2, 4), number, np.float32)
        replay.add(inputs, flat[..., None], flat, flat, successors)
        seen.append(successors[..., :3])
    assert len(replay) == 10
    (batch,) = replay.sample(1, 500, generator())
    assert set(batch.rewards.unique().tolist()) == {1.0, 2.0, 3.0}
    everything = np.concatenate(seen, axis=1)
    np.testing.assert_allclose(replay.centre[:, :3], everything.mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(replay.scale[:, :3], everything.std(axis=1), rtol=1e-3)
    raw = batch.actions.numpy()  # inputs were the same number as actions
    np.testing.assert_allclose(batch.inputs[..., 3:].numpy(), (raw - centre[:, None]) / scale[:, None], rtol=1e-5)
    centre, scale = replay.centre[:, None, :3], replay.scale[:, None, :3]
    np.testing.assert_allclose(batch.inputs[..., :3].numpy(), (raw - centre) / scale, rtol=1e-4, atol=1e-5)


def test_agents_draw_rows_of_their_own_before_a_replay_is_full() -> None:
    replay = Replay(3, 10, 2, np.zeros((3, 0), np.float32), np.ones((3, 0), np.float32), 1)
    states, numbers = np.zeros((3, 4, 2), np.float32), np.repeat(np.array([[1], [2], [3]], np.float32), 4, axis=1)
    replay.add(states, numbers[..., None], numbers, np.ones_like(numbers), states)
    (batch,) = replay.sample(1, 50, generator())
    assert batch.rewards.tolist() == [[number] * 50 for number in (1.0, 2.0, 3.0)]


def test_the_target_does_not_look_beyond_a_fall() -> None:
    agent = shaken(SoftActorCritic(CONFIG, 1, 3, 2, generator()))
    batch, noise = some_batch(1, 8, 3, 2, generator(2)), torch.randn((1, 8, 2), generator=generator(3))
    ended = batch._replace(not_done=torch.zeros_like(batch.not_done))
    torch.testing.assert_close(agent.goal(ended, noise), batch.rewards)
