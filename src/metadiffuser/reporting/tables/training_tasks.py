"""The table of training tasks: whether every method has learnt its data, before unseen tasks judge it."""

from __future__ import annotations

from metadiffuser.reporting import captions
from metadiffuser.reporting.captions import NORMALISED, join
from metadiffuser.reporting.evidence import LEARNT, Evidence
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.registry import table
from metadiffuser.reporting.scores import CELL


@table("training_tasks", title="Return on training tasks", section="What the scores rest on", place=1)
def training_tasks(evidence: Evidence) -> Table:
    """Score of every method on training tasks, given one of their expert episodes as context."""
    found, cells = evidence.training, evidence.training_cells
    present = found[list(CELL)].drop_duplicates()
    shown = [family for family in evidence.shown if family in set(found["family"])]
    rows: list[list[Cell]] = []
    for method in evidence.methods:
        for cell in present[present["method"] == method].itertuples(index=False, name=None):
            row: list[Cell] = [evidence.labels.method(method)]
            for family in shown:
                row += [cells.mean(family, cell, column) for column in ("return", "normalised")]
            failed = [family for family in shown if (family, method) in evidence.not_learnt]
            row += [cells.average(shown, cell), ", ".join(map(evidence.labels.family, failed))]
            rows.append([*row, captions.coverage(method, cells.seeds(cell))])
    tasks, episodes = found.groupby("family")["task"].nunique().max(), found["episode"].max() + 1
    caption = join(
        "What methods earn on tasks that they were trained on, given one expert episode as context: a method that "
        "fails here has not learnt its data, and its score on unseen tasks says nothing of how it generalises. Up to "
        f"{tasks} training tasks of a family, {episodes} episodes each and training seed, the same for all methods.",
        f"Did not learn: families in which a method reaches less than {LEARNT:.0%} of its data's best quality on these "
        "tasks; see its learning curve.",
        NORMALISED,
        evidence.intervals(),
        f"{captions.ALL_FAMILIES}: mean of the families' scores, each counting the same.",
    )
    columns = [Column("Method", words=True)]
    columns += [Column(title, evidence.labels.family(family)) for family in shown for title in ("return", "score")]
    columns += [Column("score", captions.ALL_FAMILIES), Column("Did not learn", words=True)]
    return Table([*columns, Column("Interval", words=True)], rows, caption, evidence.digits)
