"""The tables that show what the scores rest on: the data's policies, z, the models, and what bounds the planner."""

from __future__ import annotations

import pandas as pd

from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import NORMALISED, Evidence, Row, score_cells
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.summary import anchors_text, estimate, reference_cell, summarise

QUALITIES = ("expert", "medium", "random", "mixed")
FLOOR = "bc"  # what z alone brings, without a plan
SPLITS = {"train": "training", "test": "unseen"}


def behaviour_policies(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """The data's policies: returns by family, split and quality, against the exact optimum where there is one."""
    rows: list[tuple[Cell, ...]] = []
    counts = []
    for (family, split), group in evidence.behaviour.groupby(["family", "split"], sort=False):
        optimum = evidence.optimum[(evidence.optimum["family"] == family) & (evidence.optimum["split"] == split)]
        best = float(optimum["optimum"].mean()) if len(optimum) else None
        name = f"{style.family_title(str(family))}, {SPLITS[str(split)]}"
        for quality in style.ordered(group["quality"], QUALITIES):
            part = group[group["quality"] == quality]
            stream = ("behaviour", str(family), str(split), quality)
            mean = estimate(part, "return", bootstrap, *stream)
            score = estimate(part, "normalised", bootstrap, *stream)
            gap = 100 * (best - mean.value) / abs(best) if best and mean else None
            rows.append((name, quality, mean, score, best, gap))
        tasks = group["task"].nunique()
        counts.append(f"{name} {tasks} tasks × {len(group) // tasks // group['quality'].nunique()} episodes")
    runs = "one behaviour training run each" + (", none where imported" if evidence.imported else "")
    caption = (
        "Behaviour policies that the data comes from, by split and quality: mean episode return over tasks, normalised "
        "score, and where the exact optimum is known how far they stay below it, relative to it. Brackets: "
        f"{bootstrap.confidence:.0%} stratified bootstrap interval over episodes. {'; '.join(counts)} per quality; "
        f"{runs}. {anchors_text(evidence.imported)}"
    ).rstrip()
    names = (Column("Family, tasks", words=True), Column("Policy", words=True))
    columns = (*names, *map(Column, ("return", "score", "optimum", "gap to optimum (%)")))
    return Table("behaviour", "Behaviour policies", caption, columns, tuple(rows), digits)


def context_diagnostics(evidence: Evidence) -> Table:
    """How well z carries the task, and how well the models predict with it."""
    rows: list[tuple[Cell, ...]] = []
    names = list(evidence.diagnostics.columns[3:])
    counts = []
    for (family, representation), group in evidence.diagnostics.groupby(["family", "representation"], sort=False):
        title = style.family_title(str(family))
        rows.append((title, str(representation), *(float(group[name].mean()) for name in names)))
        counts.append(f"{title} {len(group)} seed{'s' if len(group) != 1 else ''}")
    caption = (
        "Context encoder and its models. Probe R²: share of the variance of the task's parameters that a linear probe "
        "reads from z, every task by a fit to all others; 0 is what their mean explains. Reward and dynamics: RMSE of "
        f"one step's prediction in normalised units. Mean over training seeds ({', '.join(dict.fromkeys(counts))})."
    )
    columns = [Column("Family", words=True), Column("Representation", words=True)]
    for group_title in ("Probe R²", "Reward RMSE", "Dynamics RMSE"):
        columns += [Column("training tasks", group_title), Column("unseen tasks", group_title)]
    return Table("context", "Task representation", caption, tuple(columns), tuple(rows), 3)


def bounds(scores: pd.DataFrame) -> list[Row]:
    """Return the cells told most, as usual and wrongly, and the floor: cloning with the same z."""
    guide, context = reference_cell(scores)
    sources = {"oracle z": "oracle", f"{style.context_name(context)} context": context, "wrong task": "wrong_task"}
    rows = [Row(title, "metadiffuser", guide, source) for title, source in sources.items()]
    if (scores["method"] == FLOOR).any():
        rows.append(Row("cloning with z", FLOOR, "none", context))
    return rows


def diagnostics(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """What bounds the planner: how much z knows, how far the models can be trusted, and what a better z would bring."""
    probes, errors = evidence.probes, evidence.rollout_errors[evidence.rollout_errors["split"] == "test"]
    qualities = style.ordered(probes["quality"], QUALITIES)
    reach = sorted(errors["ahead"].unique())
    compared = bounds(evidence.scores)
    guide, _ = reference_cell(evidence.scores)
    rows: list[tuple[Cell, ...]] = []
    for (family, representation), group in probes.groupby(["family", "representation"], sort=False):
        members = errors[(errors["family"] == family) & (errors["representation"] == representation)]
        cells: list[Cell] = [_mean(group[group["quality"] == quality]["test_r2"]) for quality in qualities]
        told = evidence.identifiable
        told = told[(told["family"] == family) & (told["representation"] == representation)]
        cells += [_mean(told["test_r2"]), _mean(told["parameters"])]
        for name in ("reward", "state"):
            cells += [_mean(members[members["ahead"] == ahead][name]) for ahead in reach]
        everything = evidence.representations
        own = everything[(everything["family"] == family) & (everything["representation"] == representation)]
        summary = summarise(own, bootstrap)
        for row in compared:
            cells += score_cells(summary, row, [str(family)], "normalised")
        rows.append((style.family_title(str(family)), str(representation), *cells))
    caption = (
        "What bounds the planner, on unseen tasks. Probe R²: share of the variance of the task's parameters that a "
        "linear probe reads from z, every task by a fit to all others, by the quality of the context; identifiable: of "
        "those parameters alone of which it reads more than chance gives any of them in 95% of permutations of the "
        "tasks, over contexts of all qualities, and how many they are. "
        "Reward and state error at n: RMSE of the models rolled out n steps with the data's actions, in normalised "
        f"units; for every n from the same states of the data, those that {reach[-1]} steps can follow. Score: of the "
        f"planner ({style.guide_name(guide)} guide) told the mean z of many contexts from all expert episodes of the "
        f"task (oracle z), told by one episode, and told of another task; and of behaviour cloning told by the same "
        f"episode, where it was trained (cloning with z): what z is worth without a plan. {NORMALISED} Brackets: "
        f"{bootstrap.confidence:.0%} stratified bootstrap interval."
    )
    columns = [Column("Family", words=True), Column("Representation", words=True)]
    columns += [Column(quality, "Probe R²", 2) for quality in (*qualities, "identifiable")]
    columns += [Column("identifiable", "Parameters", 0)]
    for title in ("Reward error at", "State error at"):
        columns += [Column(str(ahead), title, 3) for ahead in reach]
    columns += [Column(row.title, "Score") for row in compared]
    return Table("diagnostics", "What bounds the planner", caption, tuple(columns), tuple(rows), digits)


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if len(values) else None
