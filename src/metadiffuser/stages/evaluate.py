"""Stage ``evaluate``: play unseen tasks with every guide and every kind of warm-start data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from metadiffuser import paths
from metadiffuser.artifacts import write_json, write_tensors
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.minari_store import read_family
from metadiffuser.data.windows import TaskData
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.envs import Family, Task, get_family
from metadiffuser.envs.tasks import read_tasks, split
from metadiffuser.evaluation.cells import Cell, instruct, make_cells, uniform_actions
from metadiffuser.evaluation.rollout import Floats, Group, Recording, plan_errors, play
from metadiffuser.planning.agent import Instructions, PlanningAgent
from metadiffuser.planning.planner import Planner
from metadiffuser.run import Run
from metadiffuser.seeding import numpy_generator, torch_generator

WARM_START = ("expert", "medium", "random")

Steps = NDArray[np.int64]


@dataclass
class _Uniform:
    """The random planner: uniform actions."""

    generator: np.random.Generator
    action_size: int

    def act(self, observations: Floats) -> Floats:
        return uniform_actions(self.generator, len(observations), self.action_size)

    def observe(self, observations: Floats, actions: Floats, rewards: Floats, successors: Floats) -> None:
        pass


def run(run: Run) -> None:
    """Evaluate one trained planner; write per-episode returns and the rollouts that are shown."""
    family = get_family(run.wildcard("family"))
    section, planning = run.section("evaluation"), run.section("planning")
    stream = ("evaluate", family.name, run.wildcard("representation"), run.wildcard("seed"))
    context, _ = ContextModel.load(run.path(paths.CONTEXT), run.device)
    diffusion, _ = DiffusionModel.load(run.path(paths.DIFFUSION), run.device)
    planner = Planner(diffusion, context, planning)

    tasks = split(read_tasks(run.path(paths.TASKS)), "test")
    episodes = read_family(run.path(paths.DATASET), tasks, WARM_START)
    indices = [task.index for task in tasks]
    warm_start = {quality: TaskData.stack({quality: episodes[quality]}, indices) for quality in WARM_START}

    positions = [position for position in range(len(tasks)) for _ in range(section.episodes)]
    played = [tasks[position] for position in positions]
    cells = make_cells(section)
    planned = [cell for cell in cells if cell.method != "random"]
    told = [
        instruct(
            cell,
            warm_start,
            positions,
            planning,
            context.config.context_length,
            _generator(run, stream, cell),
            context.config.window,
        )
        for cell in planned
    ]
    noise = torch_generator(run.root_seed, *stream, "noise")
    agent = PlanningAgent(planner, _on(Instructions.join(told), run.device), noise, blocks=len(planned))

    def start() -> np.random.Generator:
        return numpy_generator(run.root_seed, "evaluate", family.name, "start")

    group = Group(family, played, len(planned), start, section.threads)
    recording = play(agent, group, family.episode_length, f"evaluate {family.name}", lambda agent: agent.plan)
    decisions = family.episode_length * group.size
    run.notes["decisions"] = decisions
    run.notes["milliseconds_per_decision"] = round(1000 * recording.decision_seconds / decisions, 4)

    uniform = _Uniform(numpy_generator(run.root_seed, *stream, "uniform"), family.action_size)
    reference = play(uniform, Group(family, played, 1, start, section.threads), family.episode_length, "random planner")

    scale = context.normaliser.state_std.cpu().numpy()
    size = len(played)
    results = [_result(cell, _part(recording, index * size, size), played, scale) for index, cell in enumerate(planned)]
    results.append(_result(Cell("random", "none", "none"), reference, played, scale))
    shown = _shown(planned, size, section.episodes)
    steps = np.arange(family.episode_length)
    made = steps - steps % planning.actions_per_plan  # when the plan in force at each step was made
    record = {
        "family": family.name,
        "representation": run.wildcard("representation"),
        "seed": int(run.wildcard("seed")),
        "horizon": diffusion.config.horizon,
        "cells": results,
        "traces": _traces(family, recording, made, planned, played, shown),
    }
    write_json(run.path(paths.PLANNER_METRICS), record)
    _write_rollouts(run, family, recording, made, planned, played, shown)


def _generator(run: Run, stream: tuple[str, ...], cell: Cell) -> torch.Generator:
    """Cells that share a context draw the same warm-start transitions."""
    return torch_generator(run.root_seed, *stream, "context", cell.context)


def _on(instructions: Instructions, device: str) -> Instructions:
    return Instructions(*(getattr(instructions, name).to(device) for name in Instructions.__dataclass_fields__))


def _part(recording: Recording, start: int, size: int) -> Recording:
    """Return the rows of one cell."""
    rows = slice(start, start + size)
    plans = None if recording.plans is None else recording.plans[rows]
    return Recording(
        recording.rewards[rows],
        recording.observations[rows],
        recording.positions[rows],
        plans,
        recording.decision_seconds,
    )


def _result(cell: Cell, recording: Recording, played: list[Task], scale: Floats) -> dict[str, Any]:
    """Return one cell of the metrics: returns per task and episode, and how well plans came true."""
    returns: dict[str, list[float]] = {}
    for task, total in zip(played, recording.rewards.sum(axis=1, dtype=np.float64), strict=True):
        returns.setdefault(str(task.index), []).append(round(float(total), 5))
    errors = None
    if recording.plans is not None:
        horizon = recording.plans.shape[2]
        ahead = sorted({1, min(5, horizon - 1), horizon - 1})
        errors = plan_errors(recording.plans, recording.observations, scale, ahead)
    return {
        "method": cell.method,
        "guide": cell.guide,
        "context": cell.context,
        "returns": returns,
        "plan_error": errors,
    }


def _shown(cells: list[Cell], size: int, episodes: int) -> list[int]:
    """Return the rows worth showing: each task's first episode, guided and not, with the first context."""
    context = cells[0].context
    rows = []
    for guide in dict.fromkeys((cells[0].guide, "none")):
        cell = Cell("metadiffuser", guide, context)
        if cell in cells:
            rows += [cells.index(cell) * size + first for first in range(0, size, episodes)]
    return rows


def _traces(
    family: Family, recording: Recording, made: Steps, cells: list[Cell], played: list[Task], rows: list[int]
) -> list[dict[str, Any]]:
    """Return a few planned and executed paths for the figure: one decision early in the episode of each row."""
    assert recording.plans is not None
    step = family.episode_length // 10
    traces = []
    for row in rows:
        cell = cells[row // len(played)]
        executed = family.place(recording.positions[row].astype(float))
        planned = family.path(recording.plans[row, step].astype(float), executed[made[step]])
        traces.append(
            {
                "method": cell.method,
                "guide": cell.guide,
                "context": cell.context,
                "task": played[row % len(played)].index,
                "step": step,
                "planned": np.round(planned, 5).tolist(),
                "executed": np.round(executed, 5).tolist(),
            }
        )
    return traces


def _write_rollouts(
    run: Run, family: Family, recording: Recording, made: Steps, cells: list[Cell], played: list[Task], rows: list[int]
) -> None:
    """Write positions, executed paths and plans of the rows that are shown."""
    assert recording.plans is not None
    executed = family.place(recording.positions[rows].astype(float))
    tensors = {
        "positions": recording.positions[rows],
        "paths": executed,
        "plans": family.path(recording.plans[rows].astype(float), executed[:, made]),
        "rewards": recording.rewards[rows],
    }
    episodes = []
    for row in rows:
        cell = cells[row // len(played)]
        total = float(recording.rewards[row].sum(dtype=np.float64))
        task = played[row % len(played)].to_json()
        described = {"method": cell.method, "guide": cell.guide, "context": cell.context}
        episodes.append({"task": task, "return": round(total, 5), **described})
    header = {"family": family.name, "episodes": episodes}
    as_tensors = {name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in tensors.items()}
    write_tensors(run.path(paths.ROLLOUTS), as_tensors, header)
