"""The results that the repository shows keep what it says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from metadiffuser import paths
from metadiffuser.artifacts import read_json
from metadiffuser.envs import Task
from metadiffuser.envs.point_robot import optimal_return
from tests.conftest import ROOT


def dataset(family: str) -> dict[str, Any]:
    return dict(read_json(ROOT / paths.DATASET_METRICS.format(preset="quick", family=family)))


def expert_returns(family: str) -> list[float]:
    """Mean return of each task's expert."""
    return [float(np.mean(episodes)) for episodes in dataset(family)["returns"]["expert"].values()]


def score(family: str, context: str) -> float:
    """Mean normalised score of the dual guide on unseen tasks, computed anew from the per-episode returns."""
    template = paths.PLANNER_METRICS
    metrics = read_json(ROOT / template.format(preset="quick", family=family, representation="generalised", seed=0))
    (cell,) = (
        cell
        for cell in metrics["cells"]
        if (cell["method"], cell["guide"], cell["context"]) == ("metadiffuser", "dual", context)
    )
    anchors = dataset(family)["anchors"]
    scores = []
    for task, returns in cell["returns"].items():
        low, high = anchors[task]["random"], anchors[task]["expert"]
        scores.append(100 * (float(np.mean(returns)) - low) / (high - low))
    return float(np.mean(scores))


def test_point_robot_experts_are_near_the_exact_optimum() -> None:
    tasks = [Task.from_json(record) for record in dataset("point_robot")["tasks"]]
    optimum = np.mean([optimal_return(np.array(task.parameters["goal"])) for task in tasks])
    assert np.mean(expert_returns("point_robot")) > 1.15 * optimum


def test_cheetah_experts_run_at_their_speed() -> None:
    assert np.mean(expert_returns("cheetah_vel")) > -90


@pytest.mark.parametrize(("family", "bar"), [("point_robot", 85.0), ("cheetah_vel", 50.0)])
def test_the_planner_is_good_on_unseen_tasks_because_of_the_right_context(family: str, bar: float) -> None:
    assert score(family, "expert") > bar
    assert score(family, "wrong_task") < score(family, "expert") - 50
