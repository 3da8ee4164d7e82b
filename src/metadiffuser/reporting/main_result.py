"""The main result in at most three lines, read from the written tables: what a run prints at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metadiffuser.artifacts import read_json
from metadiffuser.errors import InputError
from metadiffuser.reporting.labels import OWN, ROWS

INDEX, TABLE = "tables.json", "table1_few_shot"
ALL_FAMILIES, SCORE = "All families", "score"


def main_result(folder: Path) -> list[str]:
    """Return the main result, MetaDiffuser's and the best baseline's score on unseen tasks, line by line.

    Args:
        folder: the folder that ``make_tables`` writes, such as ``results/quick/tables``.

    Raises:
        InputError: the index of the tables is missing or damaged.
    """
    path = folder / INDEX
    index = read_json(path)
    try:
        table = next(table for table in index["tables"] if table["name"] == TABLE)
        headings = [group["title"] for group in table["groups"] for _ in range(group["span"])]
        places = {
            heading: place
            for place, (heading, title) in enumerate(zip(headings, table["columns"], strict=True))
            if title == SCORE
        }
        sizes = [size for size in index["sizes"] if size.get("unseen", True)] or index["sizes"]
        seeds = min(int(size["seeds"]) for size in sizes)
        runs = f"{seeds} training seed" + ("s" if seeds != 1 else "")
        average = places.get(ALL_FAMILIES)
        where = f"mean of {len(sizes)} {'families' if len(sizes) > 1 else 'family'}, " if average is not None else ""
        place = average if average is not None else next(iter(places.values()))
        own, *rows = table["rows"]
        methods = index.get("labels", {}).get("methods", {})  # an index of an earlier version has none
        baselines = {label["title"] for name, label in methods.items() if name not in (OWN, *ROWS)}
        lines = [f"MetaDiffuser: {_text(own[place])} normalised score on unseen tasks, {where}{runs}"]
        scored = [(row, _number(row[place])) for row in rows if row[0]["value"] in baselines]
        known = [(value, row) for row, value in scored if value is not None]
        if known:
            _, best = max(known, key=lambda pair: pair[0])
            lines.append(f"Best baseline, {best[0]['value']}: {_text(best[place])}")
        if len(places) > 1:
            by_family = [f"{name} {own[at]['value']}" for name, at in places.items() if name != ALL_FAMILIES]
            lines.append(f"MetaDiffuser by family: {', '.join(by_family)}")
        return lines
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, StopIteration):
        raise InputError(f"{path}: not an index of tables; run make_tables again") from None


def _text(cell: dict[str, Any]) -> str:
    return f"{cell['value']} {cell['interval']}".strip()


def _number(cell: dict[str, Any]) -> float | None:
    try:
        return float(str(cell["value"]).rstrip("†"))
    except ValueError:
        return None
