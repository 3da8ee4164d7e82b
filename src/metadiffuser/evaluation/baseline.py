"""The evaluation of one baseline, on the episodes and with the warm-start data of the planner's, by the same loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from metadiffuser.baselines.shared.interface import BaselineModel, Method
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.evaluation.rollout import Recording, play
from metadiffuser.evaluation.setup import EpisodeSetup
from metadiffuser.seeding import torch_generator


def evaluate_baseline(
    name: str,
    method: Method,
    model: BaselineModel,
    context: ContextModel,
    contexts: Sequence[str],
    unseen: EpisodeSetup,
    studied: EpisodeSetup,
    seed: str,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Play unseen tasks with the warm-start data of every evaluation context, and training tasks with expert data.

    Args:
        name: of the method.
        method: the method's module.
        model: trained.
        context: the shared context model, which says how contexts are drawn.
        contexts: evaluation contexts, one cell each, without ``oracle``, which only the planner can be given.
        unseen: episodes on unseen tasks.
        studied: episodes on training tasks.
        seed: training seed of the model.

    Returns:
        Metrics, without the names of what was evaluated, and measured times for the job's timing record.
    """

    def cells(setup: EpisodeSetup, sources: Sequence[str], *names: str) -> tuple[list[dict[str, Any]], Recording]:
        noise = torch_generator(setup.root_seed, "evaluate_baseline", setup.family.name, name, seed, *names)
        warm_start = WarmStart.join([setup.warm_start(source, context.config) for source in sources])
        agent = method.adapt(model, warm_start, context, noise)
        label = f"evaluate_baseline {setup.family.name} {name}"
        recording = play(agent, setup.envs(len(sources)), setup.family.episode_length, label)
        returns = np.split(recording.rewards.sum(axis=1, dtype=np.float64), len(sources))
        return [_cell(name, source, part, setup) for source, part in zip(sources, returns, strict=True)], recording

    played, recording = cells(unseen, [source for source in contexts if source != "oracle"])
    metrics = {
        "parameters": _size(model),
        "qualities": list(model.config.qualities),
        "cells": played,
        "training_tasks": cells(studied, ["expert"], "study")[0],
    }
    if method.METHOD.uses_context:
        metrics["context_parameters"] = _size(context)
    decisions = recording.rewards.size
    milliseconds = round(1000 * recording.decision_seconds / decisions, 4)
    return metrics, {"decisions": decisions, "milliseconds_per_decision": milliseconds}


def _size(model: nn.Module) -> int:
    return sum(weights.numel() for weights in model.parameters())


def _cell(name: str, source: str, returns: np.ndarray[Any, Any], setup: EpisodeSetup) -> dict[str, Any]:
    """Return one cell of the metrics, in the format of the planner's: returns per task and episode."""
    returned = setup.returns_by_task(returns)
    return {"method": name, "guide": "none", "context": source, "returns": returned, "plan_error": None}
