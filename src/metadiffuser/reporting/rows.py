"""The rows and columns that several tables and figures share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from metadiffuser.evaluation.statistics import holm
from metadiffuser.reporting import captions, style
from metadiffuser.reporting.evidence import LEARNT, Evidence
from metadiffuser.reporting.labels import OWN
from metadiffuser.reporting.layout import Cell, Column
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.summary import Cells, Estimate

EXPERT = ("expert", "none", "none")  # the behaviour expert as a cell
NOT_LEARNT = "†"
NOT_LEARNT_CAPTION = (
    f"{NOT_LEARNT} did not learn: on its own training tasks the method reaches less than {LEARNT:.0%} of its "
    "data's best quality (table of training tasks); its learning curve shows how its training went."
)


@dataclass(frozen=True)
class Row:
    """A row of scores: its name and the cell of the evaluation that it shows."""

    title: str
    method: str
    guide: str
    context: str

    @property
    def cell(self) -> tuple[str, str, str]:
        """The cell's key."""
        return self.method, self.guide, self.context


def variant_title(evidence: Evidence, method: str, guide: str) -> str:
    """Return the name of a cell of another method than MetaDiffuser."""
    return evidence.labels.method(method) + ("" if guide == "none" else f" ({style.guide_name(guide)} guide)")


def few_shot_rows(evidence: Evidence) -> list[Row]:
    """Return the rows of table 1: MetaDiffuser, with another task's context, the other methods, and the expert."""
    guide, context = evidence.reference
    present = set(map(tuple, evidence.scores[list(CELL)].drop_duplicates().to_numpy()))
    rows = [Row(f"{evidence.labels.method(OWN)} ({style.guide_name(guide)} guide)", OWN, guide, context)]
    if (OWN, guide, "wrong_task") in present:
        rows.append(Row(f"{evidence.labels.method(OWN)}, another task's context", OWN, guide, "wrong_task"))
    others = {cell for cell in present if cell[0] != OWN and cell[2] in (context, "none")}
    for method in evidence.methods:
        variants = sorted(cell for cell in others if cell[0] == method)
        rows += [Row(variant_title(evidence, method, cell[1]), *cell) for cell in variants]
    return [*rows, Row(evidence.labels.method("expert"), *EXPERT)]


def family_heading(evidence: Evidence, family: str) -> str:
    """Return a family's heading in tables of unseen tasks; it says so if the family has none."""
    title = evidence.labels.family(family)
    return f"{title} ({captions.NO_UNSEEN_TASK})" if family in evidence.apart else title


def unseen_columns(evidence: Evidence, *titles: str, average: bool = True) -> list[Column]:
    """Return ``titles`` for each family with unseen tasks, their average, ``titles`` for the others, the coverage."""
    columns = [Column(title, family_heading(evidence, name)) for name in evidence.families for title in titles]
    if average and evidence.families:
        columns.append(Column("score", captions.ALL_FAMILIES))
    rest = [name for name in evidence.shown if name in evidence.apart]
    columns += [Column(title, family_heading(evidence, name)) for name in rest for title in titles]
    return [*columns, Column("Interval", words=True)]


def unseen_cells(
    evidence: Evidence, cells: Cells, row: Row, *names: str, average: bool = True, marked: bool = False
) -> list[Cell]:
    """Return what stands in ``unseen_columns`` for a row; ``names`` are ``return``, ``normalised`` or ``iqm``."""
    found: dict[str, list[Cell]] = {}
    for family in evidence.shown:
        mark = NOT_LEARNT if marked and (family, row.method) in evidence.not_learnt else ""
        found[family] = [_value(cells, family, row, name, mark) for name in names]
    values = [cell for family in evidence.families for cell in found[family]]
    if average and evidence.families:
        values.append(cells.average(evidence.families, row.cell))
    values += [cell for family in evidence.shown if family in evidence.apart for cell in found[family]]
    return [*values, captions.coverage(row.method, cells.seeds(row.cell))]


def _value(cells: Cells, family: str, row: Row, name: str, mark: str) -> Cell:
    if name == "iqm":
        return cells.iqm(family, row.cell)
    value = cells.mean(family, row.cell, name)
    return replace(value, mark=mark) if mark and isinstance(value, Estimate) and name == "normalised" else value


def corrected(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's corrected p-values in the places of the given ones; None where there is none, or NaN."""
    tested = {place: p for place, p in enumerate(p_values) if p is not None and not math.isnan(p)}
    found = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [found.get(place) for place in range(len(p_values))]


def joined(names: Iterable[str]) -> str:
    """Return names as a list in words."""
    return ", ".join(names)


def score_columns(titles: Sequence[str], families: Iterable[str]) -> list[Column]:
    """Return columns of ``titles`` below each heading of ``families``."""
    return [Column(title, family) for family in families for title in titles]
