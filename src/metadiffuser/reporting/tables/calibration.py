"""The table of calibrations: what was chosen on training tasks, and what it is worth there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from metadiffuser.reporting import captions
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.labels import OWN
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.registry import table
from metadiffuser.reporting.scores import metrics_record

COLUMNS = ("family", "method", "variant", "seed", "judge", "tried", "chosen", "before", "after")
JUDGES = {"simulator": "simulator", "models": "learned models"}


def read_calibrations(files: Sequence[Path]) -> pd.DataFrame:
    """Read CALIBRATION and BASELINE_CALIBRATION, a row a file. Raises ``InputError``.

    Columns: family, method, variant (MetaDiffuser's representation, else empty), seed, judge, number of settings tried,
    chosen values by key, and the scores of the method's own setting and of the chosen one, NaN where there is none.
    """
    rows = []
    for path in files:
        with metrics_record(path) as content:
            settings, chosen = content["settings"], content["chosen"]
            (best,) = [each for each in settings if each["values"] == chosen]
            named = (content["family"], content.get("method", OWN), content.get("representation", ""), content["seed"])
            scores = (float("nan") if each["score"] is None else float(each["score"]) for each in (settings[0], best))
            rows.append((*named, JUDGES[content["judged_by"]], len(settings), dict(chosen), *scores))
    return pd.DataFrame(rows, columns=list(COLUMNS))


@table("calibration", title="Settings chosen on training tasks", section="What the scores rest on", place=2)
def calibration(evidence: Evidence) -> Table | None:
    """The chosen settings of every method and family, with their score and that of the method's own setting."""
    found = read_calibrations(evidence.calibration)
    if found.empty:
        return None
    rows: list[list[Cell]] = []
    for (family, method, variant), group in found.groupby(["family", "method", "variant"], sort=False):
        title = evidence.labels.method(str(method))
        title += f" ({variant})" if variant not in ("", evidence.representation) else ""
        tried = sorted(set(group["tried"]))
        row: list[Cell] = [evidence.labels.family(str(family)), title, _words(list(group["chosen"]))]
        row += [" to ".join(map(str, dict.fromkeys((tried[0], tried[-1]))))]
        row += [None if group[name].isna().all() else float(group[name].mean()) for name in ("before", "after")]
        rows.append([*row, ", ".join(dict.fromkeys(group["judge"])), str(len(group))])
    caption = captions.join(
        "What acts at test time only, chosen for each method, family and training seed on training tasks; no unseen "
        "task is read. Chosen: values of the seeds in their order where they differ. Before: score of the method's own "
        "setting; after: of the chosen one, on the same tasks, which flatters it, since it was chosen there. Scores of "
        "the learned models are in normalised rewards. Mean over seeds, without an interval.",
        captions.NORMALISED,
    )
    words = ("Family", "Method", "Chosen", "Settings tried")
    columns = [*(Column(title, words=True) for title in words), Column("before"), Column("after")]
    return Table([*columns, Column("Judge", words=True), Column("Seeds", words=True)], rows, caption, evidence.digits)


def _words(chosen: Sequence[dict[str, Any]]) -> str:
    """Return the values of the seeds by key: ``return_scale 3 / 10``."""
    parts = []
    for key in chosen[0]:
        values = [_short(each[key]) for each in chosen]
        parts.append(f"{key} {values[0] if len(set(values)) == 1 else ' / '.join(values)}")
    return ", ".join(parts)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
