"""The card of a dataset: numbers that a hand computes, words that are true, the same bytes every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.patches import Rectangle

from metadiffuser.reporting.card import card, histograms, write_card
from tests.helpers import fabricated

POLICIES: dict[str, list[dict[str, Any]]] = {
    "expert": [{"step": 900, "actions": "mean"}, {"step": 1000, "actions": "mean"}],
    "medium": [{"step": 300, "actions": "mean"}, {"step": 300, "actions": "sampled"}],
    "random": [{"algorithm": "uniform"}],
    "mixed": [{"steps": [100, 1000], "actions": "sampled"}],
}
MADE = {"policies": POLICIES, "bytes": 1}
METRICS = fabricated.dataset_metrics("point_robot")
IMPORTED = METRICS | {
    "source": "imported",
    "imported": "ab" * 16,
    "labels": "ranked",
    "left_out": 0,
    "joined": True,
    "reward_difference": 2.5e-7,
    "state_difference": 1.5e-4,
    "steps": 12000,
    "not_restored": 1500,
}


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of the returns' table by task."""
    lines = [line.strip("| ").split(" | ") for line in text.split("## Returns")[1].splitlines() if line[:1] == "|"]
    return {cells[0]: cells[1:] for cells in lines}


def test_numbers_are_those_of_the_metrics() -> None:
    text = card("Point-Robot", METRICS | {"policies": POLICIES, "bytes": 12_345_678})
    found = rows(text)
    assert found["task"] == ["split", "parameters", "expert", "medium", "random", "mixed"]
    assert len(found) == 2 + fabricated.TRAIN + fabricated.TEST
    goal = METRICS["tasks"][0]["parameters"]["goal"]
    assert found["0"][:2] == ["training", f"goal {goal[0]:.3g}, {goal[1]:.3g}"]
    for place, quality in enumerate(("expert", "medium", "random", "mixed"), start=2):
        returns = METRICS["returns"][quality]["7"]
        assert found["7"][place] == f"{sum(returns) / 4:.1f} [{min(returns):.1f}, {max(returns):.1f}]"
    # Half way from -18 to -3, 0.9 and 1.8 points of return above and below.
    assert found["0"][2:5] == ["-3.0 [-4.8, -1.2]", "-10.5 [-12.3, -8.7]", "-18.0 [-19.8, -16.2]"]
    assert found["16"][0] == "unseen"
    assert "| tasks | 12 training, 6 unseen |" in text
    assert "| episodes | 288 of 20 steps |" in text
    assert "| transitions | 5,760 |" in text
    assert "| size on disk | 12.3 MB |" in text


def test_it_says_how_generated_data_were_made() -> None:
    text = card("Point-Robot", METRICS | MADE)
    assert "soft actor-critic" in text
    assert "best checkpoint by deterministic return; environment step 900 to 1,000 of training, actions: mean" in text
    assert "half way between random and expert; where none is near, the expert with uniform actions" in text
    assert "at a share of the steps; environment step 300 of training, actions: mean or sampled" in text
    assert "spread evenly from random to expert; environment step 100 to 1,000 of training, actions: sampled" in text
    assert "**random**: actions drawn uniformly from [-1, 1]\n" in text
    assert "mport" not in text


def test_it_says_which_tasks_are_left_out_and_by_what_rule() -> None:
    rule = "by less than 0.3 of the training tasks' median are left out of the datasets and of all that follows:"
    assert f"{rule} none." in card("Point-Robot", METRICS | MADE)
    out = [{"index": 48, "split": "test", "parameters": {}, "random": 200.04, "expert": 270.0}]
    text = card("Hopper-Param", METRICS | MADE | {"tasks_left_out": out})
    assert f"{rule}\n\n| task | split | random | expert |\n|---|---|---|---|\n| 48 | unseen | 200.0 | 270.0 |" in text
    assert "No task is left out" in card("Point-Robot", METRICS | MADE | {"least_gain": 0.0})


def test_it_claims_nothing_of_imported_data_that_is_not_known() -> None:
    text = card(
        "Point-Robot", IMPORTED | {"policies": {key: [{"algorithm": "imported"}] for key in POLICIES}, "bytes": 1}
    )
    for word in ("actor-critic", "checkpoint", "uniform", "left out"):
        assert word not in text
    assert "what policies played the episodes is not known here" in text
    assert "**random**: the worst third of the task's episodes by return" in text
    assert "reward function by 2.5e-07 at most, next observations from its physics by 0.00015. 1,500 of 12,000" in text
    assert "steps were not compared: their observations show velocities at the edge" in text
    assert "anchors are the means of these expert and random episodes" in text
    labelled = IMPORTED | {"labels": "given", "left_out": 7, "joined": False, "reward_difference": None}
    text = card("Ant-Dir", labelled | {"policies": {key: [{}] for key in POLICIES}, "bytes": 1})
    assert "ranking" not in text
    assert "**mixed**: as labelled" in text
    assert "Nothing was compared with the family's own rewards and physics: its simulator cannot be put into" in text
    assert "7 episodes were left out" in text


def test_many_parameters_are_left_out_of_the_table() -> None:
    many = METRICS | {"tasks": [task | {"parameters": {"mass": [1.0] * 7}} for task in METRICS["tasks"]]}
    assert rows(card("Hopper-Param", many | MADE))["task"] == ["split", "expert", "medium", "random", "mixed"]


def test_histograms_count_every_episode_on_common_bins() -> None:
    figure = histograms("Point-Robot", METRICS)
    panels = figure.axes
    assert [panel.get_title(loc="left").split()[1] for panel in panels] == ["expert", "medium", "random", "mixed"]
    edges = []
    for panel in panels:
        bars = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
        assert sum(bar.get_height() for bar in bars) == fabricated.EPISODES * (fabricated.TRAIN + fabricated.TEST)
        edges.append([round(bar.get_x(), 6) for bar in bars])
    assert edges[0] == edges[1] == edges[2] == edges[3]


@pytest.mark.parametrize("value", [-3.0, 0.0])
def test_equal_returns_can_be_drawn(value: float) -> None:
    same = {name: {task: [value] for task in by_task} for name, by_task in METRICS["returns"].items()}
    assert len(histograms("Point-Robot", METRICS | {"returns": same}).axes) == 4


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_card(tmp_path / name, METRICS | MADE)
    assert {path.name for path in (tmp_path / "first").iterdir()} == {"README.md", "returns.svg"}
    for name in ("README.md", "returns.svg"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    content = (tmp_path / "first" / "returns.svg").read_text(encoding="utf-8")
    assert content.count("<path") > 20
    assert "dc:date" not in content
    text = (tmp_path / "first" / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# Robot of points: dataset card")
    assert "](returns.svg)" in text


def test_metrics_of_earlier_versions_have_a_name_in_title_case(tmp_path: Path) -> None:
    write_card(tmp_path, {name: value for name, value in (METRICS | MADE).items() if name != "family_title"})
    assert (tmp_path / "README.md").read_text(encoding="utf-8").startswith("# Point-Robot: dataset card")
