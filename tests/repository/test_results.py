"""The results that the repository shows keep what it says of them."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pytest

from metadiffuser import paths
from metadiffuser.artifacts import read_json
from metadiffuser.config.loading import load
from metadiffuser.envs import Task
from metadiffuser.envs.point_robot import optimal_return
from metadiffuser.reporting.style import family_words
from tests.conftest import ROOT

LAPTOP = load(ROOT / "presets" / "laptop.yaml")
TITLES = {  # of the methods in the recorded tables
    "bc": "Behaviour cloning with z",
    "focal": "FOCAL",
    "corro": "CORRO",
    "macaw": "MACAW",
    "cvae_planner": "CVAE-Planner",
    "prompt_dt": "Prompt-DT",
    "meta_dt": "Meta-DT",
}
TABLES = ROOT / paths.TABLES.format(preset="laptop")


def dataset(family: str, preset: str = "quick") -> dict[str, Any]:
    return dict(read_json(ROOT / paths.DATASET_METRICS.format(preset=preset, family=family)))


def expert_returns(family: str) -> list[float]:
    """Mean return of each task's deterministic expert."""
    return [anchor["expert"] for anchor in dataset(family)["anchors"].values()]


def score(family: str, context: str) -> float:
    """Mean normalised score of the dual guide on unseen tasks, computed anew from the per-episode returns."""
    template = paths.PLANNER_METRICS
    metrics = read_json(ROOT / template.format(preset="quick", family=family, representation="generalised", seed=0))
    (cell,) = (
        cell
        for cell in metrics["cells"]
        if (cell["method"], cell["guide"], cell["context"]) == ("metadiffuser", "dual", context)
    )
    return normalised(cell["returns"], dataset(family)["anchors"])


def normalised(by_task: dict[str, list[float]], anchors: dict[str, dict[str, float]]) -> float:
    """Mean over tasks of the normalised mean return."""
    spans = {task: (anchors[task]["random"], anchors[task]["expert"]) for task in by_task}
    scores = [100 * (np.mean(by_task[task]) - low) / (high - low) for task, (low, high) in spans.items()]
    return float(np.mean(scores))


def column(table: str, family: str) -> dict[str, float]:
    """Scores of a family in a table of the laptop preset, by method."""
    with (TABLES / f"{table}.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {row["Method"]: float(row[f"{family_words(family)} score"]) for row in rows}


def test_the_scores_by_quality_of_the_data_are_those_of_the_metrics() -> None:
    with (ROOT / f"{paths.GUIDE_BY_DATA}.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    keys = {family_words(family): family for family in load(ROOT / "presets" / "pilot.yaml").families}
    assert {row["Preset"] for row in rows} == {"random", "medium", "pilot", "expert"}
    for row in rows:
        preset, family = row["Preset"], keys[row["Family"]]
        place = paths.PLANNER_METRICS.format(preset=preset, family=family, representation="generalised", seed="*")
        anchors = dataset(family, preset)["anchors"]
        found = [
            normalised(cell["returns"], anchors)
            for path in sorted(ROOT.glob(place))
            for cell in read_json(path)["cells"]
            if (cell["method"], cell["guide"], cell["context"]) == ("metadiffuser", row["Guide"], "expert")
        ]
        assert len(found) == 3, row
        assert float(row["score"]) == pytest.approx(np.mean(found), abs=1e-6), row


def test_point_robot_experts_are_near_the_exact_optimum() -> None:
    tasks = [Task.from_json(record) for record in dataset("point_robot")["tasks"]]
    optimum = np.mean([optimal_return(np.array(task.parameters["goal"])) for task in tasks])
    assert np.mean(expert_returns("point_robot")) > 1.15 * optimum


def test_cheetah_experts_run_at_their_speed() -> None:
    random = np.mean([anchors["random"] for anchors in dataset("cheetah_vel")["anchors"].values()])
    assert np.mean(expert_returns("cheetah_vel")) > 0.4 * random, "how far it is short differs by kind of processor"


@pytest.mark.parametrize(("family", "bar", "worse"), [("point_robot", 80.0, 50.0), ("cheetah_vel", 40.0, 10.0)])
def test_the_planner_is_good_on_unseen_tasks_because_of_the_right_context(
    family: str, bar: float, worse: float
) -> None:
    assert score(family, "expert") > bar
    assert score(family, "wrong_task") < score(family, "expert") - worse


@pytest.mark.parametrize("family", ["point_robot", "cheetah_vel"])
def test_on_mixed_data_the_planner_is_better_than_cloning(family: str) -> None:
    record = read_json(ROOT / paths.BASELINE_METRICS.format(preset="quick", family=family, method="bc", seed=0))
    (cell,) = (cell for cell in record["cells"] if cell["context"] == "expert")
    assert score(family, "expert") > normalised(cell["returns"], dataset(family)["anchors"]) + 10


@pytest.mark.parametrize("family", LAPTOP.families)
def test_the_laptop_tables_are_those_of_its_episodes(family: str) -> None:
    anchors = dataset(family, "laptop")["anchors"]
    place = {"preset": "laptop", "family": family, "representation": "generalised", "seed": 0}
    records = {"MetaDiffuser": read_json(ROOT / paths.PLANNER_METRICS.format(**place))}
    for method in LAPTOP.baselines:
        records[TITLES[method]] = read_json(ROOT / paths.BASELINE_METRICS.format(**place, method=method))
    unseen, trained = column("table1_few_shot", family), column("training_tasks", family)
    for title, record in records.items():
        cell = next(cell for cell in record["cells"] if cell["context"] == "expert")
        shown = "MetaDiffuser (dual guide)" if title == "MetaDiffuser" else title
        assert unseen[shown] == pytest.approx(normalised(cell["returns"], anchors), abs=1e-4)
        (cell,) = record["training_tasks"]
        assert trained[title] == pytest.approx(normalised(cell["returns"], anchors), abs=1e-4)


@pytest.mark.parametrize(
    ("family", "target"), [("point_robot", 90), ("cheetah_vel", 85), ("cheetah_dir", 90), ("ant_dir", 75)]
)
def test_in_goal_families_the_laptop_planner_comes_near_the_expert(family: str, target: float) -> None:
    scores = column("table1_few_shot", family)
    assert scores["MetaDiffuser (dual guide)"] > target
    assert scores["MetaDiffuser, another task's context"] < scores["MetaDiffuser (dual guide)"] - 50
