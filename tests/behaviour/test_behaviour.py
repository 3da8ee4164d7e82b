"""Behaviour policies: batched soft actor-critic, its training loop and the collection of episodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from metadiffuser.behaviour.adam import Adam
from metadiffuser.behaviour.collection import Collector, pick_medium
from metadiffuser.behaviour.mixing import Choice
from metadiffuser.behaviour.networks import LOG_STD, MemberMLP, squashed_sample, unflatten
from metadiffuser.behaviour.policies import Policies, Trained, assign, rollout, uniform
from metadiffuser.behaviour.replay import Batch, Replay
from metadiffuser.behaviour.sac import SoftActorCritic
from metadiffuser.behaviour.training import Trainer, checkpoint_rounds, deal, feature_span, train_shard
from metadiffuser.config.schema import Behaviour
from metadiffuser.envs import FAMILIES, Family, Task, get_family
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.errors import InputError

CONFIG = Behaviour(
    threads=1,
    sharing="task_conditioned",
    teachers=2,
    steps=480,
    copies=6,
    terminate_when_unhealthy=True,
    symmetries=True,
    warmup_steps=60,
    updates_per_step=0.25,
    actor_interval=2,
    batch_size=16,
    hidden=[8, 8],
    learning_rate=0.003,
    discount=0.9,
    target_rate=0.05,
    entropy="automatic",
    replay_capacity=300,
    checkpoints=4,
    evaluation_episodes=1,
)
POINT = get_family("point_robot")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny networks on several threads wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def generator(seed: int = 0) -> torch.Generator:
    result = torch.Generator()
    result.manual_seed(seed)
    return result


def tasks_of(family: Family, count: int) -> list[Task]:
    return draw_tasks(family, count, 0, np.random.default_rng(5))


def config(**changes: object) -> Behaviour:
    return Behaviour.model_validate(CONFIG.model_dump() | changes)


def trainer(tasks: list[Task], family: Family = POINT, seed: int = 0, **changes: object) -> Trainer:
    settings = config(**changes)
    return Trainer(family, tasks, deal(len(tasks), settings, unseen=False), settings, seed, ("test",), "cpu")


def shard(tasks: list[Task], family: Family = POINT, **changes: object) -> Trained:
    return train_shard(family, tasks, config(**changes), 0, ("test",), "cpu")[0]


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


@pytest.mark.parametrize("sharing", ["task_conditioned", "per_task"])
def test_resumed_training_ends_with_the_same_bits(
    sharing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = tasks_of(POINT, 4)
    whole, curve = trainer(tasks, sharing=sharing).train()
    again, _ = trainer(tasks, sharing=sharing).train()
    whole.write(tmp_path / "whole.safetensors")
    again.write(tmp_path / "again.safetensors")
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "again.safetensors").read_bytes()

    class KilledError(Exception):
        pass

    class Doomed(Trainer):
        def _episode(self, start: int, progress: object) -> int:
            if start >= 2 * POINT.episode_length:
                raise KilledError
            return super()._episode(start, progress)  # type: ignore[arg-type]

    monkeypatch.setattr("metadiffuser.checkpointing.INTERVAL", 0.0)
    state = tmp_path / "state.safetensors"
    settings = config(sharing=sharing)
    doomed = Doomed(POINT, tasks, deal(4, settings, unseen=False), settings, 0, ("test",), "cpu")
    with pytest.raises(KilledError):
        doomed.train(state)
    resumed, resumed_curve = trainer(tasks, sharing=sharing).train(state)
    resumed.write(tmp_path / "resumed.safetensors")
    assert (tmp_path / "resumed.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert resumed_curve == curve
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_episode", None)  # a run that is done plays nothing
        assert trainer(tasks, sharing=sharing).train(state)[1] == curve
    other, _ = trainer(tasks, seed=1, sharing=sharing).train()
    assert not np.array_equal(other.returns, whole.returns)


def test_training_learns_point_robot() -> None:
    trained, curve = trainer(tasks_of(POINT, 2), steps=6000, hidden=[32, 32], batch_size=64, copies=20).train()
    random = rollout(POINT, tasks_of(POINT, 2), uniform(2, np.random.default_rng(0)), np.random.default_rng(0), 1)
    assert curve[-1]["return"] > 0.5 * float(random.returns.mean())
    assert [record["step"] for record in curve] == list(trained.steps)
    assert curve[-1]["return"] == pytest.approx(trained.returns[-1].mean())
    assert curve[-1]["return_min"] == pytest.approx(trained.returns[-1].min())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_stored_policies_score_what_training_measured(family: Family, tmp_path: Path) -> None:
    tasks = [*tasks_of(family, 2), replace(tasks_of(family, 3)[2], split="test")]
    changes = {"steps": family.episode_length * 2, "copies": 2, "warmup_steps": 20, "checkpoints": 3}
    changes["evaluation_episodes"] = 2
    shards = []
    for number in range(2):
        shard(tasks[number::2], family, **changes).write(tmp_path / f"{number}.safetensors")
        shards.append(Trained.read(tmp_path / f"{number}.safetensors"))
    collector = Collector(family, tasks, [*shards, shard([], family)], 2, 2, 0, 1)
    anchors = collector.anchors()
    for task, choice in zip(tasks, collector.experts, strict=True):
        found = shards[task.index % 2]
        measured = found.returns[choice.checkpoint, list(found.tasks).index(task.index)]
        spread = 1e-3 if family is POINT else 0.4 * abs(measured) + 20.0  # the reset is random
        assert abs(anchors[task.index]["expert"] - measured) <= spread
    expert = collector.expert()
    assert [expert.policies[i]["checkpoint"] for i in range(3)] == [choice.checkpoint for choice in collector.experts]
    assert {policy["actions"] for policy in expert.policies.values()} == {"sampled"}
    assert np.array_equal(collector.expert().episodes[1].actions, expert.episodes[1].actions)
    for quality in ("medium", "mixed", "random"):
        assert all(len(block) == 2 for block in collector.collect(quality, anchors).episodes.values())


def test_shards_that_do_not_cover_the_tasks_are_refused() -> None:
    tasks = tasks_of(POINT, 3)
    with pytest.raises(InputError, match="does not match the task list"):
        Collector(POINT, tasks, [shard(tasks[:2])], 1, 1, 0, 1)


def test_a_shard_without_tasks_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "shard9.safetensors"
    shard([]).write(path)
    read = Trained.read(path)
    assert list(read.tasks) == []
    assert read.policies is None
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match="shard9"):
        Trained.read(path)


def test_environments_follow_the_policy_assigned_to_them() -> None:
    count, size, actions = 4, 3, 2
    draws = generator(8)
    shapes = [(count, size + 1, 2 * actions), (count, 1, 2 * actions), (count, 1, size + 1)]
    weights, biases, centre = (torch.randn(shape, generator=draws) for shape in shapes)
    layers = [(weights, biases)]
    policies = Policies(layers, centre, torch.full_like(centre, 2.0))
    which = [3, 0, 3, 3, 2]
    features = np.arange(5, dtype=np.float32)[:, None]
    observations = np.random.default_rng(1).normal(size=(5, size))
    stochastic = np.array([False, False, True, False, False])
    acted = assign(policies, which, features, stochastic, np.random.default_rng(2))(observations)
    for row, policy in enumerate(which):
        inputs = np.concatenate([observations[row], features[row]]).astype(np.float32)
        weight, bias = (array[policy].numpy() for array in layers[0])
        normal = (inputs - policies.centre[policy, 0].numpy()) / 2.0
        expected = np.tanh(normal @ weight + bias[0])[:actions]
        assert np.allclose(acted[row], expected, atol=1e-5) != stochastic[row]


def test_medium_is_nearest_to_half_way() -> None:
    returns = np.array([-100.0, -95.0, -52.0, -12.0])
    assert pick_medium(returns, -100.0, -10.0) == Choice(2, sampled=True)
    assert pick_medium(returns, -100.0, -80.0) == Choice(1, sampled=True)
    assert pick_medium(np.array([-10.0, -10.0]), -30.0, -10.0) == Choice(0, sampled=True)


def test_task_vectors_span_minus_one_to_one() -> None:
    vectors = np.stack([task.vector for task in tasks_of(POINT, 6)]).astype(np.float32)
    centre, scale = feature_span(vectors)
    normal = (vectors - centre) / scale
    np.testing.assert_allclose(normal.min(axis=0), -1.0, atol=1e-6)
    np.testing.assert_allclose(normal.max(axis=0), 1.0, atol=1e-6)
    centre, scale = feature_span(vectors[:1])
    assert np.all((vectors[:1] - centre) / scale == 0.0)


def test_tasks_are_dealt_out_to_teachers_in_turn() -> None:
    three = config(teachers=3)
    assert deal(7, three, unseen=False) == [[0, 3, 6], [1, 4], [2, 5]]
    assert deal(2, three, unseen=False) == [[0], [1]], "no teacher is without a task"
    assert deal(3, three, unseen=True) == [[0, 1, 2]], "unseen tasks have one agent"
    for unseen in (False, True):
        assert deal(2, config(sharing="per_task"), unseen=unseen) == [[0], [1]]


@pytest.mark.parametrize("sharing", ["task_conditioned", "per_task"])
@pytest.mark.parametrize("family", ["point_robot", "hopper_param"])
def test_nothing_of_an_unseen_task_reaches_the_policies_of_training_tasks(family: str, sharing: str) -> None:
    """Other unseen tasks, and more of them, leave the same bits in every network that acts in training data."""
    chosen = get_family(family)
    drawn = tasks_of(chosen, 8)
    changes = {"sharing": sharing, "teachers": 3, "checkpoints": 3}

    def trained(unseen: list[Task]) -> Trained:
        return shard([*drawn[:4], *(replace(task, split="test") for task in unseen)], chosen, **changes)

    few, other = trained(drawn[4:5]), trained(drawn[5:8])
    assert few.policies is not None
    assert other.policies is not None
    for task in range(4):
        assert few.agent(task) < min(few.agent(4), other.agent(5)), "unseen tasks have agents of their own"
        np.testing.assert_array_equal(few.returns[:, task], other.returns[:, task])
        for checkpoint in range(3):
            mine = few.policies.select([few.index(checkpoint, task)])
            theirs = other.policies.select([other.index(checkpoint, task)])
            for ours, others in zip(mine.layers, theirs.layers, strict=True):
                assert torch.equal(ours[0], others[0])
                assert torch.equal(ours[1], others[1])
            assert torch.equal(mine.centre, theirs.centre)
            assert torch.equal(mine.scale, theirs.scale)


def test_a_teacher_knows_its_own_tasks_alone() -> None:
    drawn = tasks_of(POINT, 5)
    swapped = [*drawn[:3], replace(drawn[4], index=3)]  # of the second of two teachers
    mine, theirs = (trainer(tasks).train()[0] for tasks in (drawn[:4], swapped))
    assert mine.policies is not None
    assert theirs.policies is not None
    for number, same in ((mine.index(3, 0), True), (mine.index(3, 2), True), (mine.index(3, 1), False)):
        pair = [policies.select([number]).layers[1][0] for policies in (mine.policies, theirs.policies)]
        assert torch.equal(*pair) == same
    np.testing.assert_array_equal(mine.returns[:, [0, 2]], theirs.returns[:, [0, 2]])
    assert not np.array_equal(mine.returns[:, 1], theirs.returns[:, 1])


def test_checkpoints_are_denser_early_and_follow_warm_up() -> None:
    assert checkpoint_rounds(1000, 100, 3) == [200, 500, 1000]
    for rounds, warmup, count in ((15625, 62, 40), (50, 20, 10), (12, 10, 5), (4, 3, 4)):
        marks = checkpoint_rounds(rounds, warmup, count)
        assert len(marks) == count
        assert marks[-1] == rounds
        assert marks[0] >= 1
        assert (np.diff(marks) >= 1).all()


def test_the_curve_of_a_shard_is_over_all_of_its_tasks() -> None:
    tasks = [*tasks_of(POINT, 3), replace(tasks_of(POINT, 4)[3], split="test")]
    trained, curve = train_shard(POINT, tasks, CONFIG, 0, ("test",), "cpu")
    assert list(trained.tasks) == [0, 1, 2, 3]
    assert list(trained.agents) == [0, 1, 0, 2]
    assert [record["step"] for record in curve] == list(trained.steps)
    assert [record["return"] for record in curve] == trained.returns.mean(axis=1).tolist()
    assert [record["return_min"] for record in curve] == trained.returns.min(axis=1).tolist()
    assert all(np.isfinite(record["critic_loss"]) and np.isfinite(record["entropy"]) for record in curve)


def test_fallen_robots_start_anew_and_their_value_ends() -> None:
    family = get_family("walker_param")
    tasks = tasks_of(family, 2)

    def stored(terminate: bool) -> tuple[Trainer, np.ndarray]:
        run = trainer(tasks, family, steps=6 * 150, warmup_steps=6 * 150, terminate_when_unhealthy=terminate)
        run.train()
        rows = run.replay.rows[0, : len(run.replay)]
        return run, rows

    run, rows = stored(terminate=True)
    size, inputs = family.observation_size, run.replay.inputs
    before, after, not_done = rows[:, :size], rows[:, -inputs:][:, :size], rows[:, -inputs - 1]
    assert family.healthy is not None
    np.testing.assert_array_equal(not_done == 1.0, family.healthy(after))
    assert (not_done == 0.0).any(), "random walkers fall"
    assert family.healthy(before).all(), "no step starts from a fall"
    _, rows = stored(terminate=False)
    assert (rows[:, -inputs - 1] == 1.0).all()
    assert not family.healthy(rows[:, :size]).all()


def test_the_target_does_not_look_beyond_a_fall() -> None:
    agent = shaken(SoftActorCritic(CONFIG, 1, 3, 2, generator()))
    batch, noise = some_batch(1, 8, 3, 2, generator(2)), torch.randn((1, 8, 2), generator=generator(3))
    ended = batch._replace(not_done=torch.zeros_like(batch.not_done))
    torch.testing.assert_close(agent.goal(ended, noise), batch.rewards)


def test_experts_of_symmetric_tasks_are_collected_through_the_symmetry() -> None:
    """One policy for a standard direction earns the same in the directions that are its images."""
    family = get_family("ant_dir")
    first = draw_tasks(family, 1, 0, np.random.default_rng(5))[0]
    images = [first.with_vector(symmetry.tasks @ first.vector) for symmetry in family.symmetries]
    tasks = [Task(index, "train", image.parameters) for index, image in enumerate(images)]
    assert {task.vector.tobytes() for task in trainer(tasks, family).tasks} == {
        trainer(tasks[:1], family).tasks[0].vector.tobytes()
    }
    assert len({task.vector.tobytes() for task in trainer(tasks, family, symmetries=False).tasks}) == 8
