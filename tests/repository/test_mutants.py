"""The list of careless edits (``tests/mutants.toml``) fits today's sources and tests; ``make mutants`` tries it."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests import mutants
from tests.conftest import ROOT

LISTED = mutants.read_list()
numbered = pytest.mark.parametrize("mutant", LISTED, ids=[f"{n}-{m.file}" for n, m in enumerate(LISTED, start=1)])


@numbered
def test_the_place_of_an_edit_is_found_exactly_once_and_the_edit_is_python(mutant: mutants.Mutant) -> None:
    before = (ROOT / mutant.path).read_text(encoding="utf-8")
    after = mutant.applied(before)
    assert ast.dump(ast.parse(after)) != ast.dump(ast.parse(before)), "the edit changes nothing"


@numbered
def test_the_tests_of_an_edit_exist(mutant: mutants.Mutant) -> None:
    assert mutant.tests
    assert mutant.unseen
    for name in mutant.tests:
        file, *parts = name.split("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert all(re.search(rf"^\s*(?:def|class) {part}\b", text, re.MULTILINE) for part in parts), name


def test_every_package_has_edits() -> None:
    packages = {path.name for path in (ROOT / "src" / "metadiffuser").iterdir() if (path / "__init__.py").exists()}
    assert packages - {"stages"} <= set(Counter(mutant.file.split("/")[0] for mutant in LISTED))


def test_an_edit_without_its_place_is_named() -> None:
    mutant = LISTED[0]
    with pytest.raises(ValueError, match=r"evaluation/baseline\.py: expected .* once, found it 0 times"):
        mutant.applied("something else")


def test_the_page_says_what_came_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{mutants.BEGIN}\nold\n{mutants.END}\nafter\n")
    monkeypatch.setattr(mutants, "PAGE", page)
    results = {
        LISTED[0].key(): {"caught": True, "seconds": 3, "by": "tests/one.py::test_one"},
        LISTED[1].key(): {"caught": False, "seconds": 4, "by": ""},
    }
    mutants.write_table(LISTED[:3], results)
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert lines[2].startswith("1 of 2 tried are caught (50%); 3 are listed.")
    assert [line.split(" | ")[-2] for line in lines if line.startswith("| ") and line[2].isdigit()] == [
        "caught",
        "**survived**",
        "not tried",
    ]


def test_results_hold_until_the_file_or_a_test_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    (tmp_path / "tests" / "helpers").mkdir(parents=True)
    mutant = mutants.Mutant("one.py", "1", "2", ("test_one.py::test_it",), "nothing")
    files = [tmp_path / mutant.path, tmp_path / "tests" / "test_one.py", tmp_path / "tests" / "conftest.py"]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n")
    first = mutant.key()
    assert mutant.key() == first
    for path in files:
        path.write_text("3\n")
        assert mutant.key() != first
        path.write_text("1\n")
    assert mutant.key() == first


@pytest.mark.slow
def test_an_edit_is_undone_and_the_test_that_noticed_it_is_named(tmp_path: Path) -> None:
    source = tmp_path / mutants.PACKAGE / "one.py"
    source.parent.mkdir(parents=True)
    source.write_text("VALUE = 1\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text(
        "import pathlib\n"
        f"SOURCE = pathlib.Path({json.dumps(str(source))})\n"
        "def test_it():\n    assert SOURCE.read_text() == 'VALUE = 1\\n'\n"
    )
    for replace, caught in (("VALUE = 2", True), ("VALUE = 1", False)):
        found = mutants.attempt(tmp_path, mutants.Mutant("one.py", "VALUE = 1", replace, ("test_one.py",), "nothing"))
        assert (found["caught"], found["by"]) == (caught, "tests/test_one.py::test_it" if caught else "")
        assert source.read_text() == "VALUE = 1\n"
    broken = mutants.Mutant("one.py", "VALUE = 1", "VALUE = 2", ("test_none.py",), "nothing")
    with pytest.raises(RuntimeError, match="pytest ended with 4"):
        mutants.attempt(tmp_path, broken)
    assert source.read_text() == "VALUE = 1\n"
