"""The evaluation of one trained planner: every cell on unseen tasks, then training tasks and samplers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metadiffuser.config.schema import Evaluation
from metadiffuser.envs import Task
from metadiffuser.evaluation.blocks import blocks, play_cells, play_random
from metadiffuser.evaluation.cells import Cell, make_cells, one_call, one_call_planner, valued_cells
from metadiffuser.evaluation.outcomes import Outcome, load_or_play
from metadiffuser.evaluation.records import cell_record, rollout_episodes, rollout_tensors, traces
from metadiffuser.evaluation.setup import EpisodeSetup
from metadiffuser.planning.planner import Planner


@dataclass(frozen=True)
class PlannerEvaluation:
    """What came of an evaluation.

    Attributes:
        metrics: of the metrics file, without the names of what was evaluated.
        rollouts: tensors of the episodes that are shown.
        episodes: what each of those is.
        times: measured times, for the job's timing record.
    """

    metrics: dict[str, Any]
    rollouts: dict[str, torch.Tensor]
    episodes: list[dict[str, Any]]
    times: dict[str, float]


def evaluate_planner(
    planner: Planner,
    valued: Planner | None,
    section: Evaluation,
    unseen: EpisodeSetup,
    studied: EpisodeSetup,
    work: Path,
) -> PlannerEvaluation:
    """Play every cell on unseen tasks, and the first guide and the samplers on training tasks.

    Args:
        planner: trained models with the planner's settings.
        valued: the same models with the settings of the planner that rates plans by V(s, z); None leaves it out.
        section: section ``evaluation`` of the parameters.
        unseen: episodes on unseen tasks.
        studied: episodes on training tasks. What they earn says how far training came, whatever unseen tasks add to
            it; and a default may be chosen from the study of samplers, which unseen tasks must not choose.
        work: folder that keeps finished blocks, to go on from after a kill.
    """
    cells, film, shown, times = _play_unseen(planner, valued, section, unseen, work)
    cell = Cell("metadiffuser", section.guides[0], "expert")
    label = f"{studied.family.name}, training tasks"
    own = load_or_play(work / "training_tasks.safetensors", partial(play_cells, planner, [cell], studied, label))
    study, study_times = _study_samplers(planner, section, studied, cell, work)
    metrics = {
        "horizon": planner.diffusion.config.horizon,
        "parameters": parameter_count(planner.diffusion),
        "context_parameters": parameter_count(planner.context),
        "cells": cells,
        "training_tasks": [cell_record(cell, own, studied)],
        "sampler_study": study,
        "traces": traces(unseen.family, film, shown),
    }
    rollouts = rollout_tensors(unseen.family, film)
    return PlannerEvaluation(metrics, rollouts, rollout_episodes(film, shown), times | study_times)


def parameter_count(model: torch.nn.Module) -> int:
    """Return the number of a model's weights."""
    return sum(weights.numel() for weights in model.parameters())


def _play_unseen(
    planner: Planner, valued: Planner | None, section: Evaluation, setup: EpisodeSetup, work: Path
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray[Any, Any]], list[tuple[Cell, Task]], dict[str, float]]:
    """Play all cells, block by block; return their records, the film with what it shows, and times."""
    once = one_call(section)
    planned = [cell for cell in make_cells(section) if cell.method not in ("random", once.method)]
    records, films, shown = [], [], []
    played: list[Outcome] = []
    for number, block in enumerate(blocks(planned, setup.size)):
        filmed = [cell for cell in block if _is_shown(cell, section)]
        starts = (block.index(cell) * setup.size for cell in filmed)
        rows = [start + first for start in starts for first in range(0, setup.size, setup.episodes)]
        label = f"evaluate {setup.family.name}, {len(block)} of {len(planned)} cells"
        outcome = load_or_play(
            work / f"cells{number}.safetensors", partial(play_cells, planner, block, setup, label, rows)
        )
        records += [cell_record(cell, outcome.cell(index, setup.size), setup) for index, cell in enumerate(block)]
        shown += [(cell, task) for cell in filmed for task in setup.tasks]
        played.append(outcome)
        if filmed:
            films.append(outcome.film)
    others = [(once, one_call_planner(planner))]
    others += [(cell, valued) for cell in valued_cells(section) if valued is not None]
    for cell, agent in others:
        label, kept = f"{setup.family.name}, {cell.method}, {cell.context}", f"{cell.method}-{cell.context}.safetensors"
        outcome = load_or_play(work / kept, partial(play_cells, agent, [cell], setup, label))
        records.append(cell_record(cell, outcome, setup))
    random = load_or_play(work / "random.safetensors", partial(play_random, setup, "random planner"))
    records.append(cell_record(Cell("random", "none", "none"), random, setup))
    film = {
        name: films[0][name] if name == "made" else np.concatenate([part[name] for part in films]) for name in films[0]
    }
    decisions = sum(outcome.decisions for outcome in played)
    spent = sum(outcome.seconds for outcome in played)
    times = {"decisions": decisions, "milliseconds_per_decision": round(1000 * spent / decisions, 4)}
    return records, film, shown, times


def _is_shown(cell: Cell, section: Evaluation) -> bool:
    """Return whether a cell's episodes are filmed: guided and not, with the first context."""
    return cell in (Cell("metadiffuser", guide, section.contexts[0]) for guide in (section.guides[0], "none"))


def _study_samplers(
    planner: Planner, section: Evaluation, setup: EpisodeSetup, cell: Cell, work: Path
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Play a cell with every sampler; return what each setting earned, and how long a decision took."""
    study, times = [], {}
    for number, setting in enumerate(section.samplers):
        steps = min(setting.steps, planner.diffusion.config.denoising_steps)
        changed = planner.config.model_copy(update={"sampler": setting.sampler, "sampling_steps": steps})
        chosen, label = (
            Planner(planner.diffusion, planner.context, changed),
            f"{setup.family.name}, {setting.sampler} {steps}",
        )
        outcome = load_or_play(work / f"study{number}.safetensors", partial(play_cells, chosen, [cell], setup, label))
        returns = setup.returns_by_task(outcome.returns)
        study.append({"sampler": setting.sampler, "steps": steps, "returns": returns})
        name = f"milliseconds_per_decision_{setting.sampler}_{steps}"
        times[name] = round(outcome.milliseconds_per_decision, 4)
    return study, times
