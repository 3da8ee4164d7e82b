"""Table 5: what methods cost. Times come from the timing records, so it is made with the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from metadiffuser.reporting.labels import OWN
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.registry import timed_table
from metadiffuser.reporting.timings import Timings, job_names

CONTEXT = "context"  # the shared context model, as a method
TRAINING = ("train_context", "train_diffusion", "train_baseline")
PLAY = ("evaluate", "evaluate_baseline")
DECISION = "milliseconds_per_decision"


def costs(timings: Timings) -> pd.DataFrame:
    """Return what each method cost in each family, averaged over training seeds.

    Returns:
        Rows of family, method, ``seconds`` (CPU time of training), ``milliseconds`` (wall time of a decision) and
        ``parameters``; NaN where nothing says it.
    """
    columns = ["family", "method", "stage", "seconds", "milliseconds"]
    measured = pd.DataFrame(_measured(timings.records, timings.representation), columns=columns)
    means = measured.groupby(["family", "method", "stage"], sort=False).mean().reset_index()
    known = pd.DataFrame(list(timings.parameters), columns=["family", "method", "parameters"])
    counts = known.groupby(["family", "method"])["parameters"].mean()
    rows = []
    for family, members in means.groupby("family", sort=False):
        for method in (name for name in timings.labels.methods if name in set(members["method"])):
            trained = members[members["stage"].isin(TRAINING)]
            parts = [method, *([CONTEXT] if method in timings.uses_context else [])]
            seconds = trained[trained["method"].isin(parts)]["seconds"].sum(min_count=len(parts))
            played = members[(members["method"] == method) & members["stage"].isin(PLAY)]["milliseconds"]
            size = sum(counts.get((family, part), float("nan")) for part in parts)
            rows.append((family, method, seconds, played.mean(), size))
    return pd.DataFrame(rows, columns=["family", "method", "seconds", "milliseconds", "parameters"])


def _measured(records: Sequence[Mapping[str, Any]], own: str) -> Iterator[tuple[str, str, str, float, float]]:
    for record in records:
        stage, family, variant = job_names(record)
        if stage not in (*TRAINING, *PLAY):
            continue
        if stage.endswith("_baseline"):
            method = variant
        elif variant == own:
            method = CONTEXT if stage == "train_context" else OWN
        else:
            continue
        yield family, method, stage, record["cpu_seconds"], record["notes"].get(DECISION, float("nan"))


@timed_table("table5_cost", title="Cost", section="Cost", place=1)
def cost_table(timings: Timings) -> Table | None:
    """CPU time of training, wall time of a decision, and parameters."""
    found = costs(timings)
    if found.empty:
        return None
    families = list(dict.fromkeys(found["family"]))
    present = set(found["method"])
    rows: list[tuple[Cell, ...]] = []
    for method in (name for name in timings.labels.methods if name in present):
        cells: list[Cell] = []
        for family in families:
            entry = found[(found["family"] == family) & (found["method"] == method)]
            names = ("seconds", "milliseconds", "parameters")
            cells += [float(entry.iloc[0][name]) if len(entry) else None for name in names]
        rows.append((timings.labels.method(method), *cells))
    sharing = ", ".join(timings.labels.method(name) for name in timings.labels.methods if name in timings.uses_context)
    caption = (
        "Table 5. What methods cost, mean over training seeds. Training: CPU seconds. Decision: wall milliseconds of "
        "one action, with the evaluation's episodes played in large batches: a single episode takes longer per "
        f"decision. Training and parameters count the context model for the methods that act on its z ({sharing}); "
        "parameters of actor-critics include their target networks. "
        "The unconditional planner is MetaDiffuser's network. Times depend on the machine and on what else ran there."
    )
    columns = [Column("Method", words=True)]
    for family in families:
        title = timings.labels.family(family)
        columns += [Column("training (s)", title, 0), Column("decision (ms)", title, 2), Column("parameters", title, 0)]
    return Table(columns, rows, caption, 0)
