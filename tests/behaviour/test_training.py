"""The training loop of behaviour policies: who learns which tasks, what is kept, and resumption to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metadiffuser.behaviour.policies import Trained, rollout, uniform
from metadiffuser.behaviour.training import Trainer, checkpoint_rounds, deal, feature_span, train_shard
from metadiffuser.envs import Family, Task, get_family
from metadiffuser.envs.shared.tasks import draw_tasks
from tests.helpers.behaviour import CONFIG, POINT, config, shard, tasks_of


def trainer(tasks: list[Task], family: Family = POINT, seed: int = 0, **changes: object) -> Trainer:
    settings = config(**changes)
    return Trainer(family, tasks, deal(len(tasks), settings, unseen=False), settings, seed, ("test",), "cpu")


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


def test_teachers_that_learn_all_tasks_act_on_them_in_turn() -> None:
    several = config(teachers=3, teachers_learn="all_tasks", checkpoints=3)
    assert deal(4, several, unseen=False) == [[0, 1, 2, 3]] * 3
    assert deal(2, several, unseen=False) == [[0, 1]] * 2, "no teacher is without a task"
    assert deal(3, several, unseen=True) == [[0, 1, 2]]
    alone = several.model_copy(update={"sharing": "per_task"})
    assert deal(2, alone, unseen=False) == [[0], [1]]
    trained = trainer(tasks_of(POINT, 5), teachers=3, teachers_learn="all_tasks", checkpoints=3)
    assert trained.agents == [0, 1, 2, 0, 1]
    np.testing.assert_array_equal(trained.replay.centre[0], trained.replay.centre[1])
    weights = trained.agent.actor.flat.reshape(3, -1)
    assert not torch.equal(weights[0], weights[1]), "teachers start from weights of their own"


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


def test_an_agents_copies_go_through_all_of_its_tasks_in_turn() -> None:
    """Two copies and five tasks: in five episodes each task is played twice."""
    run = trainer(tasks_of(POINT, 5), teachers=1, steps=200, copies=2, warmup_steps=200, replay_capacity=200)
    run.train()
    size = POINT.observation_size
    played, counts = np.unique(run.replay.rows[0, :, size : size + 2], axis=0, return_counts=True)
    np.testing.assert_array_equal(played, np.unique(run.features, axis=0))
    assert counts.tolist() == [2 * POINT.episode_length] * 5


def test_a_fall_leaves_the_other_copies_where_they_are() -> None:
    family, copies, rounds = get_family("walker_param"), 6, 100
    steps = copies * rounds
    run = trainer(tasks_of(family, 1), family, steps=steps, warmup_steps=steps, replay_capacity=steps)
    run.train()
    rows = run.replay.rows[0].reshape(rounds, copies, -1)
    inputs = run.replay.inputs
    before, after, up = rows[..., :inputs], rows[..., -inputs:], rows[..., -inputs - 1] == 1.0
    assert (up.any(axis=1) & ~up.all(axis=1)).any(), "some fall while others walk"
    np.testing.assert_array_equal(before[1:][up[:-1]], after[:-1][up[:-1]])
