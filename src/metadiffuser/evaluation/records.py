"""What an evaluation writes: cells of the metrics files, and the episodes that films and figures show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from metadiffuser.envs import Family, Task
from metadiffuser.evaluation.cells import Cell
from metadiffuser.evaluation.outcomes import Outcome
from metadiffuser.evaluation.setup import EpisodeSetup

TRACED = 0.1  # share of an episode after which the plan is made that the figures show

Shown = Sequence[tuple[Cell, Task]]  # cell and task of each filmed episode


def cell_record(cell: Cell, outcome: Outcome, setup: EpisodeSetup) -> dict[str, Any]:
    """Return one cell of the metrics: returns per task and episode, and how well plans came true."""
    errors: dict[str, float] = {}
    errors_by_task: dict[str, dict[str, float]] = {}
    for ahead, squares in outcome.squares.items():
        by_task = squares.reshape(len(setup.tasks), setup.episodes).mean(axis=1)
        errors[str(ahead)] = _root(by_task.mean())
        errors_by_task[str(ahead)] = {
            str(task.index): _root(value) for task, value in zip(setup.tasks, by_task, strict=True)
        }
    promise = None
    if cell.context != "none" and len(outcome.predicted):
        means = {"predicted": outcome.predicted.mean(), "received": outcome.received.mean()}
        promise = {name: round(float(value), 6) for name, value in means.items()}
    return {
        **_names(cell),
        "returns": setup.returns_by_task(outcome.returns),
        "plan_error": errors or None,
        "plan_error_by_task": errors_by_task or None,
        "predicted_return": promise,
    }


def _root(mean_square: float) -> float:
    return round(float(np.sqrt(mean_square)), 6)


def _names(cell: Cell) -> dict[str, str]:
    return {"method": cell.method, "guide": cell.guide, "context": cell.context}


def traces(family: Family, film: Mapping[str, np.ndarray[Any, Any]], shown: Shown) -> list[dict[str, Any]]:
    """Return a few planned and executed paths for the figure: one decision early in each filmed episode.

    Args:
        family: environment family.
        film: ``positions``, ``plans`` and ``made`` of the filmed episodes (see ``observers.Film``).
        shown: cell and task of each.
    """
    step = int(TRACED * family.episode_length)
    found = []
    for (cell, task), positions, plans in zip(shown, film["positions"], film["plans"], strict=True):
        executed = family.world_points(positions.astype(float))
        planned = family.integrate(plans[step].astype(float), executed[film["made"][step]])
        paths = {"planned": np.round(planned, 5).tolist(), "executed": np.round(executed, 5).tolist()}
        found.append({**_names(cell), "task": task.index, "step": step, **paths})
    return found


def rollout_tensors(family: Family, film: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, torch.Tensor]:
    """Return positions, executed paths, plans and rewards of the filmed episodes, as float32."""
    executed = family.world_points(film["positions"].astype(float))
    arrays = {
        "positions": film["positions"],
        "paths": executed,
        "plans": family.integrate(film["plans"].astype(float), executed[:, film["made"]]),
        "rewards": film["rewards"],
    }
    return {name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in arrays.items()}


def rollout_episodes(film: Mapping[str, np.ndarray[Any, Any]], shown: Shown) -> list[dict[str, Any]]:
    """Return the header's description of each filmed episode: task, cell and return."""
    return [
        {"task": task.to_json(), "return": round(float(rewards.sum(dtype=np.float64)), 5), **_names(cell)}
        for (cell, task), rewards in zip(shown, film["rewards"], strict=True)
    ]
