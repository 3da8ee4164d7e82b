"""Timing records: what jobs and decisions took."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from metadiffuser.artifacts import read_json
from metadiffuser.errors import InputError
from metadiffuser.reporting.labels import Labels

RECORD = {"job", "finished", "wall_seconds", "cpu_seconds", "peak_memory_mb", "threads", "device", "cores", "machine"}


@dataclass(frozen=True)
class Timings:
    """What the report shows of times and sizes.

    Attributes:
        records: timing records of ``read_timings``.
        parameters: rows of family, method and parameters, one a seed; ``context`` is the shared context model.
        representation: MetaDiffuser's own representation.
        labels: names and colours.
        uses_context: methods that act on the shared context model's z.
        scores: {method: mean few-shot score over families}.
    """

    records: Sequence[Mapping[str, Any]]
    parameters: Sequence[Mapping[str, Any]]
    representation: str
    labels: Labels
    uses_context: Sequence[str]
    scores: Mapping[str, float] = field(default_factory=dict)


def read_timings(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Read timing records; what a stage added beyond the clock's own entries is gathered under ``notes``."""
    records = []
    for path in files:
        content = read_json(path)
        if not isinstance(content, dict) or not content.keys() >= RECORD or not isinstance(content["job"], str):
            raise InputError(f"{path}: not a timing record; run the stage that writes it again")
        notes = {name: value for name, value in sorted(content.items()) if name not in RECORD}
        records.append({name: content[name] for name in RECORD} | {"notes": notes})
    return records


def job_names(record: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the stage of a record's job, its family, and its representation or method; empty where it has none."""
    stage, _, fields = str(record["job"]).partition("@")
    _, family, variant, *_ = [*fields.split("-"), "", ""]
    return stage, family, variant


def stage_times(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the sums of the timing records stage by stage, in the order of the records."""
    sums: dict[str, dict[str, Any]] = {}
    for record in records:
        name, _, _ = job_names(record)
        total = sums.setdefault(name, {"stage": name, "jobs": 0, "wall": 0.0, "cpu": 0.0, "memory": 0})
        total["jobs"] += 1
        total["wall"] += record["wall_seconds"]
        total["cpu"] += record["cpu_seconds"]
        total["memory"] = max(total["memory"], record["peak_memory_mb"])
    return list(sums.values())


def sampler_times(records: Sequence[Mapping[str, Any]], representation: str) -> pd.DataFrame:
    """Return the times of one representation's sampler study: family, sampler, steps, milliseconds (per decision)."""
    rows = []
    for record in records:
        stage, family, own = job_names(record)
        if stage != "evaluate":
            continue
        for name, value in record["notes"].items():
            setting = re.fullmatch(r"milliseconds_per_decision_([a-z_]+)_(\d+)", name)
            if own == representation and setting:
                rows.append((family, setting[1], int(setting[2]), float(value)))
    return pd.DataFrame(rows, columns=["family", "sampler", "steps", "milliseconds"])


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
