"""Small edits to behaviour and its collection: streams, places, qualities, target entropy, step size, experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from metadiffuser.behaviour import training
from metadiffuser.behaviour.collection import FINALISTS, Collector
from metadiffuser.behaviour.mixing import Choice
from metadiffuser.behaviour.policies import Trained
from metadiffuser.behaviour.replay import Batch
from metadiffuser.behaviour.sac import SoftActorCritic
from metadiffuser.behaviour.training import Trainer
from tests.helpers.behaviour import CONFIG, POINT, generator, shard, tasks_of


def test_agents_of_training_and_of_unseen_tasks_draw_from_streams_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams: list[Sequence[str]] = []

    class Noted(Trainer):
        def __init__(self, *given: Any):
            streams.append(tuple(given[5]))
            super().__init__(*given)

    monkeypatch.setattr(training, "Trainer", Noted)
    drawn = tasks_of(POINT, 2)
    shard([drawn[0], replace(drawn[1], split="test")], steps=120)
    assert len(streams) == len(set(streams)) == 2


def test_anchors_are_measured_on_other_episodes_than_those_of_the_data() -> None:
    tasks = tasks_of(POINT, 2)
    collector = Collector(POINT, tasks, [shard(tasks, steps=120)], 2, 2, 0, 1)
    anchors, data = collector.anchors(), collector.random()
    for task in tasks:
        assert anchors[task.index]["random"] != pytest.approx(data.mean_return(task.index), abs=1e-6)


@pytest.mark.parametrize("actions", [2, 6])
def test_the_target_entropy_is_half_a_nat_below_nought_an_action(actions: int) -> None:
    agent = SoftActorCritic(CONFIG, 1, 3, actions, generator())
    assert agent.target_entropy == pytest.approx(-0.5 * actions)


def test_the_step_size_falls_in_the_last_part_of_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[float] = []

    def noted(self: SoftActorCritic, batch: Batch, noise: Any, actor_noise: Any, rate: float) -> tuple[Any, None]:
        sizes.append(rate)
        return torch.zeros(len(batch.rewards)), None

    monkeypatch.setattr(SoftActorCritic, "update", noted)
    shard(tasks_of(POINT, 1))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[len(sizes) // 2] == CONFIG.learning_rate
    assert 0 < sizes[-1] < 0.1 * CONFIG.learning_rate


def test_the_expert_is_one_of_the_checkpoints_that_did_best_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[list[int]] = []

    def again(self: Collector, name: str, choices: Sequence[Sequence[Choice]]) -> dict[int, Any]:
        measured.extend([choice.checkpoint for choice in several] for several in choices)
        return {task.index: SimpleNamespace(returns=np.arange(float(FINALISTS))) for task in self.tasks}

    monkeypatch.setattr(Collector, "_run", again)
    collector: Any = object.__new__(Collector)
    collector.tasks, collector.anchor_episodes = tasks_of(POINT, 2), 1
    collector.deterministic = np.array([[-7.0, -6, -5, -4, -3, -2, -1], [-1.0, -2, -3, -4, -5, -6, -7]])
    experts = [choice.checkpoint for choice in collector.experts]
    assert measured == [[6, 5, 4, 3, 2], [0, 1, 2, 3, 4]]
    assert experts == [2, 4], "the best of them as measured again"


def test_policies_lie_checkpoint_by_checkpoint_and_agent_by_agent() -> None:
    trained = Trained(POINT.name, {}, [4, 7, 9], [0, 1, 0], [10, 20, 30], np.zeros((3, 3)), None)
    places = {(checkpoint, task): trained.index(checkpoint, task) for checkpoint in range(3) for task in (4, 7, 9)}
    assert [places[checkpoint, 4] for checkpoint in range(3)] == [0, 2, 4]
    assert [places[checkpoint, 7] for checkpoint in range(3)] == [1, 3, 5]
    assert [places[checkpoint, 9] for checkpoint in range(3)] == [0, 2, 4], "both are of the first agent"


def test_every_quality_is_collected_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Collector, "random", lambda _: "random")
    monkeypatch.setattr(Collector, "expert", lambda _: "expert")
    monkeypatch.setattr(Collector, "medium", lambda _, anchors: ("medium", anchors))
    monkeypatch.setattr(Collector, "mixed", lambda _, anchors: ("mixed", anchors))
    collector: Any = object.__new__(Collector)
    found = {quality: collector.collect(quality, {}) for quality in ("random", "expert", "medium", "mixed")}
    assert found == {"random": "random", "expert": "expert", "medium": ("medium", {}), "mixed": ("mixed", {})}
