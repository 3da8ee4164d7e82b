"""What the tables are made of, and what several of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import scores, style
from metadiffuser.reporting.layout import Cell, Column
from metadiffuser.reporting.published import Published, read_published
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.summary import anchors_text, reference_cell, sizes, sizes_text

NORMALISED = "Normalised score = 100 (R - R_random) / (R_expert - R_random), anchors measured on the same task."
ALL_FAMILIES = "All families"
AVERAGE = (
    f"{ALL_FAMILIES}: mean of the families' scores, each counting the same; none where a family is missing. Its "
    "interval keeps families and tasks fixed."
)


@dataclass(frozen=True)
class Evidence:
    """What the tables are made of; see ``scores`` for the columns.

    Attributes:
        representations: episodes of the evaluation, of every representation.
        scores: episodes of the evaluation, of the first representation, as are plan errors and promises.
        training: episodes on training tasks, of the first representation.
        behaviour: episodes of the dataset.
        optimum: exact optima, where known.
        plan_errors: planned against executed states.
        task_errors: the same, task by task.
        promises: predicted and received returns.
        diagnostics: probes and one-step model errors of every context encoder.
        probes: probes of every context encoder by the context's quality.
        identifiable: probes of the parameters that show in the data, of every context encoder.
        parameters: how many parameters methods and the context model have.
        rollout_errors: errors of every encoder's models over one and more steps.
        published: the reference file.
        imported: {family: how its episodes got their labels} for families whose data were imported.
    """

    representations: pd.DataFrame
    scores: pd.DataFrame
    training: pd.DataFrame
    behaviour: pd.DataFrame
    optimum: pd.DataFrame
    plan_errors: pd.DataFrame
    task_errors: pd.DataFrame
    promises: pd.DataFrame
    diagnostics: pd.DataFrame
    probes: pd.DataFrame
    identifiable: pd.DataFrame
    parameters: pd.DataFrame
    rollout_errors: pd.DataFrame
    published: Published
    imported: Mapping[str, str]


def gather(
    planner: Sequence[Path],
    baselines: Sequence[Path],
    dataset: Sequence[Path],
    context: Sequence[Path],
    representation: str,
) -> Evidence:
    """Read what the tables are made of from the metrics files; ``representation`` is MetaDiffuser's own.

    Raises:
        InputError: a file is missing or damaged; the message names it.
    """
    episodes = scores.read_scores([*planner, *baselines], dataset)

    def own(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["representation"] == representation]

    return Evidence(
        representations=episodes,
        scores=own(episodes),
        training=own(scores.read_training_tasks([*planner, *baselines], dataset)),
        behaviour=scores.read_behaviour(dataset),
        optimum=scores.read_optimum(dataset),
        plan_errors=own(scores.read_plan_errors(planner)),
        task_errors=own(scores.read_task_errors(planner)),
        promises=own(scores.read_promises(planner)),
        diagnostics=scores.read_diagnostics(context),
        probes=scores.read_probes(context),
        identifiable=scores.read_identifiable(context),
        parameters=own(scores.read_parameters([*planner, *baselines])),
        rollout_errors=scores.read_rollout_errors(context),
        published=read_published(),
        imported=scores.read_imported(dataset),
    )


def notes(evidence: Evidence, seed: int) -> dict[str, Any]:
    """Return what the report shows beside times and films.

    Args:
        evidence: what the tables are made of.
        seed: the training seed whose rollouts are filmed.

    Returns:
        ``parameters``: rows of family, method and parameters; ``films``: return and normalised score (None without
        one) of the first episode of each unseen task, which is the one that is filmed, by family, task and guide.
    """
    counts = evidence.parameters[["family", "method", "parameters"]].to_dict("records")
    _, context = reference_cell(evidence.scores)
    own = evidence.scores[(evidence.scores["method"] == "metadiffuser") & (evidence.scores["context"] == context)]
    films: dict[str, dict[str, dict[str, Any]]] = {}
    for row in own[(own["seed"] == seed) & (own["episode"] == 0)].to_dict("records"):
        score = None if pd.isna(row["normalised"]) else round(float(row["normalised"]), 3)
        shown = {"return": round(float(row["return"]), 3), "score": score}
        films.setdefault(row["family"], {}).setdefault(str(row["task"]), {})[row["guide"]] = shown
    return {"parameters": counts, "films": films}


@dataclass(frozen=True)
class Row:
    """A row of scores: its name and the cell of the evaluation that it shows."""

    title: str
    method: str
    guide: str
    context: str


def families_of(frame: pd.DataFrame) -> list[str]:
    """Return the families of a tidy table, in its order."""
    return list(dict.fromkeys(frame["family"]))


def protocol(evidence: Evidence, bootstrap: Bootstrap) -> str:
    """Return what captions say of scores, intervals and sample sizes."""
    text = (
        f"Undiscounted episode return on unseen tasks; brackets: {bootstrap.confidence:.0%} stratified bootstrap "
        f"interval (strata: tasks; {bootstrap.samples} resamples of the runs within a task). {NORMALISED} "
        f"{sizes_text(sizes(evidence.scores))}. {anchors_text(evidence.imported)}"
    )
    return text.rstrip()


def score_columns(families: Sequence[str], *titles: str) -> tuple[Column, ...]:
    """Return columns of ``titles`` for each family."""
    return tuple(Column(title, style.family_title(family)) for family in families for title in titles)


def score_cells(summary: pd.DataFrame, row: Row, families: Sequence[str], *names: str) -> list[Cell]:
    """Return the values ``names`` of a row's cell in each family, None where a family has no such cell."""
    cells: list[Cell] = []
    for family in families:
        wanted = (summary[["family", *CELL]] == [family, row.method, row.guide, row.context]).all(axis=1)
        found = summary[wanted]
        cells += [found.iloc[0][name] if len(found) else None for name in names]
    return cells


def variant_title(method: str, guide: str) -> str:
    """Return the name of a cell of another method than MetaDiffuser."""
    return style.method_name(method) + ("" if guide == "none" else f" ({style.guide_name(guide)} guide)")


def few_shot_rows(episodes: pd.DataFrame) -> list[Row]:
    """Return the rows of table 1: MetaDiffuser, other methods, the wrong task's context, and the expert."""
    guide, context = reference_cell(episodes)
    present = set(map(tuple, episodes[list(CELL)].drop_duplicates().to_numpy()))
    rows = [Row(f"MetaDiffuser ({style.guide_name(guide)} guide)", "metadiffuser", guide, context)]
    others = {cell for cell in present if cell[0] != "metadiffuser" and cell[2] in (context, "none")}
    for method in style.ordered((cell[0] for cell in others), style.METHOD_NAMES):
        variants = sorted(cell for cell in others if cell[0] == method)
        rows += [Row(variant_title(method, cell[1]), *cell) for cell in variants]
    if ("metadiffuser", guide, "wrong_task") in present:
        rows.insert(1, Row("MetaDiffuser, another task's context", "metadiffuser", guide, "wrong_task"))
    return [*rows, Row(style.method_name("expert"), "expert", "none", "none")]
