"""What tables are made of: evidence with something missing, cells and their differences, captions, the main result."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metadiffuser.artifacts import read_json, write_json
from metadiffuser.errors import InputError
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import notes
from metadiffuser.reporting.labels import Labels
from metadiffuser.reporting.main_result import main_result
from metadiffuser.reporting.summary import Cells, Estimate
from metadiffuser.reporting.tables.context import diagnostics
from metadiffuser.reporting.tables.few_shot import few_shot, first_five
from metadiffuser.reporting.tables.latents import errors_by_latent, probe_by_parameter
from metadiffuser.reporting.tables.representation import representation_flexibility
from metadiffuser.reporting.tables.warm_start import robustness
from tests.helpers import fabricated
from tests.helpers.reported import (
    APART,
    METHODS,
    NAMES,
    OWN,
    UNSEEN,
    captions,
    gathered,
    heading,
    interval,
    of,
    rows_of,
    tables_folder,
    title,
)


@pytest.mark.usefixtures("results")
class TestCaptions:
    def test_every_table_with_an_interval_says_what_it_covers(self) -> None:
        found = []
        for name in NAMES:
            header = (tables_folder() / f"{name}.csv").read_text(encoding="utf-8").splitlines()[0]
            if " low" in header:
                assert re.search(r"interval over (training seeds, )?tasks and episodes", captions()[name]), name
                found.append(name)
        assert len(found) == 11

    def test_captions_state_the_sample_sizes(self) -> None:
        both = f"{title(UNSEEN[0])}, {title(UNSEEN[1])}: 6 unseen tasks × 4 episodes × 2 training seeds"
        for name in ("table1_few_shot", "table2_warm_start", "table4_guide", "table4_significance", "comparisons"):
            assert both in captions()[name]
            assert f"{title(APART)}: 2 tasks, none of them unseen, × 4 episodes × 2 training seeds" in captions()[name]
            assert "95%" in captions()[name]
        sizes = read_json(tables_folder() / "tables.json")["sizes"]
        counts = {"family": "cheetah_vel", "tasks": 6, "episodes": 4, "seeds": 2, "unscored": 0}
        assert sizes[1] == {**counts, "unseen": True}
        assert not sizes[2]["unseen"]

    def test_families_and_methods_have_the_names_that_their_metrics_say(self) -> None:
        pages = [path for path in tables_folder().glob("*.md") if "published" not in path.name]
        text = "".join(path.read_text(encoding="utf-8") for path in pages)
        for name in ("Point-Robot", "Cheetah-Vel", "CVAE-Planner", "Prompt Dt", "Prompt-DT", "rival", " told "):
            assert name not in text


def test_metrics_of_earlier_versions_have_names_in_title_case_and_colours_by_order() -> None:
    labels = Labels.from_json({}, ["point_robot", "ant_dir"], ["prompt_dt", "bc"])
    assert [labels.family(name) for name in ("point_robot", "ant_dir", "new_one")] == [
        "Point-Robot",
        "Ant-Dir",
        "New-One",
    ]
    assert list(labels.methods)[:3] == ["metadiffuser", "prompt_dt", "bc"]
    assert list(labels.methods)[3:] == ["with_value", "unconditional", "one_call", "random", "expert"]
    assert labels.method("prompt_dt") == "Prompt Dt"
    assert [labels.method_colour(name) for name in ("prompt_dt", "bc")] == list(style.PALETTE[:2])
    assert Labels.from_json(labels.to_json(), ["point_robot", "ant_dir"], ["prompt_dt", "bc"]) == labels


VALUED = "MetaDiffuser with a value, best of 8 (dual guide)"


@pytest.mark.usefixtures("results")
class TestOtherEvidence:
    def test_table_3_has_a_row_a_representation_with_its_difference_to_the_first(self) -> None:
        found = gathered(samples=200)
        own = found.scores
        worse = own["normalised"] - 10 - own["task"] % 5 + own["episode"]
        found.representations = pd.concat([own, own.assign(representation="focal", normalised=worse)])
        table = representation_flexibility(found)
        assert table is not None
        assert [column.title for column in table.columns[1:4]] == ["return", "score", "difference"]
        assert [row[0] for row in table.rows] == [style.representation_name(name) for name in ("generalised", "focal")]
        for place, family in enumerate((*UNSEEN, APART)):
            first, second = (row[3 * place + 1 : 3 * place + 4] for row in table.rows)
            mean = of(OWN, family)["score"].mean()
            shift = -10 - np.mean([task % 5 for task in fabricated.unseen(family)]) + 1.5
            assert first[2] is None
            shown = [cell.value for cell in (first[1], *second[1:]) if isinstance(cell, Estimate)]
            assert shown == pytest.approx([mean, mean + shift, shift])
            assert isinstance(second[2], Estimate)
            assert second[2].low < shift < second[2].high
            assert table.columns[3 * place + 1].group == heading(family)

    def test_a_representation_alone_makes_no_table_3(self) -> None:
        assert representation_flexibility(gathered()) is None

    def test_without_baselines_the_tables_are_those_of_the_planner(self) -> None:
        found = gathered()
        assert {row[0] for row in robustness(found).rows} == {"MetaDiffuser", VALUED}  # type: ignore[union-attr]
        titles = [column.title for column in diagnostics(found).columns]  # type: ignore[union-attr]
        assert "cloning with z" not in titles

    def test_one_training_run_is_said_in_the_row(self) -> None:
        table = few_shot(gathered(seeds=(1,)))
        assert table is not None
        assert table.rows[0][-1] == "one training run: the interval leaves training out"

    def test_five_unseen_tasks_need_no_table_of_the_first_five(self) -> None:
        found = gathered()
        last = {fabricated.unseen(family)[-1] for family in UNSEEN}
        found.scores = found.scores[~found.scores["task"].isin(last)]
        assert first_five(found) is None

    def test_a_family_is_set_apart_only_if_all_its_test_tasks_are_training_tasks(self) -> None:
        found = gathered()
        assert (found.families, found.apart) == (UNSEEN, [APART])
        changed = gathered()
        other = (changed.tasks["family"] == APART) & (changed.tasks["task"] == 3)
        own = [(("direction", (0.5,)),)] * len(changed.tasks)
        changed.tasks["parameters"] = changed.tasks["parameters"].where(~other, pd.Series(own))
        assert changed.apart == []
        assert changed.families == [*UNSEEN, APART]

    def test_a_method_that_lacks_a_family_has_no_average(self) -> None:
        found = gathered()
        some = found.scores[(found.scores["context"] == "medium") & (found.scores["family"] == "cheetah_vel")]
        found.scores = pd.concat([found.scores, some.assign(method="unconditional", guide="dual", context="expert")])
        table = few_shot(found)
        assert table is not None
        row = {row[0]: row for row in table.rows}["Unconditional diffusion planner (dual guide)"]
        assert tuple(row[1:4]) == (None, None, None)
        assert isinstance(row[5], Estimate)
        assert row[7] is None

    def test_tasks_without_a_scale_are_left_out_of_scores_and_counted(self) -> None:
        found, family = gathered(), UNSEEN[0]
        first = fabricated.unseen(family)[0]
        scale = (found.scores["family"] != family) | (found.scores["task"] != first)
        found.scores = found.scores.assign(normalised=found.scores["normalised"].where(scale))
        assert found.sizes[0].unscored == 1
        assert "(1 of the tasks without a normalised score" in found.protocol()
        means = of(OWN, family).groupby("task").mean()
        score, total = (found.cells.mean(family, OWN, column) for column in ("normalised", "return"))
        assert score is not None
        assert total is not None
        assert score.value == pytest.approx(means["score"].drop(first).mean())
        assert total.value == pytest.approx(means["return"].mean())
        nothing = gathered()
        nothing.scores = nothing.scores.assign(normalised=np.nan)
        assert nothing.cells.mean(family, OWN, "normalised") is None

    def test_the_best_quality_is_that_of_the_data_that_a_method_was_trained_on(self, tmp_path: Path) -> None:
        family = UNSEEN[0]
        record = fabricated.baseline_metrics(family, "bc", 0)
        record["training_tasks"] = fabricated.training_tasks(family, "bc", "none", 0.45, 0)

        def failed(qualities: list[str]) -> set[tuple[str, str]]:
            path = tmp_path / f"{'-'.join(qualities)}.json"
            write_json(path, record | {"qualities": qualities})
            found = gathered()
            found.baselines = [path]
            return found.not_learnt

        assert failed(["expert"]) == failed([]) == {(family, "bc")}
        assert failed(["medium", "random"]) == set(), "0.45 is more than 80% of medium's 0.5"


@pytest.mark.usefixtures("results")
def test_metrics_of_earlier_versions_have_no_table_of_what_they_lack(tmp_path: Path) -> None:
    record = fabricated.context_metrics(UNSEEN[0], 0)
    write_json(
        tmp_path / "old.json", {k: v for k, v in record.items() if k not in ("errors_by_latent", "probe_parameters")}
    )
    found = gathered()
    found.context = [tmp_path / "old.json"]
    assert errors_by_latent(found) is None
    assert probe_by_parameter(found) is None
    assert diagnostics(found) is not None


@pytest.mark.usefixtures("results")
def test_experts_that_were_not_given_other_parameters_have_no_score(tmp_path: Path) -> None:
    record = fabricated.dataset_metrics(UNSEEN[0])
    write_json(tmp_path / "old.json", {key: value for key, value in record.items() if key != "transfer"})
    found = gathered()
    assert set(found.transfer["given"]) == {"own", "wrong", "mean"}
    found = gathered()
    found.dataset = [tmp_path / "old.json"]
    assert found.transfer.empty
    table = errors_by_latent(found)
    assert table is not None
    assert all(row[-3:] == [None] * 3 for row in table.rows)


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize("name", ["scores", "training", "plan_errors", "task_errors", "promises"])
def test_numbers_of_other_representations_are_left_out(name: str, tmp_path: Path) -> None:
    write_json(tmp_path / "focal.json", fabricated.planner_metrics(UNSEEN[0], 0) | {"representation": "focal"})
    found = gathered()
    found.planner = [*found.planner, tmp_path / "focal.json"]
    pd.testing.assert_frame_equal(getattr(found, name), getattr(gathered(), name))


@pytest.mark.usefixtures("results")
def test_films_have_the_returns_of_the_training_seed_that_is_filmed() -> None:
    films, first = notes(gathered())["films"][UNSEEN[0]], of(OWN, UNSEEN[0])["return"]
    for task in fabricated.unseen(UNSEEN[0]):
        assert films[str(task)]["dual"]["return"] == pytest.approx(first[0, task, 0], abs=1e-3)
        assert first[0, task, 0] != pytest.approx(first[1, task, 0], abs=1e-2)


def cells_of(values: list[tuple[str, int, int, float]], fixed: tuple[str, ...] = ()) -> Cells:
    frame = pd.DataFrame(values, columns=["method", "seed", "task", "error"]).assign(family="f")
    return Cells(frame, Bootstrap(0.9, 500), keys=("method",), columns=("error",), fixed=fixed)


def test_paired_differences_keep_to_what_both_cells_have() -> None:
    first = [("a", 0, 1, 1.0), ("a", 0, 2, 5.0), ("a", 1, 1, 4.0), ("a", 1, 2, 4.0), ("a", 0, 3, 9.0), ("a", 1, 3, 9.0)]
    second = [("b", 0, 1, 0.0), ("b", 0, 2, 1.0), ("b", 1, 1, 1.0), ("b", 1, 2, 1.0)]
    found = cells_of(first + second).difference("f", ("a",), ("b",), "error")
    assert found is not None
    assert found.mean.value == pytest.approx((1 + 4 + 3 + 3) / 4)
    assert found.median == pytest.approx((2.0 + 3.5) / 2)
    assert (found.won, found.tasks) == (2, 2)
    assert 1.0 <= found.mean.low < found.mean.high <= 4.0
    assert found.p == pytest.approx(2 / 501)
    elsewhere = [("b", 0, 7, 1.0), ("b", 1, 7, 1.0)]
    assert cells_of(first + elsewhere).difference("f", ("a",), ("b",), "error") is None
    alone = cells_of([first[0], second[0]]).difference("f", ("a",), ("b",), "error")
    assert alone is not None
    assert alone.mean.value == 1.0
    assert np.isnan([alone.mean.low, alone.p]).all(), "one run tells nothing of others"


def test_a_task_on_which_both_earn_the_same_is_not_won() -> None:
    values = [("a", 0, 1, 2.0), ("a", 0, 2, 3.0), ("b", 0, 1, 2.0), ("b", 0, 2, 1.0)]
    found = cells_of(values).difference("f", ("a",), ("b",), "error")
    assert found is not None
    assert (found.won, found.tasks) == (1, 2)


def test_one_run_of_each_of_the_tasks_there_are_has_no_interval() -> None:
    found = cells_of([("a", 0, 1, 2.0), ("a", 0, 2, 4.0)], fixed=("f",)).mean("f", ("a",), "error")
    assert found is not None
    assert found.value == 3.0
    assert np.isnan([found.low, found.high]).all()


def test_a_cell_has_as_many_seeds_as_in_the_family_with_the_fewest() -> None:
    runs = pd.DataFrame({"family": ["f", "f", "g"], "seed": [0, 1, 0]}).assign(method="a", task=0, error=1.0)
    cells = Cells(runs, Bootstrap(0.9, 10), keys=("method",), columns=("error",))
    assert cells.seeds(("a",)) == 1
    assert cells.seeds(("b",)) == 0


def test_tasks_that_are_all_there_are_do_not_widen_the_interval() -> None:
    values = [("a", seed, task, 100.0 * task + seed) for seed in (0, 1) for task in (0, 1)]
    wide, narrow = (cells_of(values, fixed).mean("f", ("a",), "error") for fixed in ((), ("f",)))
    assert wide is not None
    assert narrow is not None
    assert (wide.low, wide.value, wide.high) == pytest.approx((0, 50.5, 101), abs=1)
    assert (narrow.low, narrow.value, narrow.high) == (50.0, 50.5, 51.0)


@pytest.mark.usefixtures("results")
class TestMainResult:
    def test_it_is_three_lines_of_table_1(self) -> None:
        rows = rows_of("table1_few_shot")
        first = rows["MetaDiffuser (dual guide)"]
        low, high = (f"{float(first[f'All families score {end}']):.1f}" for end in ("low", "high"))
        found = {name: float(rows[name]["All families score"]) for name in METHODS.values()}
        best = max(found, key=lambda name: found[name])
        lines = main_result(tables_folder())
        assert len(lines) == 3
        assert lines[0] == (
            f"MetaDiffuser: {interval(first, 'All families score'):.1f} [{low}, {high}] normalised score on unseen "
            "tasks, mean of 2 families, 2 training seeds"
        )
        assert lines[1].startswith(f"Best baseline, {best}: {found[best]:.1f} [")
        assert all(f"{heading(family)} " in lines[2] for family in fabricated.ANCHORS)

    def test_a_baseline_is_known_by_its_key_and_not_by_its_title(self, tmp_path: Path) -> None:
        text = (tables_folder() / "tables.json").read_text().replace(next(iter(METHODS.values())), "Unconditional twin")
        (tmp_path / "tables.json").write_text(text)
        found = {name: rows_of("table1_few_shot")[title]["All families score"] for name, title in METHODS.items()}
        best = max(found, key=lambda name: float(found[name]))
        named = "Unconditional twin" if best == next(iter(METHODS)) else METHODS[best]
        assert main_result(tmp_path)[1].startswith(f"Best baseline, {named}: ")

    def test_where_families_differ_it_says_the_fewest_training_seeds(self, tmp_path: Path) -> None:
        index = read_json(tables_folder() / "tables.json")
        index["sizes"][0]["seeds"] = 5
        write_json(tmp_path / "tables.json", index)
        assert main_result(tmp_path)[0].endswith("mean of 2 families, 2 training seeds")

    def test_a_missing_or_foreign_index_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"tables\.json: missing"):
            main_result(tmp_path)
        write_json(tmp_path / "tables.json", {"tables": []})
        with pytest.raises(InputError, match="run make_tables again"):
            main_result(tmp_path)
