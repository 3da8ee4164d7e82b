from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from metadiffuser.reporting.ablations import representation_flexibility
from metadiffuser.reporting.diagnostics import diagnostics

from metadiffuser import paths
from metadiffuser.artifacts import read_json, write_json
from metadiffuser.config import plugins
from metadiffuser.envs import FAMILIES
from metadiffuser.errors import InputError
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import layout, scores, style
from metadiffuser.reporting.evidence import Evidence, gather
from metadiffuser.reporting.layout import Column, Table
from metadiffuser.reporting.published import REFERENCE, read_published
from metadiffuser.reporting.summary import Estimate, paired, reference_cell, sizes, sizes_text, summarise
from metadiffuser.reporting.tables import all_tables
from tests.helpers import fabricated

PARAMS = fabricated.parameters(seeds=(0, 1))
BASELINES = plugins.names("method")
NAMES = (
    "table1_few_shot",
    "table1_published",
    "table2_average",
    "table2_warm_start",
    "table4_guide",
    "table4_significance",
    "comparisons",
    "training_tasks",
    "behaviour",
    "context",
    "diagnostics",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of a run of ``make_tables`` on fabricated metrics of two seeds."""
    folder = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fabricated.write_metrics(PARAMS)
        fabricated.run_stage("make_tables", PARAMS)
        yield folder


def tables_folder() -> Path:
    return Path(paths.TABLES.format(preset=PARAMS.preset))


def rows_of(name: str) -> dict[str, dict[str, str]]:
    """Return a table's CSV as {first column: row}."""
    with (tables_folder() / f"{name}.csv").open(encoding="utf-8") as stream:
        return {row[next(iter(row))]: row for row in csv.DictReader(stream)}


def style_order(methods: list[str]) -> list[str]:
    """Return the titles of methods in the order of every table."""
    return [style.method_name(name) for name in style.ordered(methods, style.METHOD_NAMES)]


def warm_starts() -> dict[tuple[str, str], dict[str, str]]:
    """Return the CSV of table 2 as {(method, warm-start): row}."""
    with (tables_folder() / "table2_warm_start.csv").open(encoding="utf-8") as stream:
        return {(row["Method"], row["Warm-start"]): row for row in csv.DictReader(stream)}


def metrics_files(template: str, root: Path | None = None) -> list[Path]:
    chosen = [
        template.format(preset=PARAMS.preset, family=family, representation="generalised", seed=seed)
        for family in PARAMS.families
        for seed in PARAMS.seeds
    ]
    return [Path(name) for name in dict.fromkeys(chosen)]


@pytest.mark.usefixtures("results")
class TestValues:
    @pytest.mark.parametrize(
        ("row", "share"),
        [
            ("MetaDiffuser (dual guide)", 0.9),
            ("MetaDiffuser, another task's context", -0.2),
            ("Unconditional diffusion planner", 0.3),
            ("Unconditional diffusion planner (return guide)", 0.35),
            ("Behaviour cloning with z", 0.7),
            ("FOCAL", 0.7),
            ("Random planner", 0.0),
            ("Behaviour expert (oracle)", 1.0),
        ],
    )
    @pytest.mark.parametrize("family", list(fabricated.ANCHORS))
    def test_table_1_is_what_a_hand_computes(self, row: str, share: float, family: str) -> None:
        low, high = fabricated.ANCHORS[family]
        title, values = style.family_title(family), rows_of("table1_few_shot")[row]
        assert float(values[f"{title} return"]) == pytest.approx(low + share * (high - low))
        assert float(values[f"{title} score"]) == pytest.approx(100 * share)
        assert float(values[f"{title} IQM"]) == pytest.approx(100 * share)
        assert float(values[f"{title} return low"]) < float(values[f"{title} return"])
        assert float(values[f"{title} return high"]) - float(values[f"{title} return"]) < 1.0

    @pytest.mark.parametrize("family", list(fabricated.ANCHORS))
    def test_training_tasks_have_a_row_a_method(self, family: str) -> None:
        rows, title = rows_of("training_tasks"), style.family_title(family)
        assert list(rows) == style_order(["metadiffuser", *BASELINES])
        low, high = fabricated.ANCHORS[family]
        for row in rows.values():
            assert float(row[f"{title} score"]) == pytest.approx(95)
            assert float(row[f"{title} return"]) == pytest.approx(low + 0.95 * (high - low))
            assert float(row["All families score"]) == pytest.approx(95)

    def test_table_1_has_one_row_a_method(self) -> None:
        assert len(rows_of("table1_few_shot")) == 6 + len(BASELINES)

    def test_table_1_is_recomputed_from_the_per_episode_returns(self) -> None:
        """By pandas alone, from the files: nothing of the reporting has a hand in it."""
        frames = []
        for family in PARAMS.families:
            anchors = json.loads(Path(f"results/smoke/metrics/dataset/{family}.json").read_text())["anchors"]
            for path in sorted(Path("results/smoke/metrics").glob(f"*/{family}/**/seed*.json")):
                for cell in json.loads(path.read_text()).get("cells", []):
                    frame = pd.DataFrame(cell["returns"]).melt(var_name="task", value_name="return")
                    own = pd.DataFrame([anchors[task] for task in frame["task"]])
                    low, high = own["random"], own["expert"]
                    frame["score"] = 100 * (frame["return"] - low) / (high - low)
                    frames.append(frame.assign(family=family, **{n: cell[n] for n in ("method", "guide", "context")}))
        episodes = pd.concat(frames)
        by_task = episodes.groupby(["method", "guide", "context", "family", "task"])[["return", "score"]].mean()
        by_family = by_task.groupby(["method", "guide", "context", "family"]).mean()
        cells = {
            "MetaDiffuser (dual guide)": ("metadiffuser", "dual", "expert"),
            "MetaDiffuser, another task's context": ("metadiffuser", "dual", "wrong_task"),
            "Unconditional diffusion planner": ("unconditional", "none", "none"),
            "Unconditional diffusion planner (return guide)": ("unconditional", "return", "expert"),
            "Random planner": ("random", "none", "none"),
            **{style.method_name(name): (name, "none", "expert") for name in BASELINES},
        }
        rows = rows_of("table1_few_shot")
        assert set(rows) == {*cells, "Behaviour expert (oracle)"}
        for title, cell in cells.items():
            means: Any = by_family.xs(cell, level=(0, 1, 2)).to_dict("index")  # type: ignore[call-overload]
            for family in PARAMS.families:
                name = style.family_title(family)
                for column in ("return", "score"):
                    assert float(rows[title][f"{name} {column}"]) == pytest.approx(means[family][column], abs=1e-5)
            average = np.mean([means[family]["score"] for family in PARAMS.families])
            assert float(rows[title]["All families score"]) == pytest.approx(average, abs=1e-5)

    def test_table_2_has_a_row_a_method_and_context(self) -> None:
        rows = warm_starts()
        own = {context: row for (method, context), row in rows.items() if method == "MetaDiffuser"}
        found = {name: round(float(row["Cheetah-Vel score"]), 3) for name, row in own.items()}
        assert found == {"expert": 90, "medium": 80, "random": 60, "zero-shot": 50, "wrong task": -20, "oracle": 95}
        shares = {style.context_name(name): 100 * share for name, share in fabricated.BASELINE_SHARES.items()}
        for method in BASELINES:
            title = style.method_name(method)
            told = {context: float(row["Point-Robot score"]) for (name, context), row in rows.items() if name == title}
            assert told == pytest.approx(shares)
        assert len(rows) == 6 + 5 * len(BASELINES), "planners that no context tells apart are left out"

    def test_table_2_in_short_averages_over_families(self) -> None:
        rows = rows_of("table2_average")
        assert list(rows) == ["MetaDiffuser", *(style.method_name(n) for n in style.METHOD_NAMES if n in BASELINES)]
        own = rows["MetaDiffuser"]
        assert float(own["All families: score medium"]) == pytest.approx(80)
        assert float(own["All families: score medium low"]) < 80 < float(own["All families: score medium high"])
        assert rows["FOCAL"]["All families: score oracle"] == ""

    def test_table_4_has_a_row_a_guide_and_averages_plan_errors_over_seeds(self) -> None:
        rows = rows_of("table4_guide")
        assert list(rows) == ["none", "return", "dynamics", "dual"]
        assert {name: float(row["Point-Robot score"]) for name, row in rows.items()} == pytest.approx(
            {"none": 85, "return": 88, "dynamics": 86, "dual": 90}
        )
        assert float(rows["dual"]["Point-Robot error at 1"]) == pytest.approx(0.01)
        assert float(rows["none"]["Point-Robot error at 1"]) == pytest.approx(0.06)
        assert float(rows["dual"]["Point-Robot error at 5"]) == pytest.approx(0.25)
        assert float(rows["dual"]["Point-Robot error at last"]) == pytest.approx((0.5 + 1.5) / 2)

    def test_table_4_sets_predicted_beside_received_returns(self) -> None:
        rows = rows_of("table4_guide")
        assert float(rows["dual"]["Point-Robot predicted"]) == -10
        assert float(rows["none"]["Point-Robot predicted"]) == -15
        assert {float(row["Cheetah-Vel received"]) for row in rows.values()} == {-12}

    def test_guides_are_compared_in_pairs_of_tasks_and_seeds(self) -> None:
        text = (tables_folder() / "table4_significance.csv").read_text(encoding="utf-8")
        rows = {(row["Family"], row["Guides"]): row for row in csv.DictReader(io.StringIO(text))}
        assert list(rows) == [
            (family, pair)
            for family in ("Point-Robot", "Cheetah-Vel")
            for pair in ("dual minus return", "return minus none")
        ]
        row = rows["Cheetah-Vel", "dual minus return"]
        assert float(row["Return difference"]) == pytest.approx(0.02 * 250)
        assert float(row["Return difference low"]) == pytest.approx(0.02 * 250), "episodes are averaged, not drawn"
        assert float(row["Return P(higher)"]) == 1.0
        # Cells 1 and 7: a task at place p differs by -0.06 - 0.006 (p - 2).
        assert float(row["Error at 1 difference"]) == pytest.approx(-0.06)
        assert -0.072 <= float(row["Error at 1 difference low"]) < -0.06 < float(row["Error at 1 difference high"]) < 0
        assert float(row["Error at 1 P(lower)"]) == 1.0
        assert float(row["Error at 5 difference"]) == 0.0
        assert float(row["Error at 5 P(lower)"]) == 0.5
        assert float(rows["Cheetah-Vel", "return minus none"]["Error at 1 P(lower)"]) == 0.0
        index = read_json(tables_folder() / "tables.json")
        caption = next(table["caption"] for table in index["tables"] if table["name"] == "table4_significance")
        assert "Point-Robot 5 unseen tasks × 2 training seeds" in caption
        assert "includes its changes of plan" in caption

    def test_diagnostics_are_what_bounds_the_planner(self) -> None:
        row = rows_of("diagnostics")["Point-Robot"]
        assert float(row["Probe R² expert"]) == 0.95
        assert float(row["Probe R² random"]) == pytest.approx(0.65), "mean over seeds"
        assert float(row["Reward error at 4"]) == pytest.approx(0.4), "unseen tasks"
        assert float(row["State error at 16"]) == pytest.approx(0.32)
        assert (float(row["Probe R² identifiable"]), float(row["Parameters identifiable"])) == (0.97, 2)
        expected = {"oracle z": 95, "expert context": 90, "wrong task": -20, "cloning with z": 70}
        assert {name: float(row[f"Score {name}"]) for name in expected} == pytest.approx(expected)

    def test_comparisons_are_differences_and_probabilities_against_the_reference(self) -> None:
        rows = rows_of("comparisons")
        wrong = rows["MetaDiffuser, context wrong task"]
        assert float(wrong["Cheetah-Vel difference"]) == pytest.approx(1.1 * 250)
        assert float(wrong["Cheetah-Vel P(better)"]) == 1.0
        close = rows["MetaDiffuser, guide return"]  # +-1 against +-1 shifted by 0.3: three of four pairs
        assert float(close["Point-Robot difference"]) == pytest.approx(0.3)
        assert float(close["Point-Robot P(better)"]) == pytest.approx(0.75)

    def test_behaviour_gap_is_relative_to_the_exact_optimum(self) -> None:
        text = (tables_folder() / "behaviour.csv").read_text(encoding="utf-8")
        rows = {(row["Family, tasks"], row["Policy"]): row for row in csv.DictReader(io.StringIO(text))}
        expert = rows["Point-Robot, training", "expert"]
        assert float(expert["return"]) == pytest.approx(-3.0)
        assert float(expert["gap to optimum (%)"]) == pytest.approx(100 * (3.0 - 2.5) / 2.5)
        assert rows["Cheetah-Vel, unseen", "expert"]["optimum"] == ""
        assert float(rows["Cheetah-Vel, unseen", "medium"]["score"]) == pytest.approx(50)

    def test_context_diagnostics(self) -> None:
        row = rows_of("context")["Point-Robot"]
        assert float(row["Probe R² unseen tasks"]) == 0.95
        assert float(row["Reward RMSE unseen tasks"]) == 0.13
        assert float(row["Dynamics RMSE training tasks"]) == 0.02

    def test_captions_state_the_sample_sizes(self) -> None:
        index = read_json(tables_folder() / "tables.json")
        captions = {table["name"]: table["caption"] for table in index["tables"]}
        for name in ("table1_few_shot", "table2_warm_start", "table4_guide", "comparisons"):
            assert "Point-Robot, Cheetah-Vel: 5 unseen tasks × 4 episodes × 2 training seeds" in captions[name]
            assert "95%" in captions[name]
        assert index["sizes"][1] == {"family": "cheetah_vel", "tasks": 5, "episodes": 4, "seeds": 2, "unscored": 0}

    def test_a_cell_has_the_same_interval_in_every_table(self) -> None:
        first, second = rows_of("table1_few_shot"), warm_starts()
        for column in ("Point-Robot return low", "Point-Robot score high"):
            assert first["MetaDiffuser (dual guide)"][column] == second["MetaDiffuser", "expert"][column]
            assert first["MetaDiffuser, another task's context"][column] == second["MetaDiffuser", "wrong task"][column]
            assert first["FOCAL"][column] == second["FOCAL", "expert"][column]


@pytest.mark.usefixtures("results")
class TestRepresentations:
    def evidence(self) -> Evidence:
        """The fabricated results, and those of a second representation that scores 10 points less."""
        names = (paths.PLANNER_METRICS, paths.DATASET_METRICS, paths.CONTEXT_METRICS)
        planner, dataset, context = map(metrics_files, names)
        found = gather(planner, [], dataset, context, "generalised")
        weaker = found.scores.assign(representation="focal", normalised=found.scores["normalised"] - 10)
        probes = pd.concat([found.probes, found.probes.assign(representation="focal")])
        return replace(found, representations=pd.concat([found.scores, weaker]), probes=probes)

    def test_table_3_has_a_row_a_representation_with_its_difference_to_the_first(self) -> None:
        table = representation_flexibility(self.evidence(), Bootstrap(0.95, 100), 1)
        assert [column.title for column in table.columns[1:4]] == ["return", "score", "difference"]
        (own, *first), (other, *second) = table.rows
        assert (own, other) == (style.representation_name("generalised"), style.representation_name("focal"))
        assert first[2] is None
        for family in range(2):
            score, gap = second[3 * family + 1], second[3 * family + 2]
            assert isinstance(score, Estimate)
            assert isinstance(gap, Estimate)
            assert score.value == pytest.approx(80)
            assert gap.value == pytest.approx(-10)
            assert gap.low < -10 < gap.high

    def test_table_3_is_there_when_there_is_something_to_compare(self) -> None:
        names = [table.name for table in all_tables(self.evidence(), Bootstrap(0.95, 20), 1)]
        assert names.index("table3_representation") == names.index("table2_warm_start") + 1

    def test_without_baselines_the_tables_are_those_of_the_planner(self) -> None:
        tables = {table.name: table for table in all_tables(self.evidence(), Bootstrap(0.95, 20), 1)}
        assert {row[0] for row in tables["table2_average"].rows} == {"MetaDiffuser"}
        assert "cloning with z" not in [column.title for column in tables["diagnostics"].columns]

    def test_a_method_that_lacks_a_family_has_no_average(self) -> None:
        evidence = self.evidence()
        some = evidence.scores[evidence.scores["context"] == "medium"]
        bc = some[some["family"] == "cheetah_vel"].assign(method="bc", guide="none")
        found = replace(evidence, scores=pd.concat([evidence.scores, bc, bc.assign(context="expert")]))
        tables = {table.name: table for table in all_tables(found, Bootstrap(0.95, 20), 1)}
        row = {row[0]: row for row in tables["table1_few_shot"].rows}["Behaviour cloning with z"]
        assert row[1:4] == (None, None, None)
        assert isinstance(row[5], Estimate)
        assert row[-1] is None
        short = {row[0]: row for row in tables["table2_average"].rows}
        assert set(short["Behaviour cloning with z"][1:]) == {None}
        assert isinstance(short["MetaDiffuser"][1], Estimate)

    def test_each_representation_has_diagnostics_of_its_own(self) -> None:
        table = diagnostics(self.evidence(), Bootstrap(0.95, 20), 1)
        place = [column.title for column in table.columns].index("oracle z")
        found = {row[:2]: row[place] for row in table.rows}
        shown = {key: round(cell.value) for key, cell in found.items() if isinstance(cell, Estimate)}
        assert shown == {
            (family, name): score
            for family in ("Point-Robot", "Cheetah-Vel")
            for name, score in (("generalised", 95), ("focal", 85))
        }


def rows_of_cells(values: list[tuple[int, int, float]]) -> pd.DataFrame:
    return pd.DataFrame(values, columns=["seed", "task", "error"])


def test_paired_differences_keep_to_what_both_cells_have() -> None:
    first = rows_of_cells([(0, 1, 1.0), (0, 1, 3.0), (0, 2, 5.0), (1, 1, 4.0), (1, 2, 4.0), (1, 3, 9.0)])
    second = rows_of_cells([(0, 1, 1.0), (0, 2, 1.0), (1, 1, 1.0), (1, 2, 1.0)])
    found = paired(first, second, "error", Bootstrap(0.9, 500), "test")
    assert found is not None
    assert found.difference.value == pytest.approx((1 + 4 + 3 + 3) / 4)
    assert 1.0 <= found.difference.low < found.difference.high <= 4.0
    assert found.positive == 1.0
    assert paired(first, second[second["task"] > 5], "error", Bootstrap(0.9, 500), "test") is None
    alone = paired(first[first["task"] == 1], second, "error", Bootstrap(0.9, 500), "test")
    assert alone is not None
    assert alone.difference.value == pytest.approx(2.0)
    assert np.isnan([alone.difference.low, alone.positive]).all(), "one task tells nothing of others"


@pytest.mark.usefixtures("results")
class TestPublished:
    def test_published_and_measured_numbers_share_no_column(self) -> None:
        ours = (tables_folder() / "table1_few_shot.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
        theirs = (tables_folder() / "table1_published.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
        assert not set(ours) & set(theirs)
        for name in NAMES:
            text = (tables_folder() / f"{name}.csv").read_text(encoding="utf-8")
            assert ("-86.5" in text) == (name == "table1_published")

    def test_every_published_number_has_protocol_and_source(self) -> None:
        text = (tables_folder() / "table1_published.csv").read_text(encoding="utf-8")
        rows = list(csv.DictReader(io.StringIO(text)))
        assert len(rows) == len(read_published().entries) == 11
        assert all(row["Protocol"] and row["Source"] for row in rows)
        assert rows[0]["Published return Ant-Dir"] == "858.5 ± 42.5"
        assert rows[0]["Source"] == "T2DA (2025), table 13"
        assert rows[7]["Published return Point-Robot"] == ""
        assert rows[7]["Source"].endswith("second-hand")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("entries: [", "YAML"),
        ("notes: {}\nentries:\n  - {method: X, protocol: p, source: s, second_hand: false}", "entries.0.returns"),
        (
            "notes: {}\nentries:\n  - {method: X, protocol: p, source: s, second_hand: no, returns: {a: {mean: .nan}}}",
            "mean",
        ),
        ("notes: {}\nentries: []\nextra: 1", "extra"),
    ],
)
def test_damage_to_the_reference_file_is_named(tmp_path: Path, damage: str, words: str) -> None:
    path = tmp_path / REFERENCE.name
    path.write_text(damage, encoding="utf-8")
    with pytest.raises(InputError, match=words) as caught:
        read_published(path)
    assert str(path) in str(caught.value)


def test_a_missing_reference_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: missing"):
        read_published(tmp_path / "none.yaml")


@pytest.mark.usefixtures("results")
class TestFiles:
    def test_every_table_in_every_format_and_the_same_bytes_twice(self) -> None:
        before = {path.name: path.read_bytes() for path in tables_folder().iterdir()}
        records = {"tables.json", "scores.json"}
        assert set(before) == {f"{n}{suffix}" for n in NAMES for suffix in (".csv", ".md", ".tex")} | records
        fabricated.run_stage("make_tables", PARAMS)
        assert before == {path.name: path.read_bytes() for path in tables_folder().iterdir()}

    def test_scores_are_the_means_of_table_1s_first_row(self) -> None:
        scores = read_json(tables_folder() / "scores.json")
        assert set(scores) == {"Point-Robot", "Cheetah-Vel", "All families"}
        with (tables_folder() / "table1_few_shot.csv").open(encoding="utf-8") as stream:
            first = next(csv.DictReader(stream))
        for family, values in scores.items():
            assert set(values) == ({"score"} if family == "All families" else {"return", "score", "IQM"})
            assert values == {name: pytest.approx(float(first[f"{family} {name}"]), abs=1e-6) for name in values}

    @pytest.mark.parametrize("name", NAMES)
    def test_latex_is_balanced(self, name: str) -> None:
        check_latex((tables_folder() / f"{name}.tex").read_text(encoding="utf-8"))

    @pytest.mark.parametrize("name", NAMES)
    def test_markdown_rows_have_one_cell_a_column(self, name: str) -> None:
        text = (tables_folder() / f"{name}.md").read_text(encoding="utf-8")
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
        assert len(widths) == 1


def check_latex(text: str) -> None:
    """Check braces, environments, maths and the number of cells in each row."""
    bare = re.sub(r"\\[\\{}$&%#_]", "", text)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    opened, closed = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert opened == closed[::-1]
    alignment = re.search(r"\\begin{tabular}{([lr]+)}", text)
    assert alignment is not None
    assert text.isascii() or not set(text) & set("×±²–≤≥")
    body = text[alignment.end() : text.index(r"\bottomrule")]
    for row in re.findall(r"^(.*) \\\\$", body, re.MULTILINE):
        spans = [int(span) for span in re.findall(r"\\multicolumn{(\d+)}", row)]
        cells = len(re.findall(r"(?<!\\)&", row)) + 1
        assert cells - len(spans) + sum(spans) == len(alignment.group(1))


def hostile() -> Table:
    rows: tuple[tuple[layout.Cell, ...], ...] = (
        ("100% of $a_b & {c} | ~^\\ <x>", Estimate(-0.04, -1.0, 2.0), None),
        ("line\nbreak", 1.25, float("nan")),
    )
    columns = (Column("#name", words=True), Column("value", "group | 1", 1), Column("empty", "group | 1"))
    return Table("hostile", "A <title> | of_it", "50% ± 1", columns, rows, 2)


def test_hostile_text_is_escaped_in_latex_and_markdown() -> None:
    latex = layout.to_latex(hostile())
    check_latex(latex)
    assert r"100\% of \$a\_b \& \{c\}" in latex
    markdown = layout.to_markdown(hostile())
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in markdown.splitlines() if line.startswith("|")}
    assert widths == {4}


def test_numbers_have_their_columns_digits_and_no_negative_zero() -> None:
    texts = hostile().texts()
    assert texts[0][1] == ("0.0", "[-1.0, 2.0]")
    assert texts[0][2] == texts[1][2] == ("–", "")
    assert layout.number(-0.5, 1) == "-0.5"
    assert layout.number(-0.04, 1) == "0.0"


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 2 cells, got 1"):
        Table("t", "t", "c", (Column("a"), Column("b")), (("x",),), 1)


def test_family_titles_are_those_of_the_registry() -> None:
    assert {name: style.family_title(name) for name in FAMILIES} == {n: f.title for n, f in FAMILIES.items()}


@pytest.mark.usefixtures("results")
class TestScores:
    def test_one_row_an_episode(self) -> None:
        table = scores.read_scores(metrics_files(paths.PLANNER_METRICS), metrics_files(paths.DATASET_METRICS))
        assert tuple(table.columns) == scores.SCORES
        assert len(table) == 2 * 2 * len(fabricated.SHARES) * fabricated.TEST * fabricated.EPISODES
        assert reference_cell(table) == ("dual", "expert")
        assert set(table["task"]) == set(range(fabricated.TRAIN, fabricated.TRAIN + fabricated.TEST))

    def test_tasks_without_a_scale_are_left_out_of_scores_and_counted(self) -> None:
        table = scores.read_scores(metrics_files(paths.PLANNER_METRICS), metrics_files(paths.DATASET_METRICS))
        table = table[table["family"] == "point_robot"].copy()
        table.loc[table["task"] == fabricated.TRAIN, "normalised"] = np.nan
        (size,) = sizes(table)
        assert size.unscored == 1
        assert "(1 of the tasks without a normalised score" in sizes_text([size])
        row = summarise(table, Bootstrap(0.95, 50)).iloc[0]
        assert row["normalised"].value == pytest.approx(90)
        table["normalised"] = np.nan
        row = summarise(table, Bootstrap(0.95, 50)).iloc[0]
        assert row["normalised"] is None
        assert row["return"].value == pytest.approx(-4.5)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda record: record.pop("cells"),
            lambda record: record["cells"][0].pop("returns"),
            lambda record: record["cells"][0]["returns"].update({"12": []}),
            lambda record: record["cells"][0]["returns"].update({"12": ["high"]}),
            lambda record: record["cells"][0]["returns"].update({"99": [1.0]}),
            lambda record: record.update({"cells": 3}),
            lambda record: record.update({"family": "unheard_of"}),
        ],
    )
    def test_damaged_metrics_are_named(self, tmp_path: Path, damage: Any) -> None:
        record = fabricated.planner_metrics("point_robot", 0)
        damage(record)
        path = tmp_path / "damaged.json"
        write_json(path, record)
        with pytest.raises(InputError, match="not the metrics expected") as caught:
            scores.read_scores([path], metrics_files(paths.DATASET_METRICS))
        assert str(path) in str(caught.value)

    def test_not_a_number_is_refused(self, tmp_path: Path) -> None:
        record = fabricated.planner_metrics("point_robot", 0)
        record["cells"][0]["returns"]["12"][0] = float("nan")
        path = tmp_path / "nan.json"
        path.write_text(json.dumps(record), encoding="utf-8")
        with pytest.raises(InputError, match="finite"):
            scores.read_scores([path], metrics_files(paths.DATASET_METRICS))

    @pytest.mark.parametrize(
        ("read", "content"),
        [
            (scores.read_behaviour, {"family": "point_robot"}),
            (scores.read_optimum, [1, 2]),
            (scores.read_diagnostics, {"family": "point_robot", "probe": None}),
            (scores.read_embeddings, {"embeddings": [{"xy": [1.0]}]}),
            (scores.read_traces, {"family": "f", "traces": [{"planned": [1.0], "executed": [2.0]}]}),
            (scores.read_plan_errors, {"cells": [{"plan_error": 3}]}),
            (scores.read_task_errors, {"cells": [{"plan_error_by_task": 3}]}),
            (scores.read_promises, {"cells": [{"predicted_return": {"predicted": 1.0}}]}),
            (scores.read_probes, {"family": "f", "probe_by_quality": {"expert": 0.5}}),
            (scores.read_rollout_errors, {"family": "f", "rollout_errors": {"test": {"one": {}}}}),
            (lambda files: scores.read_sampler_study(files, []), {"family": "f", "sampler_study": [{}]}),
        ],
    )
    def test_every_reader_names_the_damaged_file(self, tmp_path: Path, read: Any, content: Any) -> None:
        path = tmp_path / "damaged.json"
        write_json(path, content)
        with pytest.raises(InputError, match=r"damaged\.json"):
            read([path])
        with pytest.raises(InputError, match=r"absent\.json: missing"):
            read([tmp_path / "absent.json"])
