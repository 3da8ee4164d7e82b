"""The tables by warm-start data, of every method that takes a context (method section 4)."""

from __future__ import annotations

import pandas as pd

from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import (
    ALL_FAMILIES,
    AVERAGE,
    Evidence,
    Row,
    families_of,
    protocol,
    score_cells,
    score_columns,
    variant_title,
)
from metadiffuser.reporting.layout import Column, Table
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.summary import family_average, reference_cell, summarise

SOURCES = {
    "expert": "expert, medium, random: one episode of that quality on the unseen task",
    "mixed": "mixed: one episode of any quality",
    "zero_shot": "zero-shot: nothing but what the agent has gathered itself so far in the episode",
    "wrong_task": "wrong task: an expert episode of another task",
    "oracle": "oracle, of the planner alone: the mean z of many contexts from all expert episodes of the task, "
    "which is what more of them would bring",
}


def warm_start_rows(scores: pd.DataFrame) -> list[Row]:
    """Return the cells of every method that was told by more than one kind of warm-start data, method by method."""
    guide, _ = reference_cell(scores)
    cells = scores[scores["context"] != "none"][list(CELL)].drop_duplicates()
    cells = cells[(cells["method"] != "metadiffuser") | (cells["guide"] == guide)]
    rows = []
    for method in style.ordered(cells["method"], style.METHOD_NAMES):
        own = cells[cells["method"] == method]
        for variant, group in own.groupby("guide"):
            title = variant_title(method, "none" if method == "metadiffuser" else str(variant))
            if len(group) > 1:
                contexts = style.ordered(group["context"], style.CONTEXT_NAMES)
                rows += [Row(title, method, str(variant), context) for context in contexts]
    return rows


def _sources(scores: pd.DataFrame) -> str:
    return "; ".join(text for name, text in SOURCES.items() if (scores["context"] == name).any())


def warm_start(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """Table 2: robustness to where the warm-start context comes from, family by family."""
    guide, _ = reference_cell(evidence.scores)
    families = families_of(evidence.scores)
    summary = summarise(evidence.scores, bootstrap)
    rows = []
    for row in warm_start_rows(evidence.scores):
        cells = score_cells(summary, row, families, "return", "normalised", "iqm")
        rows.append((row.title, style.context_name(row.context), *cells))
    caption = (
        f"Table 2. Methods that take a context, by the warm-start data it is made of; MetaDiffuser with the "
        f"{style.guide_name(guide)} guide. {_sources(evidence.scores)}. Every method is told the same episodes. "
        f"{protocol(evidence, bootstrap)}"
    )
    names = (Column("Method", words=True), Column("Warm-start", words=True))
    columns = (*names, *score_columns(families, "return", "score", "IQM"))
    return Table("table2_warm_start", "Robustness to the warm-start data", caption, columns, tuple(rows), digits)


def robustness(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """Table 2 in short: scores averaged over families, one row a method and one column a kind of warm-start data."""
    listed = warm_start_rows(evidence.scores)
    contexts = style.ordered((row.context for row in listed), style.CONTEXT_NAMES)
    means = {
        (row.title, row.context): family_average(evidence.scores, (row.method, row.guide, row.context), bootstrap)
        for row in listed
    }
    titles = dict.fromkeys(row.title for row in listed)
    rows = [(title, *(means.get((title, context)) for context in contexts)) for title in titles]
    caption = (
        "Table 2 in short. Normalised score by the warm-start data, averaged over families. "
        f"{_sources(evidence.scores)}. {AVERAGE} {protocol(evidence, bootstrap)}"
    )
    columns = [Column("Method", words=True)]
    columns += [Column(style.context_name(context), f"{ALL_FAMILIES}: score") for context in contexts]
    return Table("table2_average", "Robustness in short", caption, tuple(columns), tuple(rows), digits)
