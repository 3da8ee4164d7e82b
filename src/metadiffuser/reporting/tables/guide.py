"""Table 4: ablation of the guide, and whether guides differ (metadiffuser.md, section 4)."""

from __future__ import annotations

import pandas as pd

from metadiffuser.reporting import captions, style
from metadiffuser.reporting.captions import join
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.labels import OWN
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.registry import table
from metadiffuser.reporting.rows import corrected, family_heading
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.summary import Cells, Difference

REPLANNING = "The agent plans again on its way, so an error beyond one step includes its changes of plan."
PAIRS = (("dual", "none"), ("dual", "return"), ("return", "none"))  # guides whose difference is tested
NEAR = (1, 5)  # steps ahead at which plan errors are shown, beside the plan's last
P_DIGITS = 4


def _guides(evidence: Evidence) -> list[str]:
    _, context = evidence.reference
    own = evidence.scores[(evidence.scores["method"] == OWN) & (evidence.scores["context"] == context)]
    return style.ordered(own["guide"], style.GUIDE_NAMES)


@table("table4_guide", title="Ablation of the guide", section="Guide", place=1)
def guide_ablation(evidence: Evidence) -> Table:
    """Scores by the guide's terms, with the inconsistency of planned and executed states."""
    _, context = evidence.reference
    rows: list[list[Cell]] = []
    for guide in _guides(evidence):
        cell = (OWN, guide, context)
        row: list[Cell] = [style.guide_name(guide)]
        for family in evidence.shown:
            row += [evidence.cells.mean(family, cell, column) for column in ("return", "normalised")]
            promise = _of_cell(evidence.promises, family, cell)
            row += [float(promise[name].mean()) if len(promise) else None for name in ("predicted", "received")]
            row += _errors_ahead(evidence.plan_errors, family, cell)
        rows.append([*row, captions.coverage(OWN, evidence.cells.seeds(cell))])
    reach, horizons = (
        _by_family(evidence, evidence.plan_errors, "ahead"),
        _by_family(evidence, evidence.promises, "horizon"),
    )
    caption = join(
        f"Table 4. MetaDiffuser by the terms of its guide, given one {style.context_name(context)} episode as context. "
        "Predicted: sum of the rewards that the reward model predicts for the H steps of a plan"
        f"{f' ({horizons})' if horizons else ''}; received: what the H steps after the decision paid. Both are in the "
        "environment's units of reward, mean over the decisions that are H steps or more before the episode's end. "
        "Error at n: RMSE of the planned against the executed state n steps ahead, in normalised units, mean over "
        f"seeds; last: at the plan's end{f' ({reach})' if reach else ''}.",
        REPLANNING,
        evidence.protocol(),
    )
    columns = [Column("Guide", words=True)]
    for family in evidence.shown:
        heading = family_heading(evidence, family)
        columns += [Column(title, heading) for title in ("return", "score", "predicted", "received")]
        columns += [Column(f"error at {ahead}", heading, 3) for ahead in (*NEAR, "last")]
    return Table([*columns, Column("Interval", words=True)], rows, caption, evidence.digits)


def _by_family(evidence: Evidence, frame: pd.DataFrame, column: str) -> str:
    largest = frame.groupby("family", sort=False)[column].max()
    return "; ".join(f"{evidence.labels.family(str(family))}: {value}" for family, value in largest.items())


def _errors_ahead(errors: pd.DataFrame, family: str, cell: tuple[str, str, str]) -> list[Cell]:
    """Return the plan error 1 and 5 steps ahead and at the plan's end, each averaged over seeds."""
    found = _of_cell(errors, family, cell)
    parts = (found[found["ahead"] == ahead] for ahead in (*NEAR, found["ahead"].max()))
    return [float(part["error"].mean()) if len(part) else None for part in parts]


def _of_cell(frame: pd.DataFrame, family: str, cell: tuple[str, str, str]) -> pd.DataFrame:
    """Return the rows of a tidy table that belong to a cell in a family."""
    return frame[(frame[["family", *CELL]] == [family, *cell]).all(axis=1)]


def error_cells(evidence: Evidence, errors: pd.DataFrame) -> Cells:
    """Return plan errors, task by task and of one number of steps ahead, as resampled cells."""
    return Cells(errors, evidence.bootstrap, columns=("error",), fixed=evidence.apart, stream=("error",))


@table("table4_significance", title="Ablation of the guide: paired differences", section="Guide", place=2)
def guide_significance(evidence: Evidence) -> Table | None:
    """Whether guides differ in return and in plan error: paired over training seeds, tasks and episodes."""
    _, context = evidence.reference
    pairs = [pair for pair in PAIRS if set(pair) <= set(_guides(evidence))]
    if not pairs:
        return None
    named: list[list[Cell]] = []
    found: list[list[Difference | None]] = []
    seeds: list[int] = []
    for family in evidence.shown:
        own = evidence.task_errors[evidence.task_errors["family"] == family]
        reach = own["ahead"].max()
        errors = {ahead: error_cells(evidence, own[own["ahead"] == ahead]) for ahead in (*NEAR, reach)}
        for first, second in pairs:
            keys = [(OWN, guide, context) for guide in (first, second)]
            differences = [evidence.cells.difference(family, keys[0], keys[1], "return")]
            differences += [errors[ahead].difference(family, keys[0], keys[1], "error") for ahead in (*NEAR, reach)]
            guides = f"{style.guide_name(first)} minus {style.guide_name(second)}"
            named.append([family_heading(evidence, family), guides])
            found.append(differences)
            seeds.append(min(map(evidence.cells.seeds, keys)))
    adjusted = iter(corrected([None if each is None else each.p for differences in found for each in differences]))
    rows: list[list[Cell]] = []
    for names, differences, count in zip(named, found, seeds, strict=True):
        won = differences[0]
        row: list[Cell] = [*names]
        for place, difference in enumerate(differences):
            row.append(None if difference is None else difference.mean)
            if place == 0:
                row += [None, None] if won is None else [won.median, f"{won.won} of {won.tasks}"]
            row += [None if difference is None else difference.p, next(adjusted)]
        rows.append([*row, captions.coverage(OWN, count)])
    caption = join(
        "Guides compared on the same training seeds, tasks, initial states and sampling noise, "
        f"{style.context_name(context)} context. Difference: first guide minus second. Median: over tasks, of a task's "
        "mean difference in return; tasks won: tasks on which the first guide has the higher mean return. p: two-sided "
        "bootstrap p-value of no difference; p (Holm): corrected for all comparisons of this table. With few tasks and "
        "seeds p-values are too small rather than too large. Errors as in table 4, RMSE by task.",
        REPLANNING,
        evidence.intervals(),
        f"{captions.sample_sizes(evidence.sizes, evidence.labels)}.",
    )
    columns = [Column("Family", words=True), Column("Guides", words=True)]
    columns += [Column("difference", "Return"), Column("median", "Return"), Column("tasks won", "Return")]
    columns += [Column("p", "Return", P_DIGITS), Column("p (Holm)", "Return", P_DIGITS)]
    for ahead in (*NEAR, "last"):
        heading = f"Error at {ahead}"
        columns += [
            Column("difference", heading, 3),
            Column("p", heading, P_DIGITS),
            Column("p (Holm)", heading, P_DIGITS),
        ]
    return Table([*columns, Column("Interval", words=True)], rows, caption, evidence.digits)
