"""The table of training tasks: whether every method has learnt what it was shown, before unseen tasks judge it."""

from __future__ import annotations

from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import (
    ALL_FAMILIES,
    AVERAGE,
    NORMALISED,
    Evidence,
    Row,
    families_of,
    score_cells,
    score_columns,
)
from metadiffuser.reporting.layout import Column, Table
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.summary import family_average, summarise


def training_tasks(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """Score of every method on training tasks, told by one of their expert episodes."""
    found = evidence.training
    summary = summarise(found, bootstrap)
    families = families_of(found)
    present = found[list(CELL)].drop_duplicates()
    rows = []
    for method in style.ordered(present["method"], style.METHOD_NAMES):
        for cell in present[present["method"] == method].itertuples(index=False, name=None):
            row = Row(style.method_name(method), *cell)
            mean = family_average(found, cell, bootstrap)
            rows.append((row.title, *score_cells(summary, row, families, "return", "normalised"), mean))
    tasks, episodes = found.groupby("family")["task"].nunique().max(), found["episode"].max() + 1
    caption = (
        "What methods earn on tasks that they were trained on, told by one expert episode: a method that fails here "
        "has not learnt its data, and its score on unseen tasks says nothing of how it generalises. Up to "
        f"{tasks} training tasks of a family, {episodes} episodes each and training seed, the same for all methods; "
        "the study that MetaDiffuser's sampler was chosen from is of these episodes, too. "
        f"{NORMALISED} Brackets: {bootstrap.confidence:.0%} stratified bootstrap interval. {AVERAGE}"
    )
    columns = (
        Column("Method", words=True),
        *score_columns(families, "return", "score"),
        Column("score", ALL_FAMILIES),
    )
    return Table("training_tasks", "Return on training tasks", caption, columns, tuple(rows), digits)
