"""Stage ``evaluate``: play unseen tasks with every guide and every kind of warm-start data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from metadiffuser import paths
from metadiffuser.artifacts import write_json, write_tensors
from metadiffuser.config.schema import Evaluation, Planning
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.minari_store import read_family
from metadiffuser.data.windows import TaskData
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.envs import Family, Task, get_family
from metadiffuser.envs.shared.tasks import read_tasks, split
from metadiffuser.evaluation.blocks import EpisodeSetup, Outcome, blocks, load_or_play, play_cells, play_random
from metadiffuser.evaluation.cells import Cell, make_cells
from metadiffuser.pipeline.run import Run
from metadiffuser.planning.planner import Planner

WARM_START = ("expert", "medium", "random")
TRACED = 0.1  # share of an episode after which the plan is made that the figures show


def run(run: Run) -> None:
    """Evaluate one trained planner; write per-episode returns and the rollouts that are shown."""
    family = get_family(run.wildcard("family"))
    section = run.section("evaluation")
    context, _ = ContextModel.load(run.path(paths.CONTEXT), run.device)
    diffusion, _ = DiffusionModel.load(run.path(paths.DIFFUSION), run.device)
    tasks = read_tasks(run.path(paths.TASKS), run.path(paths.DATASET))
    setup = _episode_setup(run, family, split(tasks, "test"), section.episodes, WARM_START)
    cells = make_cells(section)
    planned = [cell for cell in cells if cell.method != "random"]
    results, films, filmed = [], [], []
    played: list[Outcome] = []
    planner = Planner(diffusion, context, run.section("planning"))
    for number, block in enumerate(blocks(planned, setup.size)):
        shown = [cell for cell in block if _is_shown(cell, section)]
        starts = (block.index(cell) * setup.size for cell in shown)
        rows = [start + first for start in starts for first in range(0, setup.size, setup.episodes)]
        label = f"evaluate {family.name}, {len(block)} of {len(planned)} cells"
        outcome = load_or_play(
            run.work / f"cells{number}.safetensors", partial(play_cells, planner, block, setup, label, rows)
        )
        results += [_result(cell, outcome.cell(index, setup.size), setup) for index, cell in enumerate(block)]
        filmed += [(cell, task) for cell in shown for task in setup.tasks]
        played.append(outcome)
        if shown:
            films.append(outcome.film)
    run.notes["decisions"] = sum(outcome.decisions for outcome in played)
    spent = sum(outcome.seconds for outcome in played)
    run.notes["milliseconds_per_decision"] = round(1000 * spent / run.notes["decisions"], 4)
    random = load_or_play(run.work / "random.safetensors", partial(play_random, setup, "random planner"))
    results.append(_result(Cell("random", "none", "none"), random, setup))

    film = {
        name: films[0][name] if name == "made" else np.concatenate([part[name] for part in films]) for name in films[0]
    }
    record = {
        "family": family.name,
        "representation": run.wildcard("representation"),
        "seed": int(run.wildcard("seed")),
        "horizon": diffusion.config.horizon,
        "parameters": _size(diffusion),
        "context_parameters": _size(context),
        "cells": results,
        **_on_training_tasks(run, family, tasks, (diffusion, context)),
        "traces": _traces(family, film, filmed),
    }
    write_json(run.path(paths.PLANNER_METRICS), record)
    _write_rollouts(run, family, film, filmed)


def _episode_setup(
    run: Run, family: Family, tasks: list[Task], episodes: int, qualities: Sequence[str], *names: str
) -> EpisodeSetup:
    """Return the episodes to play on ``tasks``; ``names`` tell its random streams from those of the evaluation."""
    found = read_family(run.path(paths.DATASET), tasks, qualities)
    indices = [task.index for task in tasks]
    return EpisodeSetup(
        family,
        tasks,
        episodes,
        {quality: TaskData.stack({quality: found[quality]}, indices) for quality in qualities},
        run.section("evaluation").threads,
        run.root_seed,
        ("evaluate", family.name, run.wildcard("representation"), run.wildcard("seed"), *names),
        ("evaluate", family.name, *names, "start"),
    )


def _size(model: torch.nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(weights.numel() for weights in model.parameters())


def _on_training_tasks(
    run: Run, family: Family, tasks: list[Task], models: tuple[DiffusionModel, ContextModel]
) -> dict[str, Any]:
    """Play training tasks with the first guide and an expert context; return what the planner and the samplers earned.

    That is how far training came, whatever unseen tasks add to it; and a default may be chosen from the study of
    samplers, which unseen tasks must not choose.
    """
    section, planning = run.section("evaluation"), run.section("planning")
    studied = split(tasks, "train")[: section.study_tasks]
    setup = _episode_setup(run, family, studied, section.study_episodes, ("expert",), "study")
    cell = Cell("metadiffuser", section.guides[0], "expert")
    planner, label = Planner(*models, planning), f"{family.name}, training tasks"
    own = load_or_play(run.work / "training_tasks.safetensors", partial(play_cells, planner, [cell], setup, label))
    return {
        "training_tasks": [_result(cell, own, setup)],
        "sampler_study": _sampler_study(run, models, setup, cell, section, planning),
    }


def _sampler_study(
    run: Run,
    models: tuple[DiffusionModel, ContextModel],
    setup: EpisodeSetup,
    cell: Cell,
    section: Evaluation,
    planning: Planning,
) -> list[dict[str, Any]]:
    """Play a cell with every sampler; return what each setting earned."""
    study = []
    for number, setting in enumerate(section.samplers):
        steps = min(setting.steps, models[0].config.denoising_steps)
        chosen = planning.model_copy(update={"sampler": setting.sampler, "sampling_steps": steps})
        planner, label = Planner(*models, chosen), f"{setup.family.name}, {setting.sampler} {steps}"
        outcome = load_or_play(
            run.work / f"study{number}.safetensors", partial(play_cells, planner, [cell], setup, label)
        )
        study.append({"sampler": setting.sampler, "steps": steps, "returns": _returns(outcome, setup)})
        note = f"milliseconds_per_decision_{setting.sampler}_{steps}"
        run.notes[note] = round(outcome.milliseconds_per_decision, 4)
    return study


def _is_shown(cell: Cell, section: Evaluation) -> bool:
    """Tell whether a cell's episodes are worth showing: guided and not, with the first context."""
    return cell in (Cell("metadiffuser", guide, section.contexts[0]) for guide in (section.guides[0], "none"))


def _returns(outcome: Outcome, setup: EpisodeSetup) -> dict[str, list[float]]:
    """Return {task: returns of its episodes}."""
    by_task = outcome.returns.reshape(len(setup.tasks), setup.episodes)
    return {
        str(task.index): [round(float(value), 5) for value in values]
        for task, values in zip(setup.tasks, by_task, strict=True)
    }


def _result(cell: Cell, outcome: Outcome, setup: EpisodeSetup) -> dict[str, Any]:
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
        "method": cell.method,
        "guide": cell.guide,
        "context": cell.context,
        "returns": _returns(outcome, setup),
        "plan_error": errors or None,
        "plan_error_by_task": errors_by_task or None,
        "predicted_return": promise,
    }


def _root(mean_square: float) -> float:
    return round(float(np.sqrt(mean_square)), 6)


def _traces(family: Family, film: dict[str, np.ndarray], filmed: list[tuple[Cell, Task]]) -> list[dict[str, Any]]:
    """Return a few planned and executed paths for the figure: one decision early in each filmed episode."""
    step = int(TRACED * family.episode_length)
    traces = []
    for (cell, task), positions, plans in zip(filmed, film["positions"], film["plans"], strict=True):
        executed = family.world_points(positions.astype(float))
        planned = family.integrate(plans[step].astype(float), executed[film["made"][step]])
        traces.append(
            {
                "method": cell.method,
                "guide": cell.guide,
                "context": cell.context,
                "task": task.index,
                "step": step,
                "planned": np.round(planned, 5).tolist(),
                "executed": np.round(executed, 5).tolist(),
            }
        )
    return traces


def _write_rollouts(run: Run, family: Family, film: dict[str, np.ndarray], filmed: list[tuple[Cell, Task]]) -> None:
    """Write positions, executed paths, plans and rewards of the filmed episodes."""
    executed = family.world_points(film["positions"].astype(float))
    tensors = {
        "positions": film["positions"],
        "paths": executed,
        "plans": family.integrate(film["plans"].astype(float), executed[:, film["made"]]),
        "rewards": film["rewards"],
    }
    episodes = []
    for (cell, task), rewards in zip(filmed, film["rewards"], strict=True):
        total = float(rewards.sum(dtype=np.float64))
        described = {"method": cell.method, "guide": cell.guide, "context": cell.context}
        episodes.append({"task": task.to_json(), "return": round(total, 5), **described})
    header = {"family": family.name, "episodes": episodes}
    as_tensors = {name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in tensors.items()}
    write_tensors(run.path(paths.ROLLOUTS), as_tensors, header)
