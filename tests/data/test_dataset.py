"""The datasets of a family: each quality is what collects it, and the metrics are of what is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from metadiffuser.artifacts import write_json
from metadiffuser.behaviour.collection import Collector, collect
from metadiffuser.data.dataset import Anchors, Collected, FamilyDataset
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import read_family
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.shared.tasks import draw_tasks, read_left_out, read_tasks

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
    """Collects episodes of constant reward, whose quality shows in the reward; task 1's expert gains little."""

    family, tasks = FAMILY, TASKS

    def anchors(self) -> Anchors:
        return {task.index: {"random": -9.5, "expert": -9.0 if task.index == 1 else -3.5} for task in TASKS}

    def collect(self, quality: str, anchors: Anchors) -> Collected:
        assert anchors == self.anchors()
        return collected(quality)

    def transfer(self, kept: Sequence[Task]) -> dict[str, dict[str, list[float]]]:
        return {"own": {str(task.index): [-3.5] for task in kept}}


def collect_fakes(qualities: list[str], least_gain: float = 0.0) -> FamilyDataset:
    return collect(cast(Collector, FakeCollector()), qualities, least_gain)


@pytest.fixture
def dataset() -> FamilyDataset:
    return collect_fakes(["mixed", "medium", "random", "expert"])


def test_every_quality_is_collected_by_its_own_policies(dataset: FamilyDataset) -> None:
    assert {quality: found.mean_return(0) for quality, found in dataset.collected.items()} == {
        quality: 3 * paid for quality, paid in PAID.items()
    }
    assert list(collect_fakes(["medium"]).collected) == ["medium"]


def test_metrics_are_of_what_is_written(dataset: FamilyDataset, tmp_path: Path) -> None:
    dataset.write(tmp_path, FAMILY)
    metrics: dict[str, Any] = dataset.metrics(FAMILY)
    stored = read_family(tmp_path, TASKS, list(PAID))
    for quality, by_task in stored.items():
        assert metrics["returns"][quality] == {str(i): part.returns.tolist() for i, part in by_task.items()}
        assert metrics["policies"][quality] == [{"role": quality}] * 3
    assert metrics["anchors"] == {
        str(index): {"random": -9.5, "expert": expert} for index, expert in enumerate((-3.5, -9.0, -3.5))
    }
    assert (metrics["least_gain"], metrics["tasks_left_out"]) == (0.0, [])
    assert (metrics["episodes"], metrics["transitions"]) == (4 * 3 * 2, 4 * 3 * 2 * 3)
    assert [task["index"] for task in metrics["tasks"]] == [0, 1, 2]
    assert set(metrics["optimum"]) == {"0", "1", "2"}


def test_tasks_on_which_the_expert_gains_little_are_left_out(tmp_path: Path) -> None:
    found = collect_fakes(["random", "expert"], least_gain=0.25)
    found.write(tmp_path, FAMILY)
    metrics = found.metrics(FAMILY)
    assert [entry["index"] for entry in metrics["tasks_left_out"]] == [1]
    assert set(metrics["anchors"]) == set(metrics["optimum"]) == set(metrics["returns"]["expert"]) == {"0", "2"}
    assert metrics["policies"]["random"] == [{"role": "random"}] * 2
    assert (metrics["episodes"], metrics["transitions"]) == (2 * 2 * 2, 2 * 2 * 2 * 3)
    assert not list(tmp_path.rglob("*1-expert*"))
    assert set(metrics["transfer"]["own"]) == {"0", "2"}
    assert read_left_out(tmp_path) == {1}
    write_json(tmp_path / "tasks.json", {"family": FAMILY.name, "tasks": [task.to_json() for task in TASKS]})
    assert [task.index for task in read_tasks(tmp_path / "tasks.json", tmp_path)] == [0, 2]
    assert [task.index for task in read_tasks(tmp_path / "tasks.json")] == [0, 1, 2]
