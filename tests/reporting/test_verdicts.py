"""The claims and their verdicts: every effect computed anew, every verdict reached, every sign held."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from metadiffuser.artifacts import read_json
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import registry, style
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.layout import Cell
from metadiffuser.reporting.rows import corrected
from metadiffuser.reporting.summary import Cells, Estimate
from metadiffuser.reporting.tables import verdicts
from metadiffuser.reporting.tables.verdicts import FAILS, HOLDS, MARGIN, UNDECIDED, UNTESTED, Claim
from tests.helpers import fabricated
from tests.helpers.reported import (
    METHODS,
    OWN,
    PARAMS,
    UNSEEN,
    captions,
    gathered,
    interval,
    of,
    record,
    rows_of,
    tables_folder,
    title,
)

pytestmark = pytest.mark.usefixtures("results")

EFFECTS = {  # of scores by their words: the cells of the difference, and when the claim holds
    "expert context minus wrong task": (OWN, ("metadiffuser", "dual", "wrong_task"), "above 0 points"),
    **{
        f"MetaDiffuser minus {'cloning' if method == 'bc' else name}": (
            OWN,
            (method, "none", "expert"),
            "above 0 points",
        )
        for method, name in METHODS.items()
    },
    "expert context minus random": (OWN, ("metadiffuser", "dual", "random"), "below 10 points"),
    "dual guide minus none": (OWN, ("metadiffuser", "none", "expert"), "above 0 points"),
    "with a value and candidates minus without": (("with_value", "dual", "expert"), OWN, "above 0 points"),
    "zero-shot minus expert context": (("metadiffuser", "dual", "zero_shot"), OWN, "above -10 points"),
}
ERRORS = "plan error, dual guide minus return guide"
REPRESENTATION = "MetaDiffuser's (reward and dynamics models) minus "


def judged(evidence: Evidence) -> dict[str, dict[str, Cell]]:
    """The rows of the table by the words of their difference, each by its columns' headings."""
    table = verdicts.verdicts(evidence)
    assert table is not None
    rows = [dict(zip([column.title for column in table.columns], row, strict=True)) for row in table.rows]
    found = {str(row["Difference"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def effect_of(row: dict[str, Cell]) -> Estimate:
    """The effect of a tested row."""
    effect = row["Effect"]
    assert isinstance(effect, Estimate)
    return effect


def gaps(difference: str, family: str) -> pd.Series:
    """First minus second on every seed, task and episode."""
    first, second, _ = EFFECTS[difference]
    return of(first, family)["score"] - of(second, family)["score"]


class TestEffects:
    def test_there_is_a_row_a_claim_and_baseline(self) -> None:
        rows = rows_of("verdicts", "Claim")
        letters = "".join(claim[1] for (claim,) in rows)
        assert letters == f"a{'b' * (len(METHODS) - 1)}cdeefgg"
        differences = [row["Difference"] for row in rows.values()]
        assert set(differences) == {*EFFECTS, ERRORS, f"{REPRESENTATION}another one"}
        assert all(claim.endswith(".") for (claim,) in rows)

    @pytest.mark.parametrize("difference", EFFECTS)
    def test_an_effect_averages_families_with_unseen_tasks_each_counting_the_same(self, difference: str) -> None:
        row = rows_of("verdicts", "Difference")[difference,]
        expected = np.mean([gaps(difference, family).groupby("task").mean().mean() for family in UNSEEN])
        assert interval(row, "Effect") == pytest.approx(expected, abs=1e-5)
        assert row["Holds if"] == EFFECTS[difference][2]

    def test_the_plan_error_is_relative_to_the_return_guides(self) -> None:
        def errors(family: str, guide: str) -> np.ndarray:
            cells = [cell for seed in PARAMS.seeds for cell in record("planner", family, seed)["cells"]]
            own = [
                cell for cell in cells if (cell["method"], cell["guide"], cell["context"]) == (OWN[0], guide, OWN[2])
            ]
            return np.array([list(cell["plan_error_by_task"]["1"].values()) for cell in own])

        row = rows_of("verdicts", "Difference")[ERRORS,]
        means = [100 * (errors(family, "dual").mean() / errors(family, "return").mean() - 1) for family in UNSEEN]
        assert interval(row, "Effect") == pytest.approx(np.mean(means), abs=1e-4)
        assert (row["Holds if"], row["Verdict"]) == ("below 0% of error", HOLDS)

    def test_of_the_plan_only_the_next_state_counts(self) -> None:
        found = gathered()
        later = found.task_errors["ahead"] > 1
        found.task_errors["error"] += later * (found.task_errors["guide"] == "dual") * 1000.0
        effect = effect_of(judged(found)[ERRORS])
        assert effect.value == pytest.approx(float(rows_of("verdicts", "Difference")[ERRORS,]["Effect"]), abs=1e-5)

    def test_the_interval_is_that_of_a_hierarchical_bootstrap(self) -> None:
        difference, generator = "MetaDiffuser minus cloning", np.random.default_rng(7)
        means = np.zeros(4000)
        for family in UNSEEN:
            grid = gaps(difference, family).to_numpy().reshape(2, fabricated.TEST, fabricated.EPISODES)
            for place in range(len(means)):
                seeds, tasks = generator.integers(0, 2, 2), generator.integers(0, fabricated.TEST, fabricated.TEST)
                episodes = generator.integers(0, fabricated.EPISODES, (2, fabricated.TEST, fabricated.EPISODES))
                drawn = np.take_along_axis(grid[seeds][:, tasks], episodes, axis=2)
                means[place] += drawn.mean() / len(UNSEEN)
        effect = effect_of(judged(gathered(samples=4000, methods=["bc"]))[difference])
        assert (effect.low, effect.high) == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=0.15)

    def test_rows_say_what_they_were_tested_on_and_where_it_is_shown(self) -> None:
        families = ", ".join(map(title, UNSEEN))
        known = {entry.title for entry in registry.entries(registry.TABLE, registry.FIGURE)}
        for (difference,), row in rows_of("verdicts", "Difference").items():
            if difference not in (*EFFECTS, ERRORS):
                continue
            assert row["Tested on"] == f"expert data: {families}; 12 unseen tasks; 2 training seeds"
            assert row["Interval"] == "2 training runs, tasks, episodes"
            assert row["Shown in"] in known

    def test_seeds_are_those_that_both_have(self) -> None:
        found, method = gathered(methods=["bc"]), "MetaDiffuser minus cloning"
        found.representations = found.representations[
            (found.representations["method"] != "bc") | (found.representations["seed"] == 1)
        ]
        row = judged(found)[method]
        expected = np.mean(
            [gaps(method, family).xs(1, level="seed").groupby("task").mean().mean() for family in UNSEEN]
        )
        assert effect_of(row).value == pytest.approx(expected)
        assert str(row["Tested on"]).endswith("12 unseen tasks; 1 training seed")
        assert row["Interval"] == "one training run: the interval leaves training out"

    def test_metrics_of_earlier_versions_name_no_data(self) -> None:
        assert str(judged(gathered())["dual guide minus none"]["Tested on"]).startswith(f"{title(UNSEEN[0])}, ")


class TestVerdicts:
    @pytest.mark.parametrize(
        ("low", "high", "bound", "above", "expected"),
        [
            (0.1, 2.0, 0.0, True, HOLDS),
            (-2.0, -0.1, 0.0, True, FAILS),
            (-0.1, 2.0, 0.0, True, UNDECIDED),
            (0.0, 2.0, 0.0, True, UNDECIDED),
            (-2.0, -0.1, 0.0, False, HOLDS),
            (0.1, 2.0, 0.0, False, FAILS),
            (8.0, 9.9, MARGIN, False, HOLDS),
            (9.0, 11.0, MARGIN, False, UNDECIDED),
            (10.1, 11.0, MARGIN, False, FAILS),
            (-9.9, -8.0, -MARGIN, True, HOLDS),
            (-11.0, -10.1, -MARGIN, True, FAILS),
            (float("nan"), float("nan"), 0.0, True, UNDECIDED),
        ],
    )
    def test_the_side_of_the_bound_on_which_the_interval_lies_decides(
        self, low: float, high: float, bound: float, above: bool, expected: str
    ) -> None:
        cells = gathered().cells
        claim = Claim(text="", effect="", cells=cells, first=(), second=(), shown="", bound=bound, above=above)
        assert claim.verdict(Estimate((low + high) / 2, low, high)) == expected

    def test_every_verdict_follows_from_the_numbers_of_its_row(self) -> None:
        reached = set()
        for row in rows_of("verdicts", "Difference").values():
            reached.add(row["Verdict"])
            if row["Verdict"] == UNTESTED:
                assert not any(row[name] for name in ("Effect", "Effect low", "p (Holm)", "Tested on", "Shown in"))
                continue
            side, bound = row["Holds if"].replace("%", " ").split()[:2]
            ends = sorted(
                (float(row[f"Effect {end}"]) - float(bound)) * (1 if side == "above" else -1) for end in ("low", "high")
            )
            assert row["Verdict"] == (HOLDS if ends[0] > 0 else FAILS if ends[1] < 0 else UNDECIDED)
        assert reached >= {HOLDS, FAILS, UNTESTED}

    def test_swapped_cells_swap_the_verdict(self) -> None:
        difference = "expert context minus wrong task"
        assert judged(gathered())[difference]["Verdict"] == HOLDS
        found = gathered()
        swapped = {"expert": "wrong_task", "wrong_task": "expert"}
        own = (found.representations["method"] == "metadiffuser") & (found.representations["guide"] == "dual")
        contexts = found.representations["context"].where(~own, found.representations["context"].replace(swapped))
        found.representations = found.representations.assign(context=contexts)
        assert judged(found)[difference]["Verdict"] == FAILS

    def test_equal_cells_decide_nothing(self) -> None:
        found = gathered()
        everything = found.representations
        unguided = everything[(everything["method"] == "metadiffuser") & (everything["guide"] == "none")]
        shift = np.where(unguided["task"] % 2 == 0, 5.0, -5.0)
        guided = unguided.assign(guide="dual", normalised=unguided["normalised"] + shift)
        own = (everything[["method", "guide", "context"]] == list(OWN)).all(axis=1)
        found.representations = pd.concat([everything[~own], guided])
        row = judged(found)["dual guide minus none"]
        assert effect_of(row).low < 0 < effect_of(row).high
        assert row["Verdict"] == UNDECIDED

    @pytest.mark.parametrize(("loss", "expected"), [(2.0, HOLDS), (10.0, UNDECIDED), (30.0, FAILS)])
    def test_another_representation_may_lose_the_margin(self, loss: float, expected: str) -> None:
        found = gathered()
        own = found.representations
        worse = own["normalised"] - loss - own["episode"] % 2 + 0.5
        found.representations = pd.concat([own, own.assign(representation="focal", normalised=worse)])
        row = judged(found)[f"{REPRESENTATION}{style.representation_name('focal')}"]
        assert effect_of(row).value == pytest.approx(loss)
        assert (row["Holds if"], row["Verdict"]) == ("below 10 points", expected)


class TestUntested:
    def test_what_the_preset_lacks_is_not_tested(self) -> None:
        found = gathered()
        everything = found.representations
        gone = (everything["context"] == "wrong_task") | (everything["method"] == "with_value")
        found.representations = everything[~gone]
        rows = judged(found)
        untested = {name for name, row in rows.items() if row["Verdict"] == UNTESTED}
        assert untested == {
            "expert context minus wrong task",
            "MetaDiffuser minus other methods",
            f"{REPRESENTATION}another one",
            "MetaDiffuser minus cloning",
            "with a value and candidates minus without",
        }
        assert all(rows[name]["Effect"] is None and rows[name]["p (Holm)"] is None for name in untested)

    def test_a_claim_that_a_family_cannot_be_tested_on_is_not_tested(self) -> None:
        found = gathered(methods=["focal"])
        everything = found.representations
        found.representations = everything[(everything["method"] != "focal") | (everything["family"] != UNSEEN[0])]
        assert judged(found)[f"MetaDiffuser minus {METHODS['focal']}"]["Verdict"] == UNTESTED

    def test_without_unseen_tasks_nothing_is_tested(self) -> None:
        found = gathered()
        found.families = []
        assert {row["Verdict"] for row in judged(found).values()} == {UNTESTED}


class TestPValues:
    def test_they_are_corrected_over_the_tested_rows(self) -> None:
        assert corrected([0.01, None, 0.04, float("nan"), 0.03]) == pytest.approx([0.03, None, 0.06, None, 0.06])
        shown = [float(row["p (Holm)"]) for row in rows_of("verdicts", "Difference").values() if row["p (Holm)"]]
        assert min(shown) == pytest.approx(len(shown) * 2 / 201, abs=1e-5), "all resamples lie on one side of the bound"
        assert f"corrected for the {len(shown)} tested rows" in captions()["verdicts"]

    def test_they_are_those_of_an_effect_equal_to_the_bound(self) -> None:
        values = [
            (method, seed, task, 10.0 * (method == "a") + (seed + task) % 2 * (method == "a"))
            for method in "ab"
            for seed in (0, 1)
            for task in (0, 1)
        ]
        frame = pd.DataFrame(values, columns=["method", "seed", "task", "error"])
        both = pd.concat([frame.assign(family="f"), frame.assign(family="g", error=3 * frame["error"])])
        cells = Cells(both, Bootstrap(0.9, 500), keys=("method",), columns=("error",))

        def p(bound: float) -> float:
            found = cells.average_difference(["f", "g"], ("a",), ("b",), "error", bound)
            assert found is not None
            assert found.mean.value == pytest.approx((10.5 + 31.5) / 2)
            assert (found.won, found.tasks) == (4, 4)
            return found.p

        assert p(0.0) == p(30.0) == pytest.approx(2 / 501)
        assert p(21.0) > 0.5


def test_the_verdicts_come_first_and_the_headline_stays_that_of_table_1() -> None:
    assert registry.entries(registry.TABLE, registry.FIGURE)[0].name == "verdicts"
    index = read_json(tables_folder() / "tables.json")
    assert index["tables"][0]["name"] == "verdicts"
    scores = json.loads((tables_folder() / "scores.json").read_text())
    first = rows_of("table1_few_shot")["MetaDiffuser (dual guide)"]
    assert scores["All families"]["score"] == pytest.approx(float(first["All families score"]), abs=1e-5)
    assert (tables_folder() / "verdicts.md").read_text(encoding="utf-8").startswith("### Verdicts")
