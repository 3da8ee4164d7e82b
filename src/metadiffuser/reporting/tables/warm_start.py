"""The tables by warm-start data, of every method that takes a context (metadiffuser.md, section 4)."""

from __future__ import annotations

import pandas as pd

from metadiffuser.reporting import captions, style
from metadiffuser.reporting.captions import join
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.labels import OWN
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.registry import table
from metadiffuser.reporting.rows import Row, unseen_cells, unseen_columns, variant_title
from metadiffuser.reporting.scores import CELL

SOURCES = {
    "expert": "expert, medium, random: one episode of that quality on the unseen task",
    "mixed": "mixed: one episode of any quality",
    "zero_shot": "zero-shot: only what the agent itself has gathered so far in the episode",
    "wrong_task": "wrong task: an expert episode of another task",
    "oracle": "oracle, of the planner alone: the mean z of many contexts from all expert episodes of the task, "
    "which is what more of them would bring",
}


def warm_start_rows(evidence: Evidence) -> list[Row]:
    """Return the cells of every method that was given more than one kind of warm-start data, method by method."""
    guide, _ = evidence.reference
    cells = evidence.scores[evidence.scores["context"] != "none"][list(CELL)].drop_duplicates()
    cells = cells[(cells["method"] != OWN) | (cells["guide"] == guide)]
    rows = []
    for method in evidence.methods:
        for variant, group in cells[cells["method"] == method].groupby("guide"):
            title = variant_title(evidence, method, "none" if method == OWN else str(variant))
            if len(group) > 1:
                contexts = style.ordered(group["context"], style.CONTEXT_NAMES)
                rows += [Row(title, method, str(variant), context) for context in contexts]
    return rows


def _sources(scores: pd.DataFrame) -> str:
    return "; ".join(text for name, text in SOURCES.items() if (scores["context"] == name).any()) + "."


@table("table2_average", title="Robustness to the warm-start data, in short", section="Warm-start data", place=1)
def robustness(evidence: Evidence) -> Table:
    """Table 2 in short: scores averaged over families, one row a method and one column a kind of warm-start data."""
    listed = warm_start_rows(evidence)
    contexts = style.ordered((row.context for row in listed), style.CONTEXT_NAMES)
    rows: list[list[Cell]] = []
    for title, method in dict.fromkeys((row.title, row.method) for row in listed):
        own = {row.context: row for row in listed if row.title == title}
        cells: list[Cell] = [title]
        for context in contexts:
            found = context in own and evidence.families
            cells.append(evidence.cells.average(evidence.families, own[context].cell) if found else None)
        seeds = min(evidence.cells.seeds(row.cell) for row in own.values())
        rows.append([*cells, captions.coverage(method, seeds)])
    caption = join(
        "Table 2 in short. Normalised score by the warm-start data, averaged over families.",
        _sources(evidence.scores),
        evidence.averages(),
        evidence.protocol(),
    )
    columns = [Column("Method", words=True)]
    columns += [Column(style.context_name(context), f"{captions.ALL_FAMILIES}: score") for context in contexts]
    return Table([*columns, Column("Interval", words=True)], rows, caption, evidence.digits)


@table("table2_warm_start", title="Robustness to the warm-start data", section="Warm-start data", place=3)
def warm_start(evidence: Evidence) -> Table:
    """Table 2: robustness to where the warm-start context comes from, family by family."""
    guide, _ = evidence.reference
    rows: list[tuple[Cell, ...]] = []
    for row in warm_start_rows(evidence):
        cells = unseen_cells(evidence, evidence.cells, row, "return", "normalised", average=False)
        rows.append((row.title, style.context_name(row.context), *cells))
    caption = join(
        "Table 2. Methods that take a context, by the warm-start data it is made of; MetaDiffuser with the "
        f"{style.guide_name(guide)} guide.",
        _sources(evidence.scores),
        "All methods are given the same episodes.",
        evidence.protocol(),
    )
    names = (Column("Method", words=True), Column("Warm-start", words=True))
    columns = (*names, *unseen_columns(evidence, "return", "score", average=False))
    return Table(columns, rows, caption, evidence.digits)
