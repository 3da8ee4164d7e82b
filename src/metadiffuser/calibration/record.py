"""The file of a calibration: every setting tried with its scores, and the values that are chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from metadiffuser.calibration.descent import Trial
from metadiffuser.calibration.judge import Judge
from metadiffuser.config.schema import Calibration


def calibration_record(judge: Judge, section: Calibration, tried: Sequence[Trial], chosen: Trial) -> dict[str, Any]:
    """Return a calibration as JSON, without the names of what was calibrated.

    Returns:
        ``judged_by``: ``simulator``, scores being normalised ones, or ``models``, scores being their estimates in
        normalised rewards; ``tasks``: indices; ``settings``: of every setting in the order tried, the method's own
        first, the ``values``, the ``score``, and ``scores`` by task (None where there is none); ``chosen``: values.
    """
    indices = [task.index for task in judge.setup.tasks]
    return {
        "judged_by": judge.name,
        "tasks": indices,
        "episodes": section.episodes,
        "contexts": list(section.contexts),
        "settings": [
            {
                "values": dict(trial.values),
                "score": _number(trial.mean),
                "scores": {str(index): _number(score) for index, score in zip(indices, trial.scores, strict=True)},
            }
            for trial in tried
        ],
        "chosen": dict(chosen.values),
    }


def _number(value: float) -> float | None:
    return round(float(value), 5) if math.isfinite(value) else None
