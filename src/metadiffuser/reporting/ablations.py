"""The tables that take MetaDiffuser apart: task representation, guide (method section 4)."""

from __future__ import annotations

import pandas as pd

from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import Evidence, Row, families_of, protocol, score_cells, score_columns
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.summary import Paired, difference, paired, reference_cell, summarise

REPLANNING = "The agent plans anew on its way, so an error beyond one step includes its changes of plan."
PAIRS = (("dual", "return"), ("return", "none"))  # guides whose difference is tested


def representation_flexibility(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """Table 3: the encoder replaced by other task representations, the rest unchanged."""
    guide, context = reference_cell(evidence.scores)
    cell = ("metadiffuser", guide, context)
    everything = evidence.representations
    chosen = everything[(everything[list(CELL)] == list(cell)).all(axis=1)]
    families = families_of(chosen)
    names = list(dict.fromkeys(chosen["representation"]))
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        own = chosen[chosen["representation"] == name]
        summary = summarise(own, bootstrap)
        cells: list[Cell] = []
        for family in families:
            cells += score_cells(summary, Row(name, *cell), [family], "return", "normalised")
            first, other = (
                part[part["family"] == family] for part in (chosen[chosen["representation"] == names[0]], own)
            )
            gap = difference(other, first, "normalised", bootstrap, "representation", name, family)
            cells.append(gap if name != names[0] else None)
        rows.append((style.representation_name(name), *cells))
    caption = (
        f"Table 3. The planner ({style.guide_name(guide)} guide, {style.context_name(context)} context) with the task "
        "representation replaced, and nothing else. Difference: score minus that of the first row, on the same tasks. "
        f"{protocol(evidence, bootstrap)}"
    )
    columns = (
        Column("Task representation", words=True),
        *score_columns(families, "return", "score", "difference"),
    )
    return Table(
        "table3_representation", "Flexibility of the task representation", caption, columns, tuple(rows), digits
    )


def guide_ablation(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """Table 4: ablation of the guide, with the inconsistency of planned and executed states."""
    _, context = reference_cell(evidence.scores)
    scores = evidence.scores[(evidence.scores["method"] == "metadiffuser") & (evidence.scores["context"] == context)]
    families = families_of(scores)
    summary = summarise(scores, bootstrap)
    rows = []
    for guide in style.ordered(scores["guide"], style.GUIDE_NAMES):
        row = Row(style.guide_name(guide), "metadiffuser", guide, context)
        cells: list[Cell] = []
        for family in families:
            cells += score_cells(summary, row, [family], "return", "normalised")
            promise = _of_cell(evidence.promises, row, family)
            cells += [float(promise[name].mean()) if len(promise) else None for name in ("predicted", "received")]
            cells += _errors_ahead(evidence.plan_errors, row, family)
        rows.append((row.title, *cells))
    reach = "; ".join(
        f"{style.family_title(str(family))}: {group['ahead'].max()}"
        for family, group in evidence.plan_errors.groupby("family", sort=False)
    )
    horizons = ", ".join(
        f"{style.family_title(str(family))}: {group['horizon'].max()}"
        for family, group in evidence.promises.groupby("family", sort=False)
    )
    caption = (
        f"Table 4. MetaDiffuser by the terms of its guide, context from one {style.context_name(context)} episode. "
        f"Predicted: rewards that the reward model predicts for the H steps of a plan ({horizons})"
        ", summed; received: what the H steps after the decision paid; both in the environment's units of reward, mean "
        "over the decisions that are H steps or more before the episode's end. "
        "Error at n: RMSE of the planned against the executed state n steps ahead, in normalised units, mean over seeds"
        f"; last: at the plan's end{f' ({reach})' if reach else ''}. {REPLANNING} {protocol(evidence, bootstrap)}"
    )
    columns = [Column("Guide", words=True)]
    for family in families:
        columns += score_columns([family], "return", "score", "predicted", "received")
        columns += [Column(f"error at {ahead}", style.family_title(family), 3) for ahead in ("1", "5", "last")]
    return Table("table4_guide", "Ablation of the guide", caption, tuple(columns), tuple(rows), digits)


def _errors_ahead(errors: pd.DataFrame, row: Row, family: str) -> list[Cell]:
    """Return the plan error 1 and 5 steps ahead and at the plan's end, each averaged over seeds."""
    found = _of_cell(errors, row, family)
    parts = (found[found["ahead"] == ahead] for ahead in (1, 5, found["ahead"].max()))
    return [float(part["error"].mean()) if len(part) else None for part in parts]


def _of_cell(frame: pd.DataFrame, row: Row, family: str) -> pd.DataFrame:
    """Return the rows of a tidy table that belong to a row's cell in a family."""
    return frame[(frame[["family", *CELL]] == [family, row.method, row.guide, row.context]).all(axis=1)]


def guide_significance(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """Whether guides differ in return and in plan error: paired over tasks and seeds."""
    _, context = reference_cell(evidence.scores)
    guides = set(evidence.scores[evidence.scores["method"] == "metadiffuser"]["guide"])
    rows: list[tuple[Cell, ...]] = []
    counts = []
    for family in families_of(evidence.scores):
        returns, errors = evidence.scores, evidence.task_errors
        last = errors[errors["family"] == family]["ahead"].max()
        for pair in PAIRS:
            if not guides.issuperset(pair):
                continue
            cells = [Row(guide, "metadiffuser", guide, context) for guide in pair]
            first, second = (_of_cell(returns, row, family) for row in cells)
            found = [paired(first, second, "return", bootstrap, family, *pair)]
            for ahead in (1, 5, last):
                first, second = (_of_cell(errors[errors["ahead"] == ahead], row, family) for row in cells)
                found.append(paired(first, second, "error", bootstrap, family, *pair, str(ahead)))
            names = [style.guide_name(guide) for guide in pair]
            rows.append((style.family_title(family), f"{names[0]} minus {names[1]}", *_significance_cells(found)))
        members = returns[(returns["family"] == family) & (returns["method"] == "metadiffuser")]
        seeds = members["seed"].nunique()
        tasks = f"{members['task'].nunique()} unseen tasks × {seeds} training seed{'s' if seeds != 1 else ''}"
        counts.append(f"{style.family_title(family)} {tasks}")
    caption = (
        f"Guides compared on the same tasks, seeds, initial states and sampling noise, {style.context_name(context)} "
        f"context. Brackets: {bootstrap.confidence:.0%} bootstrap interval over tasks and seeds "
        f"({bootstrap.samples} resamples of both; {'; '.join(counts)}; with few tasks it is coarse). P: share of the "
        "resamples in which the first guide has the higher return, or the lower error; 0.5 is no difference. Errors as "
        f"in table 4, RMSE by task. {REPLANNING}"
    )
    columns = [
        Column("Family", words=True),
        Column("Guides", words=True),
        Column("difference", "Return"),
        Column("P(higher)", "Return", 2),
    ]
    for ahead in ("1", "5", "last"):
        columns += [Column("difference", f"Error at {ahead}", 3), Column("P(lower)", f"Error at {ahead}", 2)]
    return Table(
        "table4_significance", "Ablation of the guide: paired differences", caption, tuple(columns), tuple(rows), digits
    )


def _significance_cells(found: list[Paired | None]) -> list[Cell]:
    """Return the difference and the probability of being better, of the return first and of errors after it."""
    cells: list[Cell] = []
    for number, result in enumerate(found):
        if result is None:
            cells += [None, None]
        else:
            cells += [result.difference, result.positive if number == 0 else 1.0 - result.positive]
    return cells
