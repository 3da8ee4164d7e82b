"""Tables as files: their formats, their bytes, and the published numbers that stand apart."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from metadiffuser.artifacts import read_json
from metadiffuser.errors import InputError
from metadiffuser.reporting import layout
from metadiffuser.reporting.layout import Column, Table
from metadiffuser.reporting.published import REFERENCE, read_published
from metadiffuser.reporting.summary import Estimate
from tests.helpers import fabricated
from tests.helpers.reported import NAMES, PARAMS, heading, tables_folder


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
        assert rows[7]["Published return Robot of points"] == ""
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
        assert set(scores) == {*map(heading, fabricated.ANCHORS), "All families"}
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
    assert text.isascii() or not set(text) & set("×±²–≤≥†")
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
    return Table(columns, rows, "50% ± 1 †", 2, "hostile", "A <title> | of_it")


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
        Table((Column("a"), Column("b")), (("x",),), "c", 1)


def test_a_mark_stands_beside_the_value_and_has_a_column_of_its_own_in_csv() -> None:
    rows = (("x", Estimate(1.0, 0.0, 2.0, "†"), 3.0), ("y", Estimate(4.0), None))
    table = Table((Column("a", words=True), Column("b"), Column("c")), rows, "caption", 1)
    assert table.texts()[0][1] == ("1.0†", "[0.0, 2.0]")
    assert [row.split(",") for row in layout.to_csv(table).splitlines()] == [
        ["a", "b", "b low", "b high", "b mark", "c"],
        ["x", "1.000000", "0.000000", "2.000000", "†", "3.000000"],
        ["y", "4.000000", "", "", "", ""],
    ]
