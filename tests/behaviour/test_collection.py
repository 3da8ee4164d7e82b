"""Stored behaviour policies and the episodes collected with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metadiffuser.behaviour import collection, training
from metadiffuser.behaviour.collection import Collector, pick_medium
from metadiffuser.behaviour.mixing import Choice
from metadiffuser.behaviour.policies import Policies, Trained, assign
from metadiffuser.envs import FAMILIES, Family
from metadiffuser.errors import InputError
from metadiffuser.seeding import numpy_generator
from tests.helpers.behaviour import POINT, generator, shard, tasks_of


class Centre(np.random.Generator):
    """Draws the middle of every distribution: all episodes start in the same state."""

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return np.zeros(size) + (np.asarray(low) + np.asarray(high)) / 2

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        return np.zeros(size, dtype)


def centred(seed: int, *names: str | int) -> np.random.Generator:
    """Stand in for ``numpy_generator``, without chance where episodes of the mean's actions start."""
    measured = {"evaluation", "finalists", "anchors/expert"}
    return Centre(np.random.PCG64(0)) if measured & set(names) else numpy_generator(seed, *names)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
@pytest.mark.slow
def test_stored_policies_score_what_training_measured(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "numpy_generator", centred)
    monkeypatch.setattr(collection, "numpy_generator", centred)
    family = replace(family, episode_length=min(family.episode_length, 50))
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
        assert anchors[task.index]["expert"] == pytest.approx(measured, rel=1e-3)
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
