"""The tables of the method's section 4, and those that show what its scores rest on.

A table is a function from the tidy tables of ``scores`` and ``summary`` to a ``Table``. Rows are what the
metrics hold: a new method, guide or context needs no change here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from metadiffuser.artifacts import write_json, write_text
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import style
from metadiffuser.reporting.ablations import (
    guide_ablation,
    guide_significance,
    representation_flexibility,
)
from metadiffuser.reporting.diagnostics import behaviour_policies, context_diagnostics, diagnostics
from metadiffuser.reporting.evidence import (
    ALL_FAMILIES,
    AVERAGE,
    Evidence,
    Row,
    families_of,
    few_shot_rows,
    protocol,
    score_cells,
    score_columns,
    variant_title,
)
from metadiffuser.reporting.layout import Column, Table, number, to_csv, to_latex, to_markdown
from metadiffuser.reporting.published import Result
from metadiffuser.reporting.robustness import robustness, warm_start
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.summary import (
    Estimate,
    Size,
    compare,
    family_average,
    oracle,
    reference_cell,
    summarise,
)
from metadiffuser.reporting.training_tasks import training_tasks

INDEX = "tables.json"
SCORES = "scores.json"
FORMATS: dict[str, Callable[[Table], str]] = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex}


def few_shot(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """Table 1: few-shot return on unseen tasks."""
    families = families_of(evidence.scores)
    _, context = reference_cell(evidence.scores)
    everything = pd.concat([evidence.scores, oracle(evidence.behaviour)])
    summary = summarise(everything, bootstrap)
    rows = []
    for row in few_shot_rows(evidence.scores):
        mean = family_average(everything, (row.method, row.guide, row.context), bootstrap)
        rows.append((row.title, *score_cells(summary, row, families, "return", "normalised", "iqm"), mean))
    caption = (
        f"Table 1. Few-shot return on unseen tasks, warm-start context from one {style.context_name(context)} episode "
        f"of the task. {protocol(evidence, bootstrap)} IQM: interquartile mean of the normalised scores of all runs. "
        "The behaviour expert, an oracle that was trained on the tasks, is the mean of its episodes in the dataset"
        f"{'; of imported data, the mean of the episodes that count as expert' if evidence.imported else ''}. {AVERAGE}"
    )
    columns = (
        Column("Method", words=True),
        *score_columns(families, "return", "score", "IQM"),
        Column("score", ALL_FAMILIES),
    )
    return Table("table1_few_shot", "Few-shot return on unseen tasks", caption, columns, tuple(rows), digits)


def published_results(evidence: Evidence, digits: int) -> Table:
    """The published numbers, apart from ours: each with its protocol and source."""
    published = evidence.published
    known = list(style.FAMILY_COLOURS)
    families = style.ordered((name for entry in published.entries for name in entry.returns), known)
    rows = []
    for entry in published.entries:
        source = f"{entry.source}{', second-hand' if entry.second_hand else ''}"
        returns = (_result(entry.returns.get(family), digits) for family in families)
        rows.append((entry.method, *returns, entry.protocol, source))
    notes = " ".join(published.notes[family] for family in families if family in published.notes)
    caption = (
        "Published returns, beside table 1 for scale only: data, tasks, warm-start and seeds differ from ours and from "
        f"row to row, so no number here can be compared with one there as like with like. {notes}"
    )
    titles = (Column(style.family_title(family), "Published return") for family in families)
    columns = (
        Column("Method (published)", words=True),
        *titles,
        Column("Protocol", words=True),
        Column("Source", words=True),
    )
    return Table(
        "table1_published", "Published results, under other protocols", caption.strip(), columns, tuple(rows), digits
    )


def _result(result: Result | None, digits: int) -> str | None:
    if result is None:
        return None
    spread = "" if result.spread is None else f" ± {number(result.spread, digits)}"
    return f"{number(result.mean, digits)}{spread}"


def comparisons(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """MetaDiffuser's reference cell against every other cell, on the same tasks."""
    guide, context = reference_cell(evidence.scores)
    compared = compare(evidence.scores, bootstrap)
    families = families_of(evidence.scores)
    rows = []
    for method, variant, source in compared[list(CELL)].drop_duplicates().itertuples(index=False, name=None):
        row = Row(_cell_title(method, variant, source, guide, context), method, variant, source)
        rows.append((row.title, *score_cells(compared, row, families, "difference", "improvement")))
    caption = (
        f"MetaDiffuser ({style.guide_name(guide)} guide, {style.context_name(context)} context) against the row: "
        "difference of mean returns (positive: MetaDiffuser is better), and the probability that one of its runs beats "
        f"one of the row's on the same task (0.5: no difference). {protocol(evidence, bootstrap)}"
    )
    columns = [Column("Against", words=True)]
    for family in families:
        columns += [
            Column("difference", style.family_title(family)),
            Column("P(better)", style.family_title(family), 2),
        ]
    return Table("comparisons", "Pairwise comparisons", caption, tuple(columns), tuple(rows), digits)


def _cell_title(method: str, guide: str, context: str, own_guide: str, own_context: str) -> str:
    """Return a cell's name, saying only how it departs from MetaDiffuser's own."""
    if method != "metadiffuser":
        told = f", context {style.context_name(context)}" if context not in (own_context, "none") else ""
        return variant_title(method, guide) + told
    parts = [f"guide {style.guide_name(guide)}"] if guide != own_guide else []
    parts += [f"context {style.context_name(context)}"] if context != own_context else []
    return f"MetaDiffuser, {', '.join(parts)}"


def all_tables(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> list[Table]:
    """Return every table, in the order of the report."""
    found = [
        few_shot(evidence, bootstrap, digits),
        published_results(evidence, 1),
        robustness(evidence, bootstrap, digits),
        warm_start(evidence, bootstrap, digits),
        guide_ablation(evidence, bootstrap, digits),
        guide_significance(evidence, bootstrap, digits),
        comparisons(evidence, bootstrap, digits),
        training_tasks(evidence, bootstrap, digits),
        behaviour_policies(evidence, bootstrap, digits),
        context_diagnostics(evidence),
        diagnostics(evidence, bootstrap, digits),
    ]
    if evidence.representations["representation"].nunique() > 1:
        found.insert(4, representation_flexibility(evidence, bootstrap, digits))
    return found


def headline(table: Table) -> dict[str, dict[str, float]]:
    """Return {group: {column: mean}} of a table's first row: of table 1, MetaDiffuser's own scores by family."""
    found: dict[str, dict[str, float]] = {}
    for column, cell in zip(table.columns, table.rows[0], strict=True):
        value = cell.value if isinstance(cell, Estimate) else cell
        if isinstance(value, float):
            found.setdefault(column.group, {})[column.title] = value
    return found


def write_tables(
    folder: Path, tables: Sequence[Table], found: Sequence[Size], confidence: float, notes: Mapping[str, Any]
) -> None:
    """Write each table as CSV, Markdown and LaTeX, DVC's metrics, and the report's index, ``notes`` included."""
    for table in tables:
        for suffix, render in FORMATS.items():
            write_text(folder / f"{table.name}{suffix}", render(table))
    index = {
        "tables": [table.to_json() for table in tables],
        "sizes": [size.to_json() for size in found],
        "confidence": confidence,
        **notes,
    }
    write_json(folder / INDEX, index)
    write_json(folder / SCORES, headline(tables[0]))
