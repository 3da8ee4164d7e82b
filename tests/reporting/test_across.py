"""``metadiffuser across``: the guide by the quality of the data, against numbers recomputed from the metrics files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colors
from matplotlib.container import ErrorbarContainer

from metadiffuser import cli, paths
from metadiffuser.artifacts import write_json
from metadiffuser.pipeline.across import gathered
from metadiffuser.reporting import style
from metadiffuser.reporting.across import guide_by_data_figure
from tests.helpers import fabricated
from tests.helpers.drawings import drawn, titles
from tests.helpers.reported import heading

SHARED, ONLY = ("point_robot", "cheetah_vel"), "cheetah_dir"
PRESETS: dict[str, tuple[str, tuple[str, ...], tuple[int, ...]]] = {  # no name says which quality it has
    "one": ("mixed", SHARED, (0, 1)),
    "two": ("random", SHARED, (0, 1)),
    "three": ("expert", ("cheetah_vel", ONLY), (0,)),
    "four": ("medium", SHARED, (0, 1)),
}
QUALITIES, GUIDES = ("random", "medium", "mixed", "expert"), ("none", "return", "dynamics", "dual")
NAMES = list(PRESETS)
FILES = [Path(f"{paths.GUIDE_BY_DATA}{suffix}") for suffix in (".csv", ".md", ".svg")]


def base(quality: str, guide: str) -> float:
    """How far a planner comes: a value of its own for each quality and guide, and so are all differences."""
    place, number = QUALITIES.index(quality), GUIDES.index(guide)
    return 0.1 + 0.17 * place + (0.03 + 0.011 * place) * number * (2 - number % 2)


def metrics(family: str, seed: int, quality: str) -> dict[str, Any]:
    """PLANNER_METRICS of a planner that learned from ``quality``."""
    content = fabricated.planner_metrics(family, seed)
    for cell in content["cells"]:
        if (cell["method"], cell["context"]) == ("metadiffuser", "expert"):
            reached, number = base(quality, cell["guide"]), 4 * QUALITIES.index(quality) + GUIDES.index(cell["guide"])
            errors = fabricated.task_errors(family, number, seed)
            cell["returns"] = fabricated.cell_returns(family, reached, seed, fabricated.unseen(family))
            cell["plan_error_by_task"] = errors
            cell["plan_error"] = {ahead: float(np.mean(list(by_task.values()))) for ahead, by_task in errors.items()}
    return content | {"qualities": [quality]}


def planner(preset: str, family: str, seed: int) -> Path:
    named = {"preset": preset, "family": family, "seed": seed}
    return Path(paths.PLANNER_METRICS.format(**named, representation="generalised"))


def write_preset(name: str, quality: str, families: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    """Write a preset and its metrics below the working directory."""
    Path("presets").mkdir(exist_ok=True)
    Path(f"presets/{name}.yaml").write_text(
        f"preset: {name}\nfamilies: [{', '.join(families)}]\nbaselines: [bc]\nseeds: {list(seeds)}\n"
        f"context: {{qualities: [{'expert' if quality == 'expert' else 'mixed'}, random]}}\n"
        f"diffusion: {{qualities: [{quality}]}}\nreport: {{bootstrap_samples: 4000, digits: 2}}\n"
    )
    for family in families:
        write_json(Path(paths.DATASET_METRICS.format(preset=name, family=family)), fabricated.dataset_metrics(family))
        for seed in seeds:
            write_json(planner(name, family, seed), metrics(family, seed, quality))


def write_presets() -> None:
    for name, (quality, families, seeds) in PRESETS.items():
        write_preset(name, quality, families, seeds)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of a run over all presets."""
    folder = tmp_path_factory.mktemp("across")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_presets()
        assert cli.main(["across", *NAMES]) == 0
        yield folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with all presets, to be spoiled."""
    monkeypatch.chdir(tmp_path)
    write_presets()
    return tmp_path


def rows() -> dict[tuple[str, str, str], dict[str, str]]:
    with FILES[0].open(encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    named = {(row["Family"], row["Data"], row["Guide"]): row for row in found}
    assert len(named) == len(found)
    return named


def episodes(preset: str, family: str, guide: str) -> np.ndarray[Any, Any]:
    """Scores (S, T, E) of a guide with an expert's episode as context, from the files alone."""
    anchors = json.loads(Path(paths.DATASET_METRICS.format(preset=preset, family=family)).read_text())["anchors"]
    found = []
    for seed in PRESETS[preset][2]:
        cells = json.loads(planner(preset, family, seed).read_text())["cells"]
        (cell,) = [
            each
            for each in cells
            if (each["method"], each["guide"], each["context"]) == ("metadiffuser", guide, "expert")
        ]
        ends = {task: (anchors[task]["random"], anchors[task]["expert"]) for task in cell["returns"]}
        found.append(
            [
                [100 * (value - ends[task][0]) / (ends[task][1] - ends[task][0]) for value in values]
                for task, values in cell["returns"].items()
            ]
        )
    return np.array(found)


def planners() -> list[tuple[str, str, str, str]]:
    """(preset, quality, family, guide) of every row, in the order of the table."""
    order = sorted(PRESETS, key=lambda name: QUALITIES.index(PRESETS[name][0]))
    return [
        (preset, PRESETS[preset][0], family, guide)
        for family in (*SHARED, ONLY)
        for preset in order
        for guide in GUIDES
        if family in PRESETS[preset][1]
    ]


def test_a_row_for_every_family_quality_and_guide_in_the_order_of_the_axis(made: Path) -> None:
    assert list(rows()) == [(heading(family), quality, guide) for _, quality, family, guide in planners()]


def test_scores_gains_and_errors_are_those_of_the_files(made: Path) -> None:
    found = rows()
    values: dict[str, list[str]] = {family: [] for family in (*SHARED, ONLY)}
    for preset, quality, family, guide in planners():
        row, scores = found[heading(family), quality, guide], episodes(preset, family, guide)
        assert float(row["score"]) == pytest.approx(scores.mean(), abs=1e-5)
        number = 4 * QUALITIES.index(quality) + GUIDES.index(guide)
        ahead = [fabricated.task_errors(family, number, seed)["1"].values() for seed in PRESETS[preset][2]]
        assert float(row["error at 1"]) == pytest.approx(np.mean([list(each) for each in ahead]), abs=1e-5)
        assert (row["Preset"], row["Encoder"]) == (preset, "expert, random" if preset == "three" else "mixed, random")
        values[family] += [row["score"], row["error at 1"]]
        if guide == "none":
            assert {row[name] for name in ("gain", "gain low", "gain high", "p", "p (Holm)")} == {""}
        else:
            gain = scores.mean() - episodes(preset, family, "none").mean()
            assert float(row["gain"]) == pytest.approx(gain, abs=1e-5)
            assert float(row["gain low"]) <= float(row["gain"]) <= float(row["gain high"])
            values[family].append(row["gain"])
    for each in values.values():
        assert len(set(each)) == len(each), "no two numbers of a family can be exchanged unnoticed"


def test_intervals_resample_seeds_tasks_and_episodes_and_gains_are_paired(made: Path) -> None:
    generator = np.random.default_rng(7)
    own, other = (episodes("four", "point_robot", guide) for guide in ("dual", "none"))
    count, tasks, each = own.shape
    drawn_seeds = generator.integers(count, size=(4000, count, 1, 1))
    drawn_tasks = generator.integers(tasks, size=(4000, 1, tasks, 1))
    drawn_episodes = generator.integers(each, size=(4000, count, tasks, each))
    row = rows()[heading("point_robot"), "medium", "dual"]
    for name, values in (("score", own), ("gain", own - other)):
        means = values[drawn_seeds, drawn_tasks, drawn_episodes].mean(axis=(1, 2, 3))
        low, high = np.quantile(means, (0.025, 0.975))
        bounds = [float(row[f"{name} low"]), float(row[f"{name} high"])]
        assert bounds == pytest.approx([low, high], abs=0.1 * (high - low))


def test_tasks_that_are_all_there_are_are_not_resampled(made: Path) -> None:
    (own,) = episodes("three", ONLY, "dual")
    tasks, each = own.shape
    places = np.random.default_rng(7).integers(each, size=(4000, tasks, each))
    low, high = np.quantile(own[np.arange(tasks)[:, None], places].mean(axis=(1, 2)), (0.025, 0.975))
    row = rows()[heading(ONLY), "expert", "dual"]
    assert [float(row["score low"]), float(row["score high"])] == pytest.approx([low, high], abs=0.1 * (high - low))


def test_p_values_are_corrected_over_the_whole_table(made: Path) -> None:
    tested = [row for row in rows().values() if row["p"]]
    assert len(tested) == 3 * (4 + 3 + 1)  # gains of three guides: four qualities, three, and one
    plain = np.array([float(row["p"]) for row in tested])
    order = np.argsort(plain, kind="stable")
    by_hand = np.minimum(1, np.maximum.accumulate(plain[order] * (len(plain) - np.arange(len(plain)))))
    assert [float(tested[place]["p (Holm)"]) for place in order] == pytest.approx(by_hand, abs=1e-4)


def test_a_row_says_what_its_interval_covers(made: Path) -> None:
    for (_, quality, _), row in rows().items():
        expected = "one training run: the interval leaves training out"
        assert row["Interval"] == (expected if quality == "expert" else "2 training runs, tasks, episodes")


def test_the_page_has_the_table_the_sample_sizes_and_the_figure(made: Path) -> None:
    page = FILES[1].read_text(encoding="utf-8")
    assert sum(line.startswith("| ") for line in page.splitlines()) == len(planners()) + 2
    assert "Preset one, two, four: Robot of points, Cheetah at speeds: 6 unseen tasks × 4 episodes × 2 training" in page
    assert f"]({FILES[2].name})" in page


def test_the_figure_has_a_panel_for_each_family_and_a_series_for_each_guide(made: Path) -> None:
    figure = drawn(guide_by_data_figure(gathered(NAMES)))
    assert titles(figure) == [heading(family) for family in (*SHARED, ONLY)]
    found, markers = rows(), set()
    for panel, title in zip(figure.axes, titles(figure), strict=True):
        assert [label.get_text() for label in panel.get_xticklabels()] == list(QUALITIES)
        series = [each for each in panel.containers if isinstance(each, ErrorbarContainer)]
        assert [each.get_label() for each in series] == list(GUIDES)
        for guide, each in zip(GUIDES, series, strict=True):
            line, _, (bars,) = each.lines
            assert colors.to_hex(line.get_color()).upper() == style.GUIDE_COLOURS[guide].upper()
            markers.add(line.get_marker())
            drawn_ends = iter([segment[:, 1].tolist() for segment in bars.get_segments() if segment.size])
            for place, (quality, value) in enumerate(zip(QUALITIES, np.asarray(line.get_ydata()), strict=True)):
                row = found.get((title, quality, guide))
                assert np.isnan(value) == (row is None)
                if row is not None:
                    assert value == pytest.approx(float(row["score"]), abs=1e-5)
                    ends = [float(row["score low"]), float(row["score high"])]
                    assert next(drawn_ends) == pytest.approx(ends, abs=1e-5)
                assert round(np.asarray(line.get_xdata())[place]) == place
    assert len(markers) == len(GUIDES)


def test_the_same_bytes_twice(made: Path) -> None:
    before = [path.read_bytes() for path in FILES]
    assert cli.main(["across", *NAMES]) == 0
    assert [path.read_bytes() for path in FILES] == before
    assert sorted(path.name for path in FILES[0].parent.iterdir()) == sorted(path.name for path in FILES)


def test_of_one_quality_the_first_preset_is_shown(project: Path) -> None:
    write_preset("again", "medium", ("point_robot",), (5,))
    assert cli.main(["across", "one", "again", "four"]) == 0
    presets = {row["Preset"] for (family, data, _), row in rows().items() if data == "medium"}
    assert presets == {"again", "four"}
    assert rows()[heading("point_robot"), "medium", "dual"]["Preset"] == "again"
    assert rows()[heading("cheetah_vel"), "medium", "dual"]["Preset"] == "four"


def test_a_family_that_was_not_evaluated_is_left_out(project: Path) -> None:
    for seed in (0, 1):
        planner("one", "point_robot", seed).unlink()
    planner("one", "point_robot", 0).parent.rmdir()
    assert cli.main(["across", *NAMES]) == 0
    assert {data for family, data, _ in rows() if family == heading("point_robot")} == {"random", "medium"}


def spoil(path: Path, **values: Any) -> None:
    """Change entries of a metrics file; None removes one."""
    content = json.loads(path.read_text()) | values
    write_json(path, {name: value for name, value in content.items() if value is not None})


@pytest.mark.parametrize(
    ("change", "presets", "said"),
    [
        (lambda: None, ["one", "fuor"], "preset 'fuor' is unknown; expected one of four, one, three, two"),
        (
            lambda: spoil(planner("four", "cheetah_vel", 1), qualities=None),
            ["one", "four"],
            f"{planner('four', 'cheetah_vel', 1)}: 'qualities' is missing, the data that the planner learned from; run "
            "evaluate with the preset four again",
        ),
        (
            lambda: spoil(planner("four", "cheetah_vel", 1), qualities=["mixed"]),
            ["one", "four"],
            f"{planner('four', 'cheetah_vel', 1)}: 'qualities' is mixed, and medium at another seed; run evaluate",
        ),
        (lambda: planner("four", "cheetah_vel", 1).unlink(), ["one", "four"], "seed1.json: missing; run the stage"),
        (
            lambda: write_preset("five", "medium", (ONLY,), (0,)),
            ["one", "five"],
            "one, five: no family with planners of two qualities of data; name presets that share a family",
        ),
        (lambda: None, ["one"], "one: no family with planners of two qualities of data"),
        (
            lambda: Path("presets/five.yaml").write_text("preset: five\nfamilies: [point_robot]\nbaselines: [bc]\n"),
            ["one", "five"],
            "results/five/metrics/planner: no metrics of the planner; run evaluate with the preset five",
        ),
        (
            lambda: spoil(
                Path(paths.DATASET_METRICS.format(preset="four", family="point_robot")),
                anchors=fabricated.dataset_metrics("cheetah_vel")["anchors"],
            ),
            ["one", "four"],
            "results/four/metrics/dataset/point_robot.json: its tasks or their anchors are not those of "
            "results/one/metrics/dataset/point_robot.json",
        ),
    ],
)
def test_mistakes_are_one_sentence(
    project: Path, capsys: pytest.CaptureFixture[str], change: Any, presets: list[str], said: str
) -> None:
    change()
    assert cli.main(["across", *presets]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not FILES[0].parent.exists()
