"""What z is worth beyond the context's quality: errors of the models with other z, and each parameter's probe."""

from __future__ import annotations

import pandas as pd

from metadiffuser.reporting import encoders, style
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.registry import table

LATENTS = {  # keys of the metrics and headings
    "right": "right z",
    "wrong": "another task's z",
    "mean": "mean z",
    "fitted": "fitted z",
}
GIVEN = {  # parameters that the behaviour expert is given: keys of the metrics and headings
    "own": "own parameters",
    "wrong": "another task's",
    "mean": "mean",
}


@table("errors_by_latent", title="Errors of the models by z", section="Task representation", place=5)
def errors_by_latent(evidence: Evidence) -> Table | None:
    """How much worse the models predict with a z that is not the task's."""
    errors = encoders.read_errors_by_latent(evidence.context)
    if errors.empty:
        return None
    rows: list[list[Cell]] = []
    for (family, representation, split), group in errors.groupby(["family", "representation", "split"], sort=False):
        row: list[Cell] = [evidence.labels.family(str(family)), str(representation), style.SPLITS[str(split)]]
        for part in ("reward", "dynamics"):
            row += [_mean(group[group["latent"] == latent][part]) for latent in LATENTS]
        rows.append([*row, *_expert_scores(evidence, str(family), str(split))])
    caption = (
        "RMSE of one step's prediction in normalised units, all z on the same transitions: with the z of a context of "
        "the task (right), of another task, the mean of all tasks, and the z that explains the task's transitions best "
        "by gradient steps through the frozen models (fitted). Where right and wrong z are alike, z carries nothing "
        "that these models use. Expert's score: of the deterministic behaviour expert as it is, and when it is given "
        "the parameters of other tasks of its teacher, or the mean of all of them, from the same initial states. What "
        "it keeps with them, a planner that learns from it keeps without z. There is none for imported data and for "
        "policies that are not given any parameters. "
        f"Mean over training seeds ({_seeds(evidence, errors)}), without an interval."
    )
    columns = [Column("Family", words=True), Column("Representation", words=True), Column("Tasks", words=True)]
    columns += [Column(title, f"{part} error") for part in ("Reward", "Dynamics") for title in LATENTS.values()]
    columns += [Column(title, "Expert's score", evidence.digits) for title in GIVEN.values()]
    return Table(columns, rows, caption, 3)


def _expert_scores(evidence: Evidence, family: str, split: str) -> list[Cell]:
    """Return the normalised scores of experts by the parameters they are given, each task counting the same."""
    found = evidence.transfer
    found = found[(found["family"] == family) & (found["split"] == split)].dropna(subset=["normalised"])
    groups = (found[found["given"] == given] for given in GIVEN)
    return [_mean(group.groupby("task")["normalised"].mean()) for group in groups]


@table("probe_by_parameter", title="What z carries of each parameter", section="Task representation", place=6)
def probe_by_parameter(evidence: Evidence) -> Table | None:
    """The probe of each of the task's parameters beside what it reads by chance."""
    probes = encoders.read_probe_parameters(evidence.context)
    if probes.empty:
        return None
    rows: list[tuple[Cell, ...]] = []
    keys = ["family", "representation", "parameter"]
    for (family, representation, parameter), group in probes.groupby(keys, sort=False):
        carried = int(group["carried"].sum())
        found = (_mean(group["r2"]), _mean(group["chance"]), f"{carried} of {len(group)}")
        rows.append((evidence.labels.family(str(family)), str(representation), str(parameter), *found))
    caption = (
        "Probe R²: share of a parameter's variance over tasks that a ridge probe reads from z, every task by a fit to "
        "all others; 0 is what the others' mean explains. By chance: 95th percentile of the same over permutations of "
        "the tasks. Carried: training seeds in which the probe reads more than the 95th percentile of the largest of "
        f"all parameters' R² by chance. Mean over training seeds ({_seeds(evidence, probes)}), without an interval."
    )
    columns = [Column("Family", words=True), Column("Representation", words=True), Column("Parameter", words=True)]
    columns += [Column("Probe R²"), Column("by chance"), Column("carried")]
    return Table(columns, rows, caption, 2)


def _seeds(evidence: Evidence, frame: pd.DataFrame) -> str:
    counts = frame.groupby("family", sort=False)["seed"].nunique()
    return ", ".join(f"{evidence.labels.family(str(family))}: {count}" for family, count in counts.items())


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if len(values) else None
