"""The file of a calibration: every setting tried with its scores, and the values that are chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from metadiffuser.calibration.descent import Trial
from metadiffuser.calibration.judge import Judge
from metadiffuser.config.schema import Calibration


def calibration_record(judge: Judge, section: Calibration, tried: Sequence[Trial], chosen: Trial) -> dict[str, Any]:
    """Return a calibration as JSON, without the names of what was calibrated.

    Returns:
        ``judged_by``: ``simulator``, scores being normalised ones, or ``models``, scores being their estimates in
        normalised rewards; ``tasks``: indices; ``settings``: of every setting in the order tried, the method's own
        first, the ``values``, the ``score``, ``scores`` by task (None where there is none) and, where there are plans,
        their ``error``: RMSE of the state one step ahead, normalised, mean over the tasks; ``chosen``: values.
    """
    return {
        "judged_by": judge.name,
        "tasks": [task.index for task in judge.setup.tasks],
        "episodes": section.episodes,
        "contexts": list(section.contexts),
        **trials_record(judge, tried, chosen),
    }


def trials_record(
    judge: Judge, tried: Sequence[Trial], chosen: Trial, fixed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return ``settings`` and ``chosen`` of a calibration as JSON; ``fixed`` values are those of all settings."""
    indices = [task.index for task in judge.setup.tasks]
    settings = [
        {
            "values": {**trial.values, **(fixed or {})},
            "score": _number(trial.mean),
            "scores": {str(index): _number(score) for index, score in zip(indices, trial.scores, strict=True)},
            **({"error": _number(trial.error)} if len(trial.errors) else {}),
        }
        for trial in tried
    ]
    return {"settings": settings, "chosen": {**chosen.values, **(fixed or {})}}


def _number(value: float) -> float | None:
    return round(float(value), 5) if math.isfinite(value) else None
