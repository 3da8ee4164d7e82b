"""Learning curves in DVCLive's layout, so that ``dvc plots`` draws them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from metadiffuser.artifacts import read_json, whole_directory
from metadiffuser.errors import InputError


def write_curve(folder: Path, records: Sequence[Mapping[str, float]]) -> None:
    """Write records, each with a ``step``, as a DVCLive folder: one TSV a metric.

    DVCLive's summary, ``metrics.json``, stays only where there are no records: ``dvc plots`` cannot draw it, but
    git does not keep an empty folder, as that of a job that had nothing to train would be.
    """
    os.environ.setdefault("DVC_NO_ANALYTICS", "true")
    logging.getLogger("dvclive").setLevel(logging.ERROR)
    from dvclive.live import Live

    with (
        whole_directory(folder) as temporary,
        Live(dir=str(temporary), save_dvc_exp=False, dvcyaml=None, report=None, monitor_system=False) as live,
    ):
        for record in records:
            live.step = int(record["step"])
            for name, value in record.items():
                if name != "step":
                    live.log_metric(name, float(value), timestamp=False)
        live.make_summary()
        if records:
            (temporary / "metrics.json").unlink()


def read_curve(folder: Path) -> pd.DataFrame:
    """Read a DVCLive folder into a table indexed by step, one column a metric. Raises ``InputError``.

    The table of a job that had nothing to train is empty.
    """
    files = sorted((folder / "plots" / "metrics").rglob("*.tsv"))
    summary = folder / "metrics.json"
    if not files and summary.is_file() and read_json(summary) == {}:
        return pd.DataFrame()
    if not files:
        raise InputError(f"{folder}: no learning curve; run the stage that makes it")
    try:
        return pd.concat([pd.read_csv(path, sep="\t", index_col="step") for path in files], axis=1)
    except ValueError as error:
        raise InputError(f"{folder}: damaged learning curve ({error}); run the stage that makes it again") from None
