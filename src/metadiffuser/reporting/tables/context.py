"""The tables that show what z carries, how far the models can be trusted, and what bounds the planner."""

from __future__ import annotations

import pandas as pd

from metadiffuser.reporting import captions, encoders, scores, style
from metadiffuser.reporting.captions import NORMALISED, join
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.labels import OWN
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.registry import table
from metadiffuser.reporting.rows import Row
from metadiffuser.reporting.summary import Cells

ONE_CALL = "one_call"  # the planner that asks the denoiser once
CLONING = "bc"  # the baseline that acts on the planner's z without a plan
PARTS = {  # columns of ``encoders.DIAGNOSTICS`` by heading
    "Probe R²": ("train_r2", "test_r2"),
    "Reward RMSE": ("train_reward", "test_reward"),
    "Dynamics RMSE": ("train_dynamics", "test_dynamics"),
}


@table("context", title="Context encoder and its models", section="Task representation", place=2)
def context_diagnostics(evidence: Evidence) -> Table:
    """How well z carries the task, and how well the models predict with it."""
    found = encoders.read_diagnostics(evidence.context)
    rows: list[tuple[Cell, ...]] = []
    counts = []
    for (family, representation), group in found.groupby(["family", "representation"], sort=False):
        title = evidence.labels.family(str(family))
        values = (float(group[name].mean()) for names in PARTS.values() for name in names)
        rows.append((title, str(representation), *values))
        counts.append(f"{title} {len(group)} seed{'s' if len(group) != 1 else ''}")
    caption = (
        "Context encoder and its models. Probe R²: share of the variance of the task's parameters that a linear probe "
        "reads from z, every task by a fit to all others; 0 is what their mean explains. Reward and dynamics: RMSE of "
        "one step's prediction in normalised units. "
        f"Mean over training seeds ({', '.join(dict.fromkeys(counts))}), without an interval."
    )
    columns = [Column("Family", words=True), Column("Representation", words=True)]
    for heading in PARTS:
        columns += [Column("training tasks", heading), Column("unseen tasks", heading)]
    return Table(columns, rows, caption, 3)


def bounds(evidence: Evidence) -> list[Row]:
    """Return the planner's cells with the best, the usual and the wrong z, and what less than a plan makes of z."""
    guide, context = evidence.reference
    sources = {"oracle z": "oracle", f"{style.context_name(context)} context": context, "wrong task": "wrong_task"}
    rows = [Row(title, OWN, guide, source) for title, source in sources.items()]
    if ONE_CALL in evidence.methods:
        rows.append(Row("one network call", ONE_CALL, "none", context))
    if CLONING in evidence.methods:
        rows.append(Row("cloning with z", CLONING, "none", context))
    return rows


@table("diagnostics", title="What bounds the planner", section="Task representation", place=3)
def diagnostics(evidence: Evidence) -> Table:
    """How much z knows, how far the models can be trusted, and what a better z would bring."""
    probes, identifiable = encoders.read_probes(evidence.context), encoders.read_identifiable(evidence.context)
    errors = encoders.read_rollout_errors(evidence.context)
    errors = errors[errors["split"] == "test"]
    qualities = style.ordered(probes["quality"], style.QUALITIES)
    reach = sorted(errors["ahead"].unique())
    compared = bounds(evidence)
    guide, _ = evidence.reference
    played = evidence.representations
    everything = Cells(
        played[pd.MultiIndex.from_frame(played[list(scores.CELL)]).isin([row.cell for row in compared])],
        evidence.bootstrap,
        keys=("representation", *scores.CELL),
        columns=("normalised",),
        fixed=evidence.apart,
    )
    rows: list[list[Cell]] = []
    for (family, representation), group in probes.groupby(["family", "representation"], sort=False):
        key = str(family), str(representation)
        members, named = (_of(frame, *key) for frame in (errors, identifiable))
        cells: list[Cell] = [evidence.labels.family(key[0]), key[1]]
        cells += [_mean(group[group["quality"] == quality]["test_r2"]) for quality in qualities]
        cells += [_mean(named["test_r2"]), _mean(named["parameters"])]
        for name in ("reward", "state"):
            cells += [_mean(members[members["ahead"] == ahead][name]) for ahead in reach]
        cells += [everything.mean(key[0], (key[1], *row.cell), "normalised") for row in compared]
        seeds = everything.seeds((key[1], *evidence.own))
        rows.append([*cells, captions.coverage(OWN, seeds)])
    caption = join(
        "What bounds the planner, on unseen tasks. Probe R²: share of the variance of the task's parameters that a "
        "linear probe reads from z, every task by a fit to all others, by the quality of the context; identifiable: "
        "the same of the parameters alone whose R² is above chance, and their number; chance is the 95th percentile of "
        "the largest R² of any parameter over permutations of the tasks, with contexts of all qualities. "
        "Reward and state error at n: RMSE of the models rolled out n steps with the data's actions, in normalised "
        f"units; for every n from the same states of the data, those that {reach[-1] if reach else 0} steps can "
        "follow. "
        f"Score: of the planner ({style.guide_name(guide)} guide) given the mean z of many contexts from all expert "
        "episodes of the task (oracle z), given one episode as context, and given an episode of another task; of the "
        "planner given one episode that calls the denoiser once, unguided (one network call); and of behaviour cloning "
        "given the same episode, where it was trained (cloning with z), which shows what z is worth without a plan.",
        NORMALISED,
        evidence.intervals(),
    )
    columns = [Column("Family", words=True), Column("Representation", words=True)]
    columns += [Column(quality, "Probe R²", 2) for quality in (*qualities, "identifiable")]
    columns += [Column("identifiable", "Parameters", 0)]
    for title in ("Reward error at", "State error at"):
        columns += [Column(str(ahead), title, 3) for ahead in reach]
    columns += [Column(row.title, "Score") for row in compared]
    return Table([*columns, Column("Interval", words=True)], rows, caption, evidence.digits)


def _of(frame: pd.DataFrame, family: str, representation: str) -> pd.DataFrame:
    return frame[(frame["family"] == family) & (frame["representation"] == representation)]


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if len(values) else None
