"""Every number of every table is computed anew, by pandas and SciPy alone, from the metrics files."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from metadiffuser.reporting import style
from tests.helpers import fabricated
from tests.helpers.reported import (
    APART,
    EXPERT,
    METHODS,
    OWN,
    PARAMS,
    ROWS,
    UNSEEN,
    captions,
    heading,
    interval,
    of,
    record,
    rows_of,
    title,
)

pytestmark = pytest.mark.usefixtures("results")
FAMILIES = list(fabricated.ANCHORS)
GUIDES = ["none", "return", "dynamics", "dual"]
AHEAD = (("1", "1"), ("5", "5"), ("last", "15"))


class TestFewShot:
    def test_rows_are_metadiffuser_the_baselines_of_params_and_what_is_beside_them(self) -> None:
        assert list(rows_of("table1_few_shot")) == [*ROWS, EXPERT]

    def test_families_are_those_of_params_then_their_mean_then_those_without_an_unseen_task(self) -> None:
        columns = list(rows_of("table1_few_shot")["Random planner"])
        places = [columns.index(f"{heading(family)} score") for family in UNSEEN]
        places += [columns.index("All families score"), columns.index(f"{heading(APART)} score")]
        assert places == sorted(places)

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("name", ROWS)
    def test_returns_scores_and_interquartile_means(self, name: str, family: str) -> None:
        row, pairs = (
            rows_of("table1_few_shot")[name],
            of(ROWS[name], family).groupby(["seed", "task"]).mean(),
        )
        for column in ("return", "score"):
            assert interval(row, f"{heading(family)} {column}") == pytest.approx(pairs[column].mean(), abs=1e-5)
        expected = stats.trim_mean(pairs["score"], 0.25)
        assert float(row[f"{heading(family)} IQM"]) == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("name", ROWS)
    def test_the_average_is_over_families_with_unseen_tasks(self, name: str) -> None:
        means = [of(ROWS[name], family)["score"].mean() for family in UNSEEN]
        row = rows_of("table1_few_shot")[name]
        assert interval(row, "All families score") == pytest.approx(np.mean(means), abs=1e-5)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_the_expert_is_the_mean_of_its_episodes_on_the_unseen_tasks(self, family: str) -> None:
        data, row = record("dataset", family), rows_of("table1_few_shot")[EXPERT]
        means = [np.mean(data["returns"]["expert"][str(task)]) for task in fabricated.unseen(family)]
        assert float(row[f"{heading(family)} return"]) == pytest.approx(np.mean(means), abs=1e-5)
        assert float(row[f"{heading(family)} score"]) == pytest.approx(100, abs=1e-5)

    def test_a_mark_stands_at_the_method_and_family_that_did_not_learn(self) -> None:
        family, method = fabricated.NOT_LEARNT
        marked = {
            (name, column.removesuffix(" score mark"))
            for name, row in rows_of("table1_few_shot").items()
            for column, value in row.items()
            if column.endswith(" mark") and value == "†"
        }
        assert marked == {(METHODS[method], heading(family))}
        assert "† did not learn" in captions()["table1_few_shot"]
        named = {name: row["Did not learn"] for name, row in rows_of("training_tasks").items()}
        assert named.pop(METHODS[method]) == title(family)
        assert set(named.values()) == {""}

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("name", ROWS)
    def test_the_first_five_unseen_tasks_are_shown_as_well(self, name: str, family: str) -> None:
        found, row = of(ROWS[name], family), rows_of("table1_first_five")[name]
        first = found[found.index.get_level_values("task").isin(fabricated.unseen(family)[:5])].mean()
        for column in ("return", "score"):
            assert float(row[f"{heading(family)} {column}"]) == pytest.approx(first[column], abs=1e-5)
        everything = rows_of("table1_few_shot")[name]
        column = f"{heading(family)} score"
        assert (row[column] == everything[column]) == (family == APART)

    def test_scores_task_by_task(self) -> None:
        rows = rows_of("scores_by_task", "Family", "Task")
        assert len(rows) == 2 * fabricated.TEST + 2
        for family, (name, cell) in itertools.product(FAMILIES, ROWS.items()):
            expected = of(cell, family)["score"].groupby("task").mean()
            for task in fabricated.unseen(family):
                assert float(rows[heading(family), str(task)][name]) == pytest.approx(expected[task], abs=1e-5)

    def test_rows_say_what_their_interval_covers(self) -> None:
        rows = rows_of("table1_few_shot")
        assert rows["MetaDiffuser (dual guide)"]["Interval"] == "2 training runs, tasks, episodes"
        assert rows["Random planner"]["Interval"] == "tasks and episodes; nothing is trained"
        assert rows[EXPERT]["Interval"] == "one training run: the interval leaves training out"


class TestWarmStart:
    def test_table_2_has_every_method_and_context(self) -> None:
        rows, short = rows_of("table2_warm_start", "Method", "Warm-start"), rows_of("table2_average")
        own = [cell for cell in fabricated.SHARES if cell[:2] == OWN[:2]]
        cells = {("MetaDiffuser", cell[2]): cell for cell in own}
        for method, context in itertools.product(METHODS, fabricated.BASELINE_SHARES):
            cells[METHODS[method], context] = (method, "none", context)
        valued = {cell[2]: cell for cell in fabricated.SHARES if cell[0] == "with_value"}
        cells |= {
            ("MetaDiffuser with a value, best of 8 (dual guide)", context): cell for context, cell in valued.items()
        }
        assert len(rows) == len(cells), "planners that no context tells apart are left out"
        for (name, context), cell in cells.items():
            means = {family: of(cell, family).mean() for family in FAMILIES}
            row = rows[name, style.context_name(context)]
            for family, column in itertools.product(FAMILIES, ("return", "score")):
                expected = means[family][column]
                assert float(row[f"{heading(family)} {column}"]) == pytest.approx(expected, abs=1e-5)
            average = float(short[name][f"All families: score {style.context_name(context)}"])
            assert average == pytest.approx(np.mean([means[family]["score"] for family in UNSEEN]), abs=1e-5)
        assert short[METHODS["bc"]]["All families: score oracle"] == ""

    def test_a_cell_has_the_same_interval_in_every_table(self) -> None:
        first, second = rows_of("table1_few_shot"), rows_of("table2_warm_start", "Method", "Warm-start")
        for family, column in itertools.product(FAMILIES, ("return low", "score high")):
            name = f"{heading(family)} {column}"
            assert first["MetaDiffuser (dual guide)"][name] == second["MetaDiffuser", "expert"][name]
            assert first["MetaDiffuser, another task's context"][name] == second["MetaDiffuser", "wrong task"][name]
            assert first[METHODS["focal"]][name] == second[METHODS["focal"], "expert"][name]


def planned(guide: str, family: str) -> list[dict[str, float]]:
    """The planner's cells of a guide, one a seed."""
    records = [record("planner", family, seed)["cells"] for seed in PARAMS.seeds]
    wanted = ("metadiffuser", guide, "expert")
    found = [cell for cells in records for cell in cells if (cell["method"], cell["guide"], cell["context"]) == wanted]
    assert len(found) == len(PARAMS.seeds)
    return found


class TestGuide:
    def test_table_4_has_a_row_a_guide(self) -> None:
        assert list(rows_of("table4_guide")) == GUIDES

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("guide", GUIDES)
    def test_scores_promises_and_errors_are_those_of_the_guide_and_family(self, guide: str, family: str) -> None:
        row, cells = rows_of("table4_guide")[guide], planned(guide, family)
        means = of(("metadiffuser", guide, "expert"), family).mean()
        expected = {column: means[column] for column in ("return", "score")}
        for name in ("predicted", "received"):
            expected[name] = np.mean([cell["predicted_return"][name] for cell in cells])  # type: ignore[index]
        for column, ahead in AHEAD:
            expected[f"error at {column}"] = np.mean([cell["plan_error"][ahead] for cell in cells])  # type: ignore[index]
        shown = {name: float(row[f"{heading(family)} {name}"]) for name in expected}
        assert shown == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("pair", [("dual", "none"), ("dual", "return"), ("return", "none")])
    def test_guides_are_compared_in_pairs(self, pair: tuple[str, str], family: str) -> None:
        row = rows_of("table4_significance", "Family", "Guides")[heading(family), f"{pair[0]} minus {pair[1]}"]
        first, second = (of(("metadiffuser", guide, "expert"), family)["return"] for guide in pair)
        by_task = (first - second).groupby("task").mean()
        assert float(row["Return difference"]) == pytest.approx(by_task.mean(), abs=1e-5)
        assert float(row["Return median"]) == pytest.approx(by_task.median(), abs=1e-5)
        assert row["Return tasks won"] == f"{(by_task > 0).sum()} of {len(by_task)}"
        for column, ahead in AHEAD:
            values = [
                pd.DataFrame([cell["plan_error_by_task"][ahead] for cell in planned(guide, family)])  # type: ignore[index]
                for guide in pair
            ]
            gaps = (values[0] - values[1]).to_numpy()
            name = f"Error at {column}"
            assert interval(row, f"{name} difference") == pytest.approx(gaps.mean(), abs=1e-6)
            assert gaps.min() - 1e-6 <= float(row[f"{name} difference low"])
            assert float(row[f"{name} difference high"]) <= gaps.max() + 1e-6
            assert float(row[f"{name} p"]) == pytest.approx(2 / 201, abs=1e-5), "all resamples lie on one side of zero"

    def test_p_values_are_corrected_over_the_whole_table(self) -> None:
        rows = rows_of("table4_significance", "Family", "Guides").values()
        groups = ("Return", "Error at 1", "Error at 5", "Error at last")
        check_holm([(float(row[f"{group} p"]), float(row[f"{group} p (Holm)"])) for row in rows for group in groups])

    def test_errors_on_tasks_that_are_all_there_are_vary_with_training_alone(self) -> None:
        row = rows_of("table4_significance", "Family", "Guides")[heading(APART), "dual minus none"]
        for column, ahead in AHEAD:
            values = [
                pd.DataFrame([cell["plan_error_by_task"][ahead] for cell in planned(guide, APART)])  # type: ignore[index]
                for guide in ("dual", "none")
            ]
            by_seed = (values[0] - values[1]).mean(axis=1)
            bounds = [float(row[f"Error at {column} difference {end}"]) for end in ("low", "high")]
            assert bounds == pytest.approx([by_seed.min(), by_seed.max()], abs=1e-6)

    def test_captions_say_what_errors_hold(self) -> None:
        assert "includes its changes of plan" in captions()["table4_significance"]
        assert f"{title(UNSEEN[0])}: 15" in captions()["table4_guide"]


def check_holm(pairs: list[tuple[float, float]]) -> None:
    """Check corrected p-values: in order, each is the largest (n - rank) p so far, and at most 1."""
    ordered = sorted(pairs)
    products = [(len(ordered) - rank) * p for rank, (p, _) in enumerate(ordered)]
    expected = np.minimum(np.maximum.accumulate(products), 1)
    assert [corrected for _, corrected in ordered] == pytest.approx(expected, abs=1e-3)
    assert 0 < min(pairs)[0] < max(pairs)[0] <= 1


class TestComparisons:
    def cells(self) -> dict[str, tuple[str, str, str]]:
        """The cells that MetaDiffuser's own is compared with."""
        found = {}
        for method, guide, context in fabricated.SHARES:
            if method == "metadiffuser" and (method, guide, context) != OWN:
                varied = f"context {style.context_name(context)}" if guide == "dual" else f"guide {guide}"
                found[f"MetaDiffuser, {varied}"] = (method, guide, context)
        return found | {name: cell for name, cell in ROWS.items() if cell[0] != "metadiffuser"}

    def test_there_is_a_row_a_family_and_cell(self) -> None:
        rows = rows_of("comparisons", "Family", "Against")
        assert set(rows) == {(heading(family), name) for family in FAMILIES for name in self.cells()}

    @pytest.mark.parametrize("family", FAMILIES)
    def test_differences_are_paired_on_seeds_tasks_and_episodes(self, family: str) -> None:
        rows = rows_of("comparisons", "Family", "Against")
        own = of(OWN, family)
        for name, cell in self.cells().items():
            row, other = rows[heading(family), name], of(cell, family)
            gaps = (own - other).groupby("task").mean()
            assert float(row["Return difference"]) == pytest.approx(gaps["return"].mean(), abs=1e-5)
            assert float(row["Score difference"]) == pytest.approx(gaps["score"].mean(), abs=1e-5)
            assert float(row["Score median"]) == pytest.approx(gaps["score"].median(), abs=1e-5)
            assert row["tasks won"] == f"{(gaps['return'] > 0).sum()} of {len(gaps)}"
            wins = []
            for task in fabricated.unseen(family):
                ours, theirs = (part.xs(task, level="task")["return"].to_numpy() for part in (own, other))
                wins.append(stats.mannwhitneyu(ours, theirs).statistic / (len(ours) * len(theirs)))
            assert float(row["P(better)"]) == pytest.approx(np.mean(wins), abs=1e-5)

    def test_p_values_are_corrected_over_the_whole_table(self) -> None:
        rows = rows_of("comparisons", "Family", "Against").values()
        check_holm([(float(row["Return p"]), float(row["Return p (Holm)"])) for row in rows])
