"""The published numbers, apart from ours: each with its protocol and source."""

from __future__ import annotations

from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.layout import Column, Table, number
from metadiffuser.reporting.published import Result
from metadiffuser.reporting.registry import table

DIGITS = 1


@table("table1_published", title="Published results, under other protocols", section="Main result", place=4)
def published_results(evidence: Evidence) -> Table:
    """One row a method and protocol."""
    published = evidence.published
    families = style.ordered((name for entry in published.entries for name in entry.returns), evidence.labels.families)
    rows = []
    for entry in published.entries:
        source = f"{entry.source}{', second-hand' if entry.second_hand else ''}"
        returns = (_result(entry.returns.get(family)) for family in families)
        rows.append((entry.method, *returns, entry.protocol, source))
    notes = " ".join(published.notes[family] for family in families if family in published.notes)
    caption = (
        "Published returns, beside table 1 for scale only: data, tasks, warm-start and seeds differ from ours and from "
        f"row to row, so no number here can be compared with one there as like with like. {notes}"
    )
    columns = [Column("Method (published)", words=True)]
    columns += [Column(evidence.labels.family(family), "Published return") for family in families]
    columns += [Column("Protocol", words=True), Column("Source", words=True)]
    return Table(columns, rows, caption.strip(), DIGITS)


def _result(result: Result | None) -> str | None:
    if result is None:
        return None
    spread = "" if result.spread is None else f" ± {number(result.spread, DIGITS)}"
    return f"{number(result.mean, DIGITS)}{spread}"
