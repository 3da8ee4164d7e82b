"""MetaDiffuser against every other row of table 1 and against its own variants, paired."""

from __future__ import annotations

from metadiffuser.reporting import captions, style
from metadiffuser.reporting.captions import join
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.labels import OWN
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.registry import table
from metadiffuser.reporting.rows import EXPERT, Row, corrected, family_heading, few_shot_rows
from metadiffuser.reporting.scores import CELL

CORRECTED = 4  # column of the corrected p-value


def compared_rows(evidence: Evidence) -> list[Row]:
    """Return MetaDiffuser's variants, one guide or context away from its own, and the methods of table 1."""
    guide, context = evidence.reference
    own = evidence.scores[evidence.scores["method"] == OWN][list(CELL)].drop_duplicates()
    present = set(own.itertuples(index=False, name=None))
    title = evidence.labels.method(OWN)
    guides = style.ordered((cell[1] for cell in present if cell[2] == context and cell[1] != guide), style.GUIDE_NAMES)
    sources = style.ordered(
        (cell[2] for cell in present if cell[1] == guide and cell[2] != context), style.CONTEXT_NAMES
    )
    rows = [Row(f"{title}, guide {style.guide_name(name)}", OWN, name, context) for name in guides]
    rows += [Row(f"{title}, context {style.context_name(name)}", OWN, guide, name) for name in sources]
    return rows + [row for row in few_shot_rows(evidence) if row.method != OWN and row.cell != EXPERT]


@table("comparisons", title="Pairwise comparisons", section="Main result", place=5)
def comparisons(evidence: Evidence) -> Table:
    """One row a family and cell: difference, its p-value, and what the mean may hide."""
    guide, context = evidence.reference
    rows: list[list[Cell]] = []
    p_values: list[float] = []
    for family in evidence.shown:
        for row in compared_rows(evidence):
            returns = evidence.cells.difference(family, evidence.own, row.cell, "return")
            scores = evidence.cells.difference(family, evidence.own, row.cell, "normalised")
            if returns is None:
                continue
            cells: list[Cell] = [family_heading(evidence, family), row.title, returns.mean, returns.p, None]
            cells += [None, None] if scores is None else [scores.mean, scores.median]
            cells += [f"{returns.won} of {returns.tasks}", evidence.cells.improvement(family, evidence.own, row.cell)]
            seeds = min(evidence.cells.seeds(evidence.own), evidence.cells.seeds(row.cell))
            p_values.append(returns.p)
            rows.append([*cells, captions.coverage(OWN, seeds)])
    adjusted = corrected(p_values)
    for cells, p in zip(rows, adjusted, strict=True):
        cells[CORRECTED] = p
    caption = join(
        f"MetaDiffuser ({style.guide_name(guide)} guide, {style.context_name(context)} context) minus the row "
        "(positive: MetaDiffuser is better), paired on the same training seeds, tasks and episodes. Median: over "
        "tasks, of a task's mean difference; tasks won: tasks on which MetaDiffuser has the higher mean return. "
        "P(better): probability that one of its episodes beats one of the row's on the same task (0.5: no difference). "
        "p: two-sided bootstrap p-value of no difference in return; p (Holm): corrected for all "
        f"{sum(p is not None for p in adjusted)} comparisons of this table. With few tasks and seeds p-values are too "
        "small rather than too large.",
        evidence.protocol(),
    )
    columns = [
        Column("Family", words=True),
        Column("Against", words=True),
        Column("difference", "Return"),
        Column("p", "Return", 4),
        Column("p (Holm)", "Return", 4),
        Column("difference", "Score"),
        Column("median", "Score"),
        Column("tasks won"),
        Column("P(better)", digits=2),
        Column("Interval", words=True),
    ]
    return Table(columns, rows, caption, evidence.digits)
