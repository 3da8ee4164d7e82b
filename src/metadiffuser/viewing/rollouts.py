"""Recorded rollouts, as ``evaluate`` writes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metadiffuser.artifacts import read_tensors
from metadiffuser.envs import Task
from metadiffuser.errors import InputError


@dataclass(frozen=True)
class Episode:
    """One executed episode with all plans that it followed.

    Attributes:
        task: the task it ran on.
        guide: the planner's guide variant.
        positions: qpos (T + 1, Q).
        path: executed world points (T + 1, 3).
        plans: planned world points at every decision (T, H, 3).
        rewards: (T,).
    """

    task: Task
    guide: str
    positions: NDArray[np.float64]
    path: NDArray[np.float64]
    plans: NDArray[np.float64]
    rewards: NDArray[np.float64]

    def __repr__(self) -> str:
        return f"Episode(task={self.task.index}, guide={self.guide}, T={len(self.rewards)}, H={self.plans.shape[1]})"


def read_rollouts(path: Path) -> list[Episode]:
    """Read the recorded episodes. Raises ``InputError`` if the file is missing, damaged or of another kind."""
    tensors, header = read_tensors(path)
    try:
        positions, paths, plans, rewards = (
            tensors[name].double().numpy() for name in ("positions", "paths", "plans", "rewards")
        )
        return [
            Episode(Task.from_json(record["task"]), str(record["guide"]), *arrays)
            for record, *arrays in zip(header["episodes"], positions, paths, plans, rewards, strict=True)
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not recorded rollouts ({error!r}); run evaluate again") from None
