"""Small edits to behaviour and its collection: streams, the place of a stored policy, qualities, target entropy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from metadiffuser.behaviour import training
from metadiffuser.behaviour.collection import Collector
from metadiffuser.behaviour.policies import Trained
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
