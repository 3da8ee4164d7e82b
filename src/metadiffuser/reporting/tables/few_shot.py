"""Table 1: few-shot return on unseen tasks; the same on the field's split, and task by task."""

from __future__ import annotations

import pandas as pd

from metadiffuser.reporting import style
from metadiffuser.reporting.captions import join
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.registry import table
from metadiffuser.reporting.rows import NOT_LEARNT_CAPTION, family_heading, few_shot_rows, unseen_cells, unseen_columns
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.summary import Cells

FIRST = 5  # unseen tasks of the split that the field's papers use
COLUMNS = ("return", "score", "IQM")
VALUES = ("return", "normalised", "iqm")
IQM = "IQM: interquartile mean of the scores of all pairs of training seed and task, without an interval."


@table("table1_few_shot", title="Few-shot return on unseen tasks", section="Main result", place=1)
def few_shot(evidence: Evidence) -> Table:
    """Every method on every family."""
    _, context = evidence.reference
    rows = [
        (row.title, *unseen_cells(evidence, evidence.cells, row, *VALUES, marked=True))
        for row in few_shot_rows(evidence)
    ]
    caption = join(
        f"Table 1. Few-shot return on unseen tasks; methods that take a context are given one "
        f"{style.context_name(context)} episode of the task.",
        evidence.protocol(),
        IQM,
        _expert(evidence),
        evidence.averages(),
        NOT_LEARNT_CAPTION if evidence.not_learnt else "",
    )
    return Table((Column("Method", words=True), *unseen_columns(evidence, *COLUMNS)), rows, caption, evidence.digits)


@table("table1_first_five", title="The first five unseen tasks", section="Main result", place=3)
def first_five(evidence: Evidence) -> Table | None:
    """Table 1 on the first unseen tasks, where there are more."""
    if all(size.tasks <= FIRST for size in evidence.sizes if size.unseen):
        return None
    unseen = evidence.tasks[evidence.tasks["split"] == "test"]
    first = {(family, task) for family, group in unseen.groupby("family") for task in sorted(group["task"])[:FIRST]}
    listed, episodes = few_shot_rows(evidence), evidence.everything
    shown = pd.MultiIndex.from_frame(episodes[list(CELL)]).isin([row.cell for row in listed])
    episodes = episodes[shown & pd.MultiIndex.from_frame(episodes[["family", "task"]]).isin(first)]
    cells = Cells(episodes, evidence.bootstrap, fixed=evidence.apart)
    rows = [(row.title, *unseen_cells(evidence, cells, row, "return", "normalised")) for row in listed]
    caption = join(
        f"Table 1 on the first {FIRST} unseen tasks of each family, as many as the field's papers test on (the field's "
        "split). All else is as in table 1.",
        evidence.intervals(),
        evidence.averages(),
    )
    columns = (Column("Method", words=True), *unseen_columns(evidence, "return", "score"))
    return Table(columns, rows, caption, evidence.digits)


@table("scores_by_task", title="Score task by task", section="Main result", place=9)
def scores_by_task(evidence: Evidence) -> Table:
    """The normalised score of every method of table 1 on each task."""
    listed = few_shot_rows(evidence)
    rows: list[tuple[Cell, ...]] = []
    for family in evidence.shown:
        found = [evidence.cells.by_task(family, row.cell) for row in listed]
        heading = family_heading(evidence, family)
        tasks = sorted(set().union(*found))
        rows += [(heading, str(task), *(scores.get(task) for scores in found)) for task in tasks]
    caption = (
        "Normalised score on each task, mean over training seeds and episodes: what the means of table 1 are made of. "
        "A task without a scale, whose expert is no better than random, is left out."
    )
    columns = (Column("Family", words=True), Column("Task", words=True), *(Column(row.title) for row in listed))
    return Table(columns, rows, caption, evidence.digits)


def _expert(evidence: Evidence) -> str:
    imported = "; of imported data, the mean of the episodes that count as expert" if evidence.imported else ""
    return (
        "The behaviour expert is an oracle that was trained on the tasks: the mean of its episodes in the dataset"
        f"{imported}."
    )
