"""Stage ``evaluate_baseline``: one baseline on the tasks the planner plays, told what it is told, by the same loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.baselines import get_method
from metadiffuser.baselines.shared.interface import BaselineModel
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.minari_store import read_family
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.shared.tasks import read_tasks, split
from metadiffuser.evaluation.rollout import BatchedEnvs, Floats, play
from metadiffuser.evaluation.warm_start import draw_warm_start
from metadiffuser.pipeline.run import Run
from metadiffuser.seeding import numpy_generator, torch_generator

WARM_START = ("expert", "medium", "random")


def run(run: Run) -> None:
    """Play every unseen task with every kind of warm start, and training tasks; write per-episode returns."""
    section, tasks = run.section("evaluation"), read_tasks(run.path(paths.TASKS), run.path(paths.DATASET))
    context, _ = ContextModel.load(run.path(paths.CONTEXT))
    model, _ = get_method(run.wildcard("method")).Model.load(run.path(paths.BASELINE))
    sources = [source for source in section.contexts if source != "oracle"]  # which is a matter of the planner's z
    unseen, studied = split(tasks, "test"), split(tasks, "train")[: section.study_tasks]
    record = {
        "family": run.wildcard("family"),
        "representation": run.wildcard("representation"),
        "seed": int(run.wildcard("seed")),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "cells": _play(run, model, context, unseen, section.episodes, sources),
        "training_tasks": _play(run, model, context, studied, section.study_episodes, ["expert"], "study"),
    }
    write_json(run.path(paths.BASELINE_METRICS), record)


def _play(
    run: Run,
    model: BaselineModel,
    context: ContextModel,
    tasks: Sequence[Task],
    number: int,
    sources: Sequence[str],
    *names: str,
) -> list[dict[str, Any]]:
    """Play ``number`` episodes of each task with every kind of warm start as one batch; return one cell for each.

    The streams of contexts and initial states are those of the stage evaluate: the planner plays the same. ``names``
    tell the streams of training tasks from those of unseen ones.
    """
    family, name, seed = get_family(run.wildcard("family")), run.wildcard("method"), run.wildcard("seed")
    by_quality = read_family(run.path(paths.DATASET), tasks, WARM_START)
    indices = [task.index for task in tasks]
    episodes = {quality: TaskData.stack({quality: by_quality[quality]}, indices) for quality in WARM_START}
    positions = [position for position in range(len(tasks)) for _ in range(number)]
    played = [tasks[position] for position in positions]

    def tell(source: str) -> WarmStart:
        stream = ("evaluate", family.name, run.wildcard("representation"), seed, *names, "context", source)
        draws = torch_generator(run.root_seed, *stream)
        return draw_warm_start(source, episodes, positions, context.config, draws)

    def start() -> np.random.Generator:
        return numpy_generator(run.root_seed, "evaluate", family.name, *names, "start")

    noise = torch_generator(run.root_seed, "evaluate_baseline", family.name, name, seed, *names)
    told = WarmStart.join([tell(source) for source in sources])
    agent = get_method(name).adapt(model, told, context, noise)
    envs = BatchedEnvs(family, played, len(sources), start, run.section("evaluation").threads)
    recording = play(agent, envs, family.episode_length, f"evaluate_baseline {family.name} {name}")
    if not names:
        decisions = family.episode_length * envs.size
        run.notes["decisions"] = decisions
        run.notes["milliseconds_per_decision"] = round(1000 * recording.decision_seconds / decisions, 4)
    blocks = np.split(recording.rewards, len(sources))
    return [_cell(name, source, rewards, played) for source, rewards in zip(sources, blocks, strict=True)]


def _cell(method: str, source: str, rewards: Floats, played: Sequence[Task]) -> dict[str, Any]:
    """Return one cell of the metrics, in the format of the planner's: returns per task and episode."""
    returns: dict[str, list[float]] = {}
    for task, total in zip(played, rewards.sum(axis=1, dtype=np.float64), strict=True):
        returns.setdefault(str(task.index), []).append(round(float(total), 5))
    return {"method": method, "guide": "none", "context": source, "returns": returns, "plan_error": None}
