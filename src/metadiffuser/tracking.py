"""Learning curves in DVCLive's layout, so that ``dvc plots`` and ``dvc metrics`` read them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from metadiffuser.artifacts import whole_directory


def write_curve(folder: Path, records: Sequence[Mapping[str, float]]) -> None:
    """Write records, each with a ``step``, as a DVCLive folder: ``metrics.json`` and one TSV a metric."""
    os.environ.setdefault("DVC_NO_ANALYTICS", "true")
    logging.getLogger("dvclive").setLevel(logging.ERROR)
    from dvclive import Live

    with whole_directory(folder) as temporary:
        with Live(dir=str(temporary), save_dvc_exp=False, dvcyaml=None, report=None, monitor_system=False) as live:
            for record in records:
                live.step = int(record["step"])
                for name, value in record.items():
                    if name != "step":
                        live.log_metric(name, float(value), timestamp=False)
                live.make_summary()


def read_curve(folder: Path) -> pd.DataFrame:
    """Read a DVCLive folder into a table indexed by step, one column a metric."""
    tables = [
        pd.read_csv(path, sep="\t", index_col="step") for path in sorted((folder / "plots" / "metrics").rglob("*.tsv"))
    ]
    return pd.concat(tables, axis=1)
