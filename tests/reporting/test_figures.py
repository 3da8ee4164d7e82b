from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import colors, image
from matplotlib.container import Container, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metadiffuser import paths
from metadiffuser.artifacts import read_json, write_json
from metadiffuser.errors import InputError
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import figures, profiles, rival_curves, rivals, scores, style
from metadiffuser.tracking import read_curve
from tests.helpers import fabricated

PARAMS = fabricated.parameters()
NAMES = (
    "scores_by_method",
    "scores_by_warm_start",
    "scores_by_guide",
    "performance_profiles",
    "sampler_study",
    "planned_and_executed",
    "embedding",
    "learning_curves",
    "baseline_curves",
)
FAMILIES = list(fabricated.ANCHORS)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of a run of ``make_figures`` on fabricated metrics."""
    folder = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fabricated.write_metrics(PARAMS)
        fabricated.write_curves(PARAMS)
        fabricated.run_stage("make_figures", PARAMS)
        yield folder / paths.FIGURES.format(preset=PARAMS.preset)


@pytest.fixture
def metrics(tmp_path: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Files of (planner, dataset, context) metrics."""
    groups: tuple[list[Path], list[Path], list[Path]] = ([], [], [])
    for family in FAMILIES:
        records = (
            fabricated.planner_metrics(family, 0),
            fabricated.dataset_metrics(family),
            fabricated.context_metrics(family, 0),
        )
        for number, (group, record) in enumerate(zip(groups, records, strict=True)):
            group.append(tmp_path / f"{family}{number}.json")
            write_json(group[-1], record)
    return groups


def test_every_figure_as_png_and_svg_and_the_same_bytes_twice(results: Path) -> None:
    before = {path.name: path.read_bytes() for path in results.iterdir()}
    assert set(before) == {f"{name}{suffix}" for name in NAMES for suffix in (".png", ".svg")} | {"figures.json"}
    fabricated.run_stage("make_figures", PARAMS)
    assert before == {path.name: path.read_bytes() for path in results.iterdir()}


def test_files_hold_neither_date_nor_version(results: Path) -> None:
    for path in (*results.glob("*.svg"), *results.glob("*.png")):
        content = path.read_bytes()
        assert b"dc:date" not in content
        assert b"atplotlib v" not in content
        assert b"Software" not in content


@pytest.mark.parametrize("name", NAMES)
def test_pictures_show_something(results: Path, name: str) -> None:
    pixels = image.imread(results / f"{name}.png")[..., :3]
    assert min(pixels.shape[:2]) > 300
    assert (pixels.min(axis=2) < 0.9).mean() > 0.01
    entry = next(e for e in read_json(results / "figures.json")["figures"] if e["name"] == name)
    assert len(entry["caption"]) > 40


def test_bars_have_the_score_and_colour_of_their_cell(metrics: tuple[list[Path], list[Path], list[Path]]) -> None:
    table = scores.read_scores(metrics[0], metrics[1])
    figure = figures.score_bars(table, "guide", Bootstrap(0.95, 50))
    assert titles(figure) == ["Point-Robot", "Cheetah-Vel"]
    panel = figure.axes[0]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["none", "return", "dynamics", "dual"]
    assert [patch.get_height() for patch in panel.patches] == pytest.approx([85, 88, 86, 90])  # type: ignore[attr-defined]
    assert colors.to_hex(panel.patches[3].get_facecolor()).upper() == style.PLANNED == "#E8743B"


def test_every_method_has_a_bar_in_every_family_and_in_their_mean(
    metrics: tuple[list[Path], list[Path], list[Path]], tmp_path: Path
) -> None:
    for family in FAMILIES:
        metrics[0].append(tmp_path / f"{family}-focal.json")
        write_json(metrics[0][-1], fabricated.baseline_metrics(family, "focal", 0))
    table = scores.read_scores(metrics[0], metrics[1])
    figure = rivals.method_scores(table, Bootstrap(0.95, 50))
    assert titles(figure) == ["Point-Robot", "Cheetah-Vel", "All families"]
    expected = {
        "MetaDiffuser (dual guide)": 90,
        "MetaDiffuser, another task's context": -20,
        "FOCAL": 70,
        "Unconditional diffusion planner": 30,
        "Unconditional diffusion planner (return guide)": 35,
        "Random planner": 0,
    }
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    for panel in figure.axes:
        widths = [patch.get_width() for patch in panel.patches]  # type: ignore[attr-defined]
        assert dict(zip(names, widths, strict=True)) == pytest.approx(expected)
    assert len(set(rivals.COLOURS.values())) == len(rivals.COLOURS) == len(style.METHOD_NAMES)
    far = table.assign(normalised=table["normalised"].where(table["method"] != "focal", -300.0))
    panel = rivals.method_scores(far, Bootstrap(0.95, 50)).axes[0]
    assert panel.patches[2].get_width() == rivals.LOWEST  # type: ignore[attr-defined]
    assert "<" in [line.get_marker() for line in panel.lines]


def test_profiles_fall_where_the_runs_of_their_cell_lie(metrics: tuple[list[Path], list[Path], list[Path]]) -> None:
    table, behaviour = scores.read_scores(metrics[0], metrics[1]), scores.read_behaviour(metrics[1])
    figure = profiles.performance_profiles(table, behaviour, Bootstrap(0.95, 50))
    assert titles(figure) == ["Point-Robot", "Cheetah-Vel"]
    lines = {str(line.get_label()): line for line in figure.axes[0].lines}
    assert list(lines) == [
        "MetaDiffuser (dual guide)",
        "MetaDiffuser, another task's context",
        "Unconditional diffusion planner",
        "Unconditional diffusion planner (return guide)",
        "Random planner",
        "Behaviour expert (oracle)",
    ]
    own = lines["MetaDiffuser (dual guide)"]
    assert (own.get_color(), own.get_linestyle()) == (style.METHOD_COLOURS["metadiffuser"], "-")
    other = lines["MetaDiffuser, another task's context"]
    assert (other.get_color(), other.get_linestyle()) == (style.METHOD_COLOURS["metadiffuser"], "--")
    thresholds, shares = (np.asarray(values, float) for values in own.get_data())
    for place, share in ((60, 1.0), (90, 0.5), (105, 0.0)):  # half of the runs lie 6.7 points above 90, half below
        assert shares[np.abs(thresholds - place).argmin()] == share
    assert len(figure.axes[0].collections) == len(lines), "bands"


def test_the_sampler_study_has_a_line_a_sampler_over_its_steps(
    metrics: tuple[list[Path], list[Path], list[Path]],
) -> None:
    study = scores.read_sampler_study(metrics[0], metrics[1])
    figure = profiles.sampler_scores(study, Bootstrap(0.95, 50))
    for panel in figure.axes:
        drawn = {container.get_label(): bars_line(container) for container in panel.containers}
        assert list(drawn) == ["DDPM", "DDIM"]
        assert [value.tolist() for value in map(np.asarray, drawn["DDPM"].get_data())] == [
            [2, 10],
            pytest.approx([50, 90]),
        ]
        assert np.asarray(drawn["DDIM"].get_ydata()).tolist() == pytest.approx([70])
        assert [label.get_text() for label in panel.get_xticklabels()] == ["2", "10"]
    times = pd.DataFrame(
        [("cheetah_vel", "ddim", steps, cost) for steps, cost in ((5, 2.0), (2, 1.0), (5, 4.0))],
        columns=["family", "sampler", "steps", "milliseconds"],
    )
    (panel,) = profiles.sampler_times(times).axes
    assert np.asarray(bars_line(panel.containers[0]).get_data()).tolist() == [[2, 5], [1, 3]]
    assert panel.get_ylabel() == "milliseconds per decision"


def test_nothing_studied_is_nothing_drawn(metrics: tuple[list[Path], list[Path], list[Path]]) -> None:
    table, study = (read(metrics[0], metrics[1]) for read in (scores.read_scores, scores.read_sampler_study))
    embeddings, traces = scores.read_embeddings(metrics[2]), scores.read_traces(metrics[0])
    curves = {("diffusion", "point_robot"): [pd.DataFrame(fabricated.curve(0.1, 1, "loss")).set_index("step")]}
    drawings = figures.all_figures(
        table, scores.read_behaviour(metrics[1]), study[:0], embeddings, traces, curves, Bootstrap(0.9, 10), {}, curves
    )
    assert [drawing.name for drawing in drawings] == [name for name in NAMES if name != "sampler_study"]


def test_planned_is_orange_over_executed_in_blue(metrics: tuple[list[Path], list[Path], list[Path]]) -> None:
    figure = figures.planned_and_executed(scores.read_traces(metrics[0]))
    assert titles(figure) == [
        f"{family}, task {task}\nguide {guide}"
        for family in ("Point-Robot", "Cheetah-Vel")
        for task in (12, 13)
        for guide in ("none", "dual")
    ]
    assert [panel.get_ylabel() for panel in figure.axes] == ["y (m)"] * 4 + ["z (m)"] * 4
    lines = figure.axes[1].lines
    executed = [line for line in lines if line.get_color() == style.EXECUTED]
    planned = [line for line in lines if line.get_color() == style.PLANNED]
    assert (len(executed), len(planned)) == (1, 2)
    # Plans of 8 steps made at 8 and 12: the path from half a plan before the first to half a plan after the last.
    np.testing.assert_allclose(np.asarray(executed[0].get_xdata(), float), np.linspace(0, 1, 41)[4:24])
    assert len(np.asarray(planned[0].get_xdata())) == 8


def test_embedding_has_a_dot_a_training_task_and_a_star_an_unseen_one(
    metrics: tuple[list[Path], list[Path], list[Path]],
) -> None:
    figure = figures.embedding(scores.read_embeddings(metrics[2]))
    panels = [panel for panel in figure.axes if panel.get_title(loc="left")]
    assert len(panels) == 6
    for panel in panels:
        dots, stars = panel.collections
        assert len(np.asarray(dots.get_offsets())) == fabricated.TRAIN
        assert len(np.asarray(stars.get_offsets())) == fabricated.TEST


@pytest.mark.parametrize("count", [1, 2, 5])
def test_near_tasks_have_near_colours(count: int) -> None:
    base = np.random.default_rng(0).uniform(-1, 1, (20, count))
    parameters = np.concatenate([base, base[:1] + 1e-4, -base[:1]])
    found, _ = figures._task_colours(parameters)
    near = np.abs(found[20] - found[0]).max()
    far = np.abs(found[21] - found[0]).max()
    assert near < 0.02 < far


def test_learning_curves_have_a_line_a_shard() -> None:
    table = pd.DataFrame(fabricated.curve(-3, -18, "return", "return_min")).set_index("step")
    loss = pd.DataFrame(fabricated.curve(0.1, 1, "loss", "validation")).set_index("step")
    curves = {("behaviour", "point_robot"): [table, table + 1], ("diffusion", "point_robot"): [loss]}
    figure = figures.learning_curves(curves)
    assert [len(panel.lines) for panel in figure.axes] == [4, 0, 2]
    assert [panel.get_yscale() for panel in figure.axes] == ["linear", "linear", "log"]


def test_baseline_curves_have_a_panel_a_method_and_a_dotted_line_for_its_second_part() -> None:
    whole = pd.DataFrame(fabricated.curve(0.1, 1, "loss", "validation")).set_index("step")
    parts = pd.DataFrame(fabricated.curve(0.1, 1, "encoder_loss", "policy_loss", "policy_validation")).set_index("step")
    curves = {("bc", "point_robot"): [whole, whole], ("focal", "point_robot"): [parts], ("bc", "ant_dir"): [-whole]}
    figure = rival_curves.baseline_curves(curves)
    assert [len(panel.lines) for panel in figure.axes] == [3, 4, 0, 2]
    assert [panel.get_yscale() for panel in figure.axes] == ["log", "log", "linear", "linear"]
    assert [line.get_linestyle() for line in figure.axes[0].lines] == ["-", ":", "-"]
    assert titles_above(figure) == ["FOCAL", "Cloning with z"]


def test_a_run_too_weak_to_be_scored_is_drawn_all_the_same(metrics: tuple[list[Path], list[Path], list[Path]]) -> None:
    table = scores.read_scores(metrics[0], metrics[1])
    table = table[table["episode"] == 0].assign(normalised=np.nan)
    figure = figures.score_bars(table, "context", Bootstrap(0.95, 50))
    assert [len(panel.patches) for panel in figure.axes] == [0, 0]


def test_a_single_run_has_a_bar_and_no_interval(metrics: tuple[list[Path], list[Path], list[Path]]) -> None:
    table = scores.read_scores(metrics[0], metrics[1])
    figure = figures.score_bars(table[table["episode"] == 0], "guide", Bootstrap(0.95, 50))
    assert [(len(panel.patches), len(panel.containers)) for panel in figure.axes] == [(4, 4), (4, 4)]


def test_a_curve_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing: no learning curve"):
        read_curve(tmp_path / "nothing")
    file = tmp_path / "curve" / "plots" / "metrics" / "loss.tsv"
    file.parent.mkdir(parents=True)
    file.write_text("neither\there\n1\t2\n", encoding="utf-8")
    with pytest.raises(InputError, match="curve: damaged"):
        read_curve(tmp_path / "curve")


@pytest.mark.parametrize("template", [paths.BEHAVIOUR_CURVE, paths.CONTEXT_CURVE, paths.PLANNER_METRICS])
def test_fields_of_a_path_are_those_it_was_made_of(template: str) -> None:
    values = {"preset": "smoke", "family": "ant_dir", "representation": "generalised", "seed": "3", "shard": "0"}
    found = paths.fields(template, template.format(**values))
    assert found == {name: value for name, value in values.items() if f"{{{name}}}" in template}
    with pytest.raises(ValueError, match="expected a path like"):
        paths.fields(template, "results/elsewhere.json")


def test_unknown_names_have_a_colour_of_their_own_every_time() -> None:
    assert style.colour("new_method", style.METHOD_COLOURS) == style.colour("new_method", style.METHOD_COLOURS)
    assert style.colour("metadiffuser", style.METHOD_COLOURS) == style.PLANNED
    assert style.ordered(["b", "dual", "a", "none"], style.GUIDE_NAMES) == ["none", "dual", "a", "b"]


def bars_line(container: Container) -> Line2D:
    """The line through the points of error bars."""
    assert isinstance(container, ErrorbarContainer)
    return container.lines[0]


def titles(figure: Figure) -> list[str]:
    return [panel.get_title(loc="left") for panel in figure.axes]


def titles_above(figure: Figure) -> list[str]:
    """The titles of the panels that have one."""
    return [title for title in titles(figure) if title]
