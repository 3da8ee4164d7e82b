"""A table or figure is one function: its decorator is all that the files, the index and the report need."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metadiffuser import paths
from metadiffuser.artifacts import read_json
from metadiffuser.pipeline.report import write_report
from metadiffuser.reporting import figures, registry, tables
from tests.helpers import fabricated

PARAMS = fabricated.parameters()
TABLE = '''
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.layout import Column, Table
from metadiffuser.reporting.registry import table


@table("lengths", title="Numbers of episodes", section="A section of its own")
def lengths(evidence: Evidence) -> Table:
    """Episodes of each family."""
    rows = [(evidence.labels.family(name), float((evidence.scores["family"] == name).sum())) for name in evidence.shown]
    return Table([Column("Family", words=True), Column("episodes")], rows, "Episodes of the evaluation.", 0)
'''
FIGURE = '''
from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.registry import Drawing, figure


@figure("lines", title="A line", section="Training", place=1)
def lines(evidence: Evidence) -> Drawing | None:
    """A line."""
    picture, axes = style.grid(1, 1)
    axes[0, 0].plot([0, 1], [2, len(evidence.families)])
    return Drawing(picture, "From here to there.")
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with results, where one table and one figure have been added, each as one file."""
    registry.entries(registry.TABLE)  # so that the project's own are registered for good
    for package, name, text in ((tables, "lengths", TABLE), (figures, "lines", FIGURE)):
        folder = tmp_path / package.__name__.rpartition(".")[2]
        folder.mkdir()
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for module in ("tables.lengths", "figures.lines"):
        sys.modules.pop(f"metadiffuser.reporting.{module}", None)


@pytest.mark.slow
def test_a_table_and_a_figure_take_one_file_each(added: Path) -> None:
    fabricated.write_metrics(PARAMS)
    fabricated.write_curves(PARAMS)
    for stage in ("make_tables", "make_figures"):
        fabricated.run_stage(stage, PARAMS)
    folder = added / paths.TABLES.format(preset=PARAMS.preset)
    assert (folder / "lengths.csv").read_text().splitlines()[0] == "Family,episodes"
    assert (folder / "lengths.tex").exists()
    assert read_json(folder / "tables.json")["tables"][-1]["title"] == "Numbers of episodes"
    drawn = added / paths.FIGURES.format(preset=PARAMS.preset)
    assert (drawn / "lines.svg").read_text().startswith("<?xml")
    page = write_report(PARAMS).read_text(encoding="utf-8")
    places = [page.index(f'id="{name}"') for name in ("training", "lines", "cost", "a-section-of-its-own", "lengths")]
    assert places == sorted(places), "a section that the registry does not name comes last"


def test_two_modules_cannot_have_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.entries(registry.TABLE)
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    with pytest.raises(ValueError, match="expected one table or figure named 'table1_few_shot'"):
        registry.table("table1_few_shot", title="Another", section="Main result")(lambda _: None)


def test_nothing_to_show_is_left_out() -> None:
    made = registry.table("nothing_at_all", title="Nothing", section="Main result")(lambda _: None)
    try:
        assert made(None) is None  # type: ignore[arg-type]
    finally:
        registry._ENTRIES.pop("nothing_at_all")


def test_every_entry_stands_in_a_section_that_the_registry_orders() -> None:
    kinds = (registry.TABLE, registry.FIGURE, registry.TIMED_TABLE, registry.TIMED_FIGURE)
    found = registry.entries(*kinds)
    assert {entry.section for entry in found} == set(registry.SECTIONS)
    assert len({entry.name for entry in found}) == len(found)
    assert all(entry.title and entry.make.__doc__ for entry in found)
