"""Figures: what their artists hold, against the metrics and the tables' numbers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import colors, image
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import Rectangle

from metadiffuser.artifacts import read_json, write_json
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import registry, style
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.figures import (
    bars,
    baseline_curves,
    learning_curves,
    performance_profiles,
    planned_and_executed,
    samplers,
    scores_by_method,
)
from metadiffuser.reporting.labels import Labels
from metadiffuser.reporting.scores import SETTING, read_sampler_study
from metadiffuser.reporting.summary import Cells, Estimate
from metadiffuser.reporting.timings import Timings
from tests.helpers import fabricated
from tests.helpers.drawings import drawn, titles
from tests.helpers.reported import APART, METHODS, OWN, PARAMS, ROWS, UNSEEN, heading, of, title

NAMES = (
    "scores_by_method",
    "performance_profiles",
    "scores_by_warm_start",
    "scores_by_guide",
    "planned_and_executed",
    "embedding",
    "learning_curves",
    "baseline_curves",
    "sampler_study",
)
SHOWN = [*UNSEEN, APART]
LABELS = Labels.from_json({}, ["point_robot", "cheetah_vel", "ant_dir"], ["bc", "focal"])


def rectangles(panel: Axes) -> list[Rectangle]:
    return [patch for patch in panel.patches if isinstance(patch, Rectangle)]


def whiskers(panel: Axes, axis: int) -> list[tuple[float, float]]:
    """The (low, high) ends of the error bars of a panel along x (0) or y (1), in the order in which they were drawn."""
    found = []
    for container in panel.containers:
        if isinstance(container, ErrorbarContainer):
            for collection in container.lines[2]:
                for segment in collection.get_segments():
                    (low, high) = (float(segment[end][axis]) for end in (0, 1))
                    found.append((low, high))
    return found


def bounds(values: Sequence[Estimate | None]) -> Any:
    """What error bars must reach to."""
    assert all(value is not None and value.low < value.value < value.high for value in values)
    return [pytest.approx((value.low, value.high)) for value in values if value is not None]


@pytest.mark.slow
def test_every_figure_as_svg_alone_and_the_same_bytes_twice(figures: Path) -> None:
    before = {path.name: path.read_bytes() for path in figures.iterdir()}
    assert set(before) == {f"{name}.svg" for name in NAMES} | {"figures.json"}
    fabricated.run_stage("make_figures", PARAMS)
    assert before == {path.name: path.read_bytes() for path in figures.iterdir()}


def test_files_hold_neither_date_nor_version(figures: Path) -> None:
    for path in figures.glob("*.svg"):
        content = path.read_bytes()
        assert b"dc:date" not in content
        assert b"atplotlib v" not in content
        assert mpl.__version__.encode() not in content


def test_the_index_has_the_figures_in_the_order_of_the_report_with_captions(figures: Path) -> None:
    index = read_json(figures / "figures.json")["figures"]
    assert [entry["name"] for entry in index] == list(NAMES)
    assert all(len(entry["caption"]) > 40 and entry["title"] and entry["section"] for entry in index)


def test_pictures_show_something(evidence: Evidence) -> None:
    for entry in registry.entries(registry.FIGURE):
        drawing = entry.make(evidence)
        if drawing is None:
            continue
        stream = io.BytesIO()
        drawing.figure.savefig(stream, format="png")
        stream.seek(0)
        pixels = image.imread(stream)[..., :3]
        assert min(pixels.shape[:2]) > 200, entry.name
        assert (pixels.min(axis=2) < 0.9).mean() > 0.01, entry.name


@pytest.mark.parametrize(
    ("draw", "cells", "names"),
    [
        (
            bars.scores_by_guide,
            [("metadiffuser", guide, "expert") for guide in ("none", "return", "dynamics", "dual")],
            1,
        ),
        (
            bars.scores_by_warm_start,
            [(*OWN[:2], name) for name in ("expert", "medium", "random", "zero_shot", "wrong_task", "oracle")],
            2,
        ),
    ],
    ids=["guide", "warm start"],
)
def test_bars_have_the_score_the_interval_and_the_tasks_of_their_cell(
    evidence: Evidence, draw: Any, cells: list[tuple[str, str, str]], names: int
) -> None:
    figure = drawn(draw(evidence))
    assert titles(figure) == [heading(family) for family in SHOWN]
    for family, panel in zip(SHOWN, figure.axes, strict=False):
        labels = [
            label.get_text().replace("\n", " ").replace("-", "_").replace(" ", "_") for label in panel.get_xticklabels()
        ]
        assert labels == [cell[names] for cell in cells]
        expected = [of(cell, family)["score"].mean() for cell in cells]
        assert [bar.get_height() for bar in rectangles(panel)] == pytest.approx(expected)
        assert whiskers(panel, 1) == bounds([evidence.cells.mean(family, cell, "normalised") for cell in cells])
        for cell, dots in zip(
            cells, [part for part in panel.collections if isinstance(part, PathCollection)], strict=True
        ):
            by_task = of(cell, family)["score"].groupby("task").mean()
            np.testing.assert_allclose(np.asarray(dots.get_offsets())[:, 1], by_task)
    own = rectangles(figure.axes[0])[3 if names == 1 else 0]
    assert colors.to_hex(own.get_facecolor()).upper() == style.PLANNED


def test_every_method_has_a_bar_in_every_family_and_in_their_mean(evidence: Evidence) -> None:
    figure = drawn(scores_by_method.scores_by_method(evidence))
    panels = [*UNSEEN, "All families", APART]
    assert titles(figure) == [heading(name).replace(" (", "\n(") if name in SHOWN else name for name in panels]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(ROWS)
    for name, panel in zip(panels, figure.axes, strict=True):
        means = {row: [of(cell, family)["score"].mean() for family in UNSEEN] for row, cell in ROWS.items()}
        found: dict[str, Estimate | None] = {}
        for row, cell in ROWS.items():
            together = name == "All families"
            mean = evidence.cells.average(UNSEEN, cell) if together else evidence.cells.mean(name, cell, "normalised")
            expected = np.mean(means[row]) if together else of(cell, name)["score"].mean()
            assert mean is not None
            assert mean.value == pytest.approx(expected)
            found[row] = mean
        widths = [bar.get_width() for bar in rectangles(panel)]
        lowest, highest = scores_by_method.LOWEST, scores_by_method.HIGHEST
        assert widths == pytest.approx([np.clip(mean.value, lowest, highest) for mean in found.values() if mean])
        inside = [mean for mean in found.values() if mean and lowest < mean.value < highest]
        assert whiskers(panel, 0) == bounds(inside)
        dots = [part for part in panel.collections if isinstance(part, PathCollection)]
        shown = [row for row, mean in found.items() if mean and lowest < mean.value < highest]
        for row, drawing in zip(shown, dots, strict=True):
            members = UNSEEN if name == "All families" else [name]
            seeds = [of(ROWS[row], family)["score"].groupby("seed").mean().to_numpy() for family in members]
            expected = np.mean(seeds, axis=0)
            assert len(expected) == 2
            np.testing.assert_allclose(np.asarray(drawing.get_offsets())[:, 0], expected)


def test_with_one_training_seed_the_dots_of_a_method_are_its_tasks(evidence: Evidence) -> None:
    alone = Evidence(**{name: getattr(evidence, name) for name in Evidence.__dataclass_fields__})
    alone.scores = evidence.scores[evidence.scores["seed"] == 0]
    family = UNSEEN[0]
    drawing = scores_by_method.scores_by_method(alone)
    assert drawing is not None
    assert "dots: tasks" in drawing.caption
    dots = next(part for part in drawn(drawing).axes[0].collections if isinstance(part, PathCollection))
    expected = of(OWN, family)["score"].xs(0, level="seed").groupby("task").mean()
    np.testing.assert_allclose(np.asarray(dots.get_offsets())[:, 0], expected)


def test_baselines_have_the_colours_of_their_metrics_and_a_mark_if_they_did_not_learn(evidence: Evidence) -> None:
    figure = drawn(scores_by_method.scores_by_method(evidence))
    first = dict(zip(ROWS, rectangles(figure.axes[0]), strict=True))
    for method, name in METHODS.items():
        assert colors.to_hex(first[name].get_facecolor()) == fabricated.method_label(method)[1]
    family, failed = fabricated.NOT_LEARNT
    marks = [(place, round(text.get_position()[1])) for place, panel in enumerate(figure.axes) for text in panel.texts]
    assert marks == [(UNSEEN.index(family), list(ROWS).index(dict(METHODS)[failed]))]


def test_a_score_that_is_far_off_is_an_arrow_at_the_edge(evidence: Evidence) -> None:
    far = Evidence(**{name: getattr(evidence, name) for name in Evidence.__dataclass_fields__})
    scores = evidence.scores
    far.scores = scores.assign(normalised=scores["normalised"].where(scores["method"] != "focal", -300.0))
    panel = drawn(scores_by_method.scores_by_method(far)).axes[0]
    place = list(ROWS).index(METHODS["focal"])
    assert rectangles(panel)[place].get_width() == scores_by_method.LOWEST
    arrows = [line.get_data() for line in panel.lines if line.get_marker() == "<"]
    assert np.asarray(arrows).squeeze().tolist() == [scores_by_method.LOWEST, place]


def test_profiles_fall_where_the_runs_of_their_cell_lie(evidence: Evidence) -> None:
    figure = drawn(performance_profiles.performance_profiles(evidence))
    assert titles(figure) == [heading(family) for family in SHOWN]
    for family, panel in zip(SHOWN, figure.axes, strict=False):
        lines = {str(line.get_label()): line for line in panel.lines}
        assert list(lines) == [*ROWS, "Behaviour expert (oracle)"]
        for name, cell in ROWS.items():
            thresholds, shares = (np.asarray(values, float) for values in lines[name].get_data())
            scores = of(cell, family)["score"]
            for place in (0, 40, 60, 80, 100, 120):
                above = (scores > thresholds[place]).groupby(["seed", "task"]).mean().mean()
                assert shares[place] == pytest.approx(above)
        (band,) = panel.collections
        thresholds, shares = (np.asarray(values, float) for values in lines["MetaDiffuser (dual guide)"].get_data())
        low, high = evidence.cells.band(family, OWN, thresholds)
        assert (low <= shares + 1e-9).all()
        assert (high >= shares - 1e-9).all()
        assert (high > low).any()
        outline = np.asarray(band.get_paths()[0].vertices, float)
        for place in (60, 80, 100):
            ends = outline[np.isclose(outline[:, 0], thresholds[place])][:, 1]
            assert sorted({round(float(end), 9) for end in ends}) == sorted(
                {round(low[place], 9), round(high[place], 9)}
            )
    own, wrong = (figure.axes[0].lines[place] for place in (0, 1))
    assert (own.get_color(), own.get_linestyle()) == (style.PLANNED, "-")
    assert (wrong.get_color(), wrong.get_linestyle()) == (style.PLANNED, "--")


def test_the_sampler_study_has_a_line_a_sampler_over_its_steps(evidence: Evidence) -> None:
    figure = drawn(samplers.sampler_study(evidence))
    study = read_sampler_study(evidence.planner, evidence.dataset)
    options: dict[str, Any] = {
        "keys": SETTING,
        "columns": ("normalised",),
        "fixed": evidence.apart,
        "stream": ("study",),
    }
    cells = Cells(study, evidence.bootstrap, **options)
    assert titles(figure) == [title(family) for family in PARAMS.families]
    for family, panel in zip(PARAMS.families, figure.axes, strict=False):
        expected: dict[tuple[str, int], list[float]] = {}
        for seed in PARAMS.seeds:
            record = fabricated.planner_metrics(family, seed)
            anchors = fabricated.dataset_metrics(family)["anchors"]
            for entry in record["sampler_study"]:
                for task, values in entry["returns"].items():
                    low, high = anchors[task]["random"], anchors[task]["expert"]
                    score = 100 * (np.mean(values) - low) / (high - low)
                    expected.setdefault((style.sampler_name(entry["sampler"]), entry["steps"]), []).append(score)
        found = {}
        for container in panel.containers:
            assert isinstance(container, ErrorbarContainer)
            for steps, value in np.asarray(container.lines[0].get_xydata()):
                found[str(container.get_label()), int(steps)] = float(value)
        assert found == {key: pytest.approx(np.mean(values)) for key, values in expected.items()}
        assert [label.get_text() for label in panel.get_xticklabels()] == ["2", "10"]
        estimates = [
            cells.mean(family, (sampler, steps), "normalised") for sampler, steps in (("ddpm", 2), ("ddpm", 10))
        ]
        assert whiskers(panel, 1) == bounds([*estimates, cells.mean(family, ("ddim", 2), "normalised")])
    rows = [("cheetah_vel", "ddim", 5, 2.0), ("cheetah_vel", "ddim", 2, 1.0), ("cheetah_vel", "ddim", 5, 4.0)]
    records = [
        {
            "job": f"evaluate@smoke-{family}-generalised-{seed}",
            "notes": {f"milliseconds_per_decision_{name}_{steps}": cost},
        }
        for seed, (family, name, steps, cost) in enumerate(rows)
    ]
    (panel,) = drawn(samplers.times(Timings(records, [], "generalised", LABELS, []))).axes
    (container,) = panel.containers
    assert isinstance(container, ErrorbarContainer)
    assert np.asarray(container.lines[0].get_data()).tolist() == [[2, 5], [1, 3]]
    assert panel.get_ylabel() == "milliseconds per decision"


def test_nothing_studied_is_nothing_drawn(evidence: Evidence, tmp_path: Path) -> None:
    record = fabricated.planner_metrics("point_robot", 0) | {"sampler_study": [], "traces": []}
    path = tmp_path / "planner.json"
    write_json(path, record)
    found = Evidence([path], [], evidence.dataset, [], "generalised", 0, Bootstrap(0.9, 10), 1)
    curves = (learning_curves.learning_curves, baseline_curves.baseline_curves)
    for make in (samplers.sampler_study, planned_and_executed.planned_and_executed, *curves):
        assert make(found) is None
    assert samplers.times(Timings([], [], "generalised", LABELS, [])) is None


def test_a_single_run_of_a_single_task_has_a_bar_and_no_interval(evidence: Evidence) -> None:
    alone = Evidence(**{name: getattr(evidence, name) for name in Evidence.__dataclass_fields__})
    scores = evidence.scores
    first = {fabricated.unseen(family)[0] for family in UNSEEN}
    alone.scores = scores[(scores["episode"] == 0) & (scores["seed"] == 0) & scores["task"].isin(first)]
    for panel in drawn(bars.scores_by_guide(alone)).axes[:2]:
        assert len(rectangles(panel)) == 4
        assert whiskers(panel, 1) == []


def test_a_run_too_weak_to_be_scored_is_drawn_all_the_same(evidence: Evidence) -> None:
    weak = Evidence(**{name: getattr(evidence, name) for name in Evidence.__dataclass_fields__})
    weak.scores = evidence.scores.assign(normalised=np.nan)
    assert [len(panel.patches) for panel in drawn(bars.scores_by_warm_start(weak)).axes] == [0, 0, 0]


def test_unknown_names_have_a_colour_of_their_own_every_time() -> None:
    assert style.colour("new_guide", style.GUIDE_COLOURS) == style.colour("new_guide", style.GUIDE_COLOURS)
    assert style.colour("dual", style.GUIDE_COLOURS) == style.PLANNED
    assert style.ordered(["b", "dual", "a", "none"], style.GUIDE_NAMES) == ["none", "dual", "a", "b"]
