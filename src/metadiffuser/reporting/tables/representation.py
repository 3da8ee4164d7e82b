"""Table 3: the encoder replaced by other task representations, the rest unchanged (metadiffuser.md, section 4)."""

from __future__ import annotations

from metadiffuser.reporting import captions, style
from metadiffuser.reporting.captions import join
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.registry import table
from metadiffuser.reporting.rows import family_heading, score_columns
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.summary import Cells


def representation_cells(evidence: Evidence) -> tuple[list[str], Cells]:
    """Return the representations in the order of the metrics, and the planner's own cell with each of them."""
    everything = evidence.representations
    chosen = everything[(everything[list(CELL)] == list(evidence.own)).all(axis=1)]
    names = list(dict.fromkeys(chosen["representation"]))
    return names, Cells(chosen, evidence.bootstrap, keys=("representation",), fixed=evidence.apart)


@table("table3_representation", title="Flexibility of the task representation", section="Task representation", place=1)
def representation_flexibility(evidence: Evidence) -> Table | None:
    """One row a representation, with its difference from the first."""
    names, cells = representation_cells(evidence)
    if len(names) < 2:
        return None
    guide, context = evidence.reference
    rows: list[list[Cell]] = []
    for name in names:
        row: list[Cell] = [style.representation_name(name)]
        for family in evidence.shown:
            gap = cells.difference(family, (name,), (names[0],), "normalised") if name != names[0] else None
            row += [cells.mean(family, (name,), column) for column in ("return", "normalised")]
            row.append(None if gap is None else gap.mean)
        rows.append([*row, captions.coverage("metadiffuser", cells.seeds((name,)))])
    caption = join(
        f"Table 3. The planner ({style.guide_name(guide)} guide, {style.context_name(context)} context) with the task "
        "representation replaced, and nothing else. Difference: score minus that of the first row, paired on the same "
        "seeds, tasks and episodes.",
        evidence.protocol(),
    )
    headings = [family_heading(evidence, family) for family in evidence.shown]
    columns = [Column("Task representation", words=True), *score_columns(("return", "score", "difference"), headings)]
    return Table([*columns, Column("Interval", words=True)], rows, caption, evidence.digits)
