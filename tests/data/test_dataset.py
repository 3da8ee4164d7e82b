"""The datasets of a family: each quality is what collects it, and the metrics are of what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from metadiffuser.behaviour.collection import Collector, collect
from metadiffuser.data.dataset import Collected, FamilyDataset
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import read_family
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import draw_tasks

FAMILY = get_family("point_robot")
TASKS = draw_tasks(FAMILY, 2, 1, np.random.default_rng(0))
PAID = {"random": -3.0, "medium": -2.0, "mixed": -1.5, "expert": -1.0}  # by every step of three


def collected(quality: str) -> Collected:
    episodes = Episodes(
        np.zeros((2, 4, 2), np.float32), np.zeros((2, 3, 2), np.float32), np.full((2, 3), PAID[quality], np.float32)
    )
    indices = [task.index for task in TASKS]
    return Collected(dict.fromkeys(indices, episodes), {index: {"role": quality} for index in indices})


class FakeCollector:
    """Collects episodes of constant reward, whose quality shows in the reward."""

    tasks = TASKS

    def random(self) -> Collected:
        return collected("random")

    def expert(self) -> Collected:
        return collected("expert")

    def medium(self, random: Collected, expert: Collected) -> Collected:
        assert random.mean_return(0) < expert.mean_return(0)
        return collected("medium")

    def mixed(self) -> Collected:
        return collected("mixed")


@pytest.fixture
def dataset() -> FamilyDataset:
    return collect(cast(Collector, FakeCollector()), ["mixed", "medium", "random", "expert"])


def test_every_quality_is_collected_by_its_own_policies(dataset: FamilyDataset) -> None:
    assert {quality: found.mean_return(0) for quality, found in dataset.collected.items()} == {
        quality: 3 * paid for quality, paid in PAID.items()
    }
    assert list(collect(cast(Collector, FakeCollector()), ["medium"]).collected) == ["medium"]


def test_metrics_are_of_what_is_written(dataset: FamilyDataset, tmp_path: Path) -> None:
    dataset.write(tmp_path, FAMILY)
    metrics: dict[str, Any] = dataset.metrics(FAMILY)
    stored = read_family(tmp_path, TASKS, list(PAID))
    for quality, by_task in stored.items():
        assert metrics["returns"][quality] == {str(i): part.returns.tolist() for i, part in by_task.items()}
        assert metrics["policies"][quality] == [{"role": quality}] * 3
    assert metrics["anchors"] == {str(task.index): {"random": -9.0, "expert": -3.0} for task in TASKS}
    assert (metrics["episodes"], metrics["transitions"]) == (4 * 3 * 2, 4 * 3 * 2 * 3)
    assert [task["index"] for task in metrics["tasks"]] == [0, 1, 2]
    assert set(metrics["optimum"]) == {"0", "1", "2"}
