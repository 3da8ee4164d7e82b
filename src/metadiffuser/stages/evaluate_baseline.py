"""Stage ``evaluate_baseline``: one baseline on the unseen tasks, told what the planner is told, by the same loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.baselines import get_method
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.minari_store import read_family
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.tasks import read_tasks, split
from metadiffuser.evaluation.rollout import Floats, Group, play
from metadiffuser.evaluation.warm_start import draw_warm_start
from metadiffuser.run import Run
from metadiffuser.seeding import numpy_generator, torch_generator

WARM_START = ("expert", "medium", "random")


def run(run: Run) -> None:
    """Play every unseen task with every kind of warm start as one batch; write per-episode returns."""
    family, name = get_family(run.wildcard("family")), run.wildcard("method")
    method, section = get_method(name), run.section("evaluation")
    representation, seed = run.wildcard("representation"), run.wildcard("seed")
    context, _ = ContextModel.load(run.path(paths.CONTEXT))
    model, _ = method.Model.load(run.path(paths.BASELINE))

    tasks = split(read_tasks(run.path(paths.TASKS)), "test")
    by_quality = read_family(run.path(paths.DATASET), tasks, WARM_START)
    indices = [task.index for task in tasks]
    episodes = {quality: TaskData.stack({quality: by_quality[quality]}, indices) for quality in WARM_START}
    positions = [position for position in range(len(tasks)) for _ in range(section.episodes)]
    played = [tasks[position] for position in positions]

    def tell(source: str) -> WarmStart:
        # The stream of the stage evaluate: the planner is told the same.
        stream = ("evaluate", family.name, representation, seed, "context", source)
        return draw_warm_start(source, episodes, positions, torch_generator(run.root_seed, *stream))

    def start() -> np.random.Generator:
        return numpy_generator(run.root_seed, "evaluate", family.name, "start")

    sources = [source for source in section.contexts if source != "oracle"]  # which is a matter of the planner's z
    noise = torch_generator(run.root_seed, "evaluate_baseline", family.name, name, seed)
    agent = method.adapt(model, WarmStart.join([tell(source) for source in sources]), context, noise)
    group = Group(family, played, len(sources), start, section.threads)
    recording = play(agent, group, family.episode_length, f"evaluate_baseline {family.name} {name}")
    decisions = family.episode_length * group.size
    run.notes["decisions"] = decisions
    run.notes["milliseconds_per_decision"] = round(1000 * recording.decision_seconds / decisions, 4)

    blocks = np.split(recording.rewards, len(sources))
    record = {
        "family": family.name,
        "representation": representation,
        "seed": int(seed),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "cells": [_cell(name, source, rewards, played) for source, rewards in zip(sources, blocks, strict=True)],
    }
    write_json(run.path(paths.BASELINE_METRICS), record)


def _cell(method: str, source: str, rewards: Floats, played: Sequence[Task]) -> dict[str, Any]:
    """Return one cell of the metrics, in the format of the planner's: returns per task and episode."""
    returns: dict[str, list[float]] = {}
    for task, total in zip(played, rewards.sum(axis=1, dtype=np.float64), strict=True):
        returns.setdefault(str(task.index), []).append(round(float(total), 5))
    return {"method": method, "guide": "none", "context": source, "returns": returns, "plan_error": None}
