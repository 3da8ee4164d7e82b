"""Table 5: what methods cost. Times come from the timing records, hence the report makes it and not ``make_tables``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from metadiffuser.reporting import style
from metadiffuser.reporting.layout import Cell, Column, Table

USES_CONTEXT = ("metadiffuser", "bc", "cvae_planner")  # methods that act on the shared context model's z
TRAINING = ("train_context", "train_diffusion", "train_baseline")
PLAY = ("evaluate", "evaluate_baseline")
DECISION = "milliseconds_per_decision"


def costs(records: Sequence[Mapping[str, Any]], parameters: Sequence[Mapping[str, Any]], own: str) -> pd.DataFrame:
    """Return what each method cost in each family, averaged over training seeds.

    Args:
        records: timing records of ``report.read_timings``.
        parameters: rows of family, method and parameters, one a seed.
        own: MetaDiffuser's own representation.

    Returns:
        Rows of family, method, ``seconds`` (CPU time of training), ``milliseconds`` (wall time of a decision) and
        ``parameters``; NaN where nothing says it.
    """
    measured = pd.DataFrame(_measured(records, own), columns=["family", "method", "stage", "seconds", "milliseconds"])
    means = measured.groupby(["family", "method", "stage"], sort=False).mean().reset_index()
    known = pd.DataFrame(list(parameters), columns=["family", "method", "parameters"])
    counts = known.groupby(["family", "method"])["parameters"].mean()
    rows = []
    for family, members in means.groupby("family", sort=False):
        for method in style.ordered(set(members["method"]) - {"context"}, style.METHOD_NAMES):
            trained = members[members["stage"].isin(TRAINING)]
            parts = [method, *(["context"] if method in USES_CONTEXT else [])]
            seconds = trained[trained["method"].isin(parts)]["seconds"].sum(min_count=len(parts))
            played = members[(members["method"] == method) & members["stage"].isin(PLAY)]["milliseconds"]
            size = sum(counts.get((family, part), float("nan")) for part in parts)
            rows.append((family, method, seconds, played.mean(), size))
    return pd.DataFrame(rows, columns=["family", "method", "seconds", "milliseconds", "parameters"])


def _measured(records: Sequence[Mapping[str, Any]], own: str) -> Iterator[tuple[str, str, str, float, float]]:
    for record in records:
        stage, _, fields = record["job"].partition("@")
        if stage not in (*TRAINING, *PLAY):
            continue
        _, family, variant, _ = fields.split("-")
        if stage.endswith("_baseline"):
            method = variant
        elif variant == own:
            method = "context" if stage == "train_context" else "metadiffuser"
        else:
            continue
        yield family, method, stage, record["cpu_seconds"], record["notes"].get(DECISION, float("nan"))


def cost_table(records: Sequence[Mapping[str, Any]], parameters: Sequence[Mapping[str, Any]], own: str) -> Table:
    """Return table 5; the arguments are those of ``costs``."""
    found = costs(records, parameters, own)
    families = list(dict.fromkeys(found["family"]))
    rows: list[tuple[Cell, ...]] = []
    for method in style.ordered(found["method"], style.METHOD_NAMES):
        cells: list[Cell] = []
        for family in families:
            entry = found[(found["family"] == family) & (found["method"] == method)]
            cells += [
                float(entry.iloc[0][name]) if len(entry) else None for name in ("seconds", "milliseconds", "parameters")
            ]
        rows.append((style.method_name(method), *cells))
    sharing = ", ".join(style.method_name(name) for name in USES_CONTEXT)
    caption = (
        "Table 5. What methods cost, mean over training seeds. Training: CPU seconds. Decision: wall milliseconds of "
        "one action, the episodes of the evaluation being played in large batches: a single episode takes longer per "
        f"decision. Training and parameters count the context model in for the methods that act on its z ({sharing}); "
        "parameters of actor-critics include their target networks. "
        "The unconditional planner is MetaDiffuser's network. Times depend on the machine and on what else ran there."
    )
    columns = [Column("Method", words=True)]
    for family in families:
        title = style.family_title(family)
        columns += [Column("training (s)", title, 0), Column("decision (ms)", title, 2), Column("parameters", title, 0)]
    return Table("table5_cost", "Cost", caption, tuple(columns), tuple(rows), 0)
