"""Figures of paths, embeddings and learning curves: what their artists hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D

from metadiffuser import paths
from metadiffuser.errors import InputError
from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.figures import baseline_curves, embedding, learning_curves, planned_and_executed
from metadiffuser.reporting.labels import Labels
from metadiffuser.stages import make_figures
from metadiffuser.tracking import read_curve, write_curve
from tests.helpers import fabricated
from tests.helpers.drawings import drawn, titles
from tests.helpers.reported import PARAMS, title

LABELS = Labels.from_json({}, ["point_robot", "cheetah_vel", "ant_dir"], ["bc", "focal"])


def test_planned_is_orange_over_executed_in_blue(evidence: Evidence) -> None:
    figure = drawn(planned_and_executed.planned_and_executed(evidence))
    assert titles(figure) == [
        f"{title(family)}, task {task}\nguide {guide}"
        for family in PARAMS.families
        for task in fabricated.unseen(family)[:2]
        for guide in ("none", "dual")
    ]
    assert [panel.get_ylabel() for panel in figure.axes] == ["y (m)"] * 4 + ["z (m)"] * 8
    lines = figure.axes[1].lines
    executed = [line for line in lines if line.get_color() == style.EXECUTED]
    planned = [line for line in lines if line.get_color() == style.PLANNED]
    assert (len(executed), len(planned)) == (1, 2)
    # Plans of 8 steps made at 8 and 12: the path from half a plan before the first to half a plan after the last.
    np.testing.assert_allclose(np.asarray(executed[0].get_xdata(), float), np.linspace(0, 1, 41)[4:24])
    assert len(np.asarray(planned[0].get_xdata())) == 8


def test_a_plan_lies_over_the_path_that_its_own_guide_executed() -> None:
    rows = []
    for guide, slope in (("none", 1.0), ("dual", 2.0)):
        executed = np.linspace(0, 1, 21)[:, None] * [1.0, slope, 0.0]
        rows.append(("point_robot", 7, guide, 4, executed[4:8], executed))
    table = pd.DataFrame(rows, columns=["family", "task", "guide", "step", "planned", "executed"])
    with style.styled():
        figure = planned_and_executed.draw(table, LABELS)
    for panel, slope in zip(figure.axes, (1.0, 2.0), strict=True):
        (path,) = [line for line in panel.lines if line.get_color() == style.EXECUTED]
        x, y = (np.asarray(values, float) for values in path.get_data())
        np.testing.assert_allclose(y, slope * x)
        assert len(x) > 1


def test_embedding_has_a_dot_a_training_task_and_a_star_an_unseen_one(evidence: Evidence) -> None:
    figure = drawn(embedding.embedding(evidence))
    panels = [panel for panel in figure.axes if panel.get_title(loc="left")]
    assert len(panels) == 3 * len(PARAMS.families)
    for place, panel in enumerate(panels):
        tasks = fabricated.tasks(PARAMS.families[place // 3])
        dots, stars = panel.collections
        assert len(np.asarray(dots.get_offsets())) == sum(task["split"] == "train" for task in tasks)
        assert len(np.asarray(stars.get_offsets())) == sum(task["split"] == "test" for task in tasks)


def test_a_task_has_the_colour_of_its_parameters_as_a_dot_and_as_a_star() -> None:
    tasks = {"split": ["train", "test", "train", "test"], "parameters": [[0.0], [1.0], [2.0], [3.0]]}
    contexts = [pd.DataFrame({**tasks, "quality": quality}) for quality in ("expert", "random")]
    table = pd.concat(contexts, ignore_index=True).assign(family="point_robot", x=np.arange(8.0), y=np.arange(8.0))
    with style.styled():
        figure = embedding.draw(table, LABELS)
    colours, _ = embedding.task_colours(np.arange(4.0)[:, None])
    panels = [panel for panel in figure.axes if panel.get_title(loc="left")]
    assert len(panels) == 2
    for panel in panels:
        for collection, expected in zip(panel.collections, (colours[0::2], colours[1::2]), strict=True):
            np.testing.assert_allclose(np.asarray(collection.get_facecolor())[:, :3], expected[:, :3])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_near_tasks_have_near_colours(count: int) -> None:
    base = np.random.default_rng(0).uniform(-1, 1, (20, count))
    parameters = np.concatenate([base, base[:1] + 1e-4, -base[:1]])
    found, _ = embedding.task_colours(parameters)
    near = np.abs(found[20] - found[0]).max()
    far = np.abs(found[21] - found[0]).max()
    assert near < 0.02 < far


def test_learning_curves_have_a_line_a_shard() -> None:
    table = pd.DataFrame(fabricated.curve(-3, -18, "return", "return_min")).set_index("step")
    loss = pd.DataFrame(fabricated.curve(0.1, 1, "loss", "validation")).set_index("step")
    curves = {("behaviour", "point_robot"): [table, table + 1], ("diffusion", "point_robot"): [loss]}
    with style.styled():
        figure = learning_curves.draw(curves, LABELS)
    assert [len(panel.lines) for panel in figure.axes] == [4, 0, 2]
    assert [panel.get_yscale() for panel in figure.axes] == ["linear", "linear", "log"]
    assert np.asarray(figure.axes[0].lines[1].get_ydata()).tolist() == (table["return"] + 1).tolist()


def test_learning_curves_are_those_of_the_representation_that_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given: list[Evidence] = []
    monkeypatch.setattr(make_figures, "write_figures", lambda folder, evidence: given.append(evidence))
    params = fabricated.parameters().model_copy(update={"families": ["point_robot"], "baselines": []})
    fabricated.write_curves(params)
    named = {"preset": params.preset, "family": "point_robot", "seed": 0}
    for template in (paths.CONTEXT_CURVE, paths.DIFFUSION_CURVE):
        other = fabricated.curve(70.0, 80.0, "loss", "validation")
        write_curve(Path(template.format(**named, representation="corro")), other)
    fabricated.run_stage("make_figures", params.model_copy(update={"representations": ["generalised", "corro"]}))
    for stage in ("context", "diffusion"):
        (curve,) = given[0].curves[stage, "point_robot"]
        assert curve["loss"].max() < 1.5, "the other representation's is shown"


def test_baseline_curves_have_a_panel_a_method_and_a_dotted_line_for_its_second_part() -> None:
    whole = pd.DataFrame(fabricated.curve(0.1, 1, "loss", "validation")).set_index("step")
    parts = pd.DataFrame(fabricated.curve(0.1, 1, "encoder_loss", "policy_loss", "policy_validation")).set_index("step")
    curves = {("focal", "point_robot"): [parts], ("bc", "point_robot"): [whole, whole], ("bc", "ant_dir"): [-whole]}
    with style.styled():
        figure = baseline_curves.draw(curves, LABELS)
    assert titles(figure) == ["Bc", "Focal"], "in the order of the labels"
    assert [len(panel.lines) for panel in figure.axes] == [4, 3, 2, 0]
    assert [panel.get_yscale() for panel in figure.axes] == ["log", "log", "linear", "linear"]
    assert [line.get_linestyle() for line in figure.axes[1].lines] == ["-", ":", "-"]


def test_training_and_validation_have_the_colours_that_the_legend_says() -> None:
    table = pd.DataFrame({"loss": [3.0, 1.0], "validation": [4.0, 2.0]}, index=[0, 100])
    with style.styled():
        baselines = baseline_curves.draw({("bc", "point_robot"): [table]}, LABELS)
        own = learning_curves.draw({("diffusion", "point_robot"): [table]}, LABELS)
    (legend,) = baselines.legends
    handles = [handle for handle in legend.legend_handles if isinstance(handle, Line2D)]
    named = {handle.get_color(): text.get_text() for handle, text in zip(handles, legend.get_texts(), strict=True)}
    expected = {"training": [3.0, 1.0], "validation": [4.0, 2.0]}
    lines = {named[line.get_color()]: np.asarray(line.get_ydata()).tolist() for line in baselines.axes[0].lines}
    assert lines == expected
    assert {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in own.axes[2].lines} == expected


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
