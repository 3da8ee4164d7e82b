"""Tables and figures as files, with the indices that the report is made from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from metadiffuser.artifacts import write_json, write_text
from metadiffuser.reporting import registry, style
from metadiffuser.reporting.evidence import Evidence, notes
from metadiffuser.reporting.layout import Table, to_csv, to_latex, to_markdown
from metadiffuser.reporting.main_result import TABLE
from metadiffuser.reporting.summary import Estimate

TABLES = "tables.json"  # index of the tables' folder
FIGURES = "figures.json"  # index of the figures' folder
SCORES = "scores.json"  # DVC's metrics
FORMATS: dict[str, Callable[[Table], str]] = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex}


def write_tables(folder: Path, evidence: Evidence) -> None:
    """Write each table as CSV, Markdown and LaTeX, DVC's metrics, and the report's index.

    Raises:
        InputError: a metrics file is missing or damaged; the message names it.
    """
    made = [(entry, entry.make(evidence)) for entry in registry.entries(registry.TABLE)]
    present = [(entry, found) for entry, found in made if found is not None]
    for entry, found in present:
        for suffix, render in FORMATS.items():
            write_text(folder / f"{entry.name}{suffix}", render(found))
    index = {
        "tables": [found.to_json() | {"section": entry.section} for entry, found in present],
        "sizes": [size.to_json() for size in evidence.sizes],
        "confidence": evidence.bootstrap.confidence,
        **notes(evidence),
    }
    write_json(folder / TABLES, index)
    write_json(folder / SCORES, headline(next(found for entry, found in present if entry.name == TABLE)))


def headline(table: Table) -> dict[str, dict[str, float]]:
    """Return {group: {column: mean}} of a table's first row: of table 1, MetaDiffuser's own scores by family."""
    found: dict[str, dict[str, float]] = {}
    for column, cell in zip(table.columns, table.rows[0], strict=True):
        value = cell.value if isinstance(cell, Estimate) else cell
        if isinstance(value, float):
            found.setdefault(column.group, {})[column.title] = value
    return found


def write_figures(folder: Path, evidence: Evidence) -> None:
    """Write each figure as SVG, and the report's index.

    Raises:
        InputError: a metrics file is missing or damaged; the message names it.
    """
    index: list[dict[str, Any]] = []
    for entry in registry.entries(registry.FIGURE):
        drawing = entry.make(evidence)
        if drawing is not None:
            (folder / f"{entry.name}.svg").write_bytes(style.svg(drawing.figure))
            named = {"name": entry.name, "title": entry.title, "section": entry.section}
            index.append(named | {"caption": drawing.caption})
    write_json(folder / FIGURES, {"figures": index})
