"""The calibration of one trained planner: alpha, lambda, omega, sampler, candidates and lambda again, in this order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from metadiffuser.calibration.choice import with_values
from metadiffuser.calibration.descent import Coordinate, Trial, Values, descend, one_key
from metadiffuser.calibration.judge import Judge, by_task
from metadiffuser.config.schema import Calibration, Planning
from metadiffuser.context.representation import ContextModel
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.evaluation.blocks import blocks
from metadiffuser.evaluation.cells import Cell, agent_inputs
from metadiffuser.evaluation.observers import PlanErrors
from metadiffuser.evaluation.outcomes import Outcome, load_or_play
from metadiffuser.evaluation.rollout import play
from metadiffuser.planning.agent import AgentInputs, PlanningAgent
from metadiffuser.planning.planner import Planner

RETURN_SCALES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # alpha
RATIOS = (1.0, 0.3, 0.1, 0.03)  # lambda, the largest first; never zero: the paper's guide is dual
GUIDANCE_WEIGHTS = (1.0, 1.2, 2.0, 4.0)  # omega
SAMPLERS = (("ddim", 3), ("ddpm", 2), ("ddpm", 10))  # and denoising steps
CANDIDATES = (1, 4)
KEYS = ("return_scale", "dynamics_scale", "guidance_weight", "sampler", "sampling_steps", "candidates")
VALUED = {"value_scale": 1.0, "candidates": 8}  # of the planner that rates plans beyond their horizon (ours)
ROWWISE = {"return_scale", "dynamics_scale"}  # keys in which the plans of one batch may differ


def coordinates(planning: Planning, denoising_steps: int) -> list[Coordinate]:
    """Return what is compared, in order; samplers only where some denoising steps are guided.

    Lambda is there to keep plans consistent, so the errors of the plans choose it among values that score alike. It is
    compared again where a later choice changed how plans are made. Of a planner with a value, the scales alone are.

    Args:
        planning: the planner's own section.
        denoising_steps: T of the forward process, the most that a sampler can make.
    """
    samplers: list[dict[str, Any]] = [
        {"sampler": name, "sampling_steps": steps}
        for name, steps in SAMPLERS
        if planning.unguided_steps < steps <= denoising_steps
    ]
    alpha = Coordinate(
        lambda chosen: [
            {"return_scale": scale, "dynamics_scale": round(scale * _ratio(chosen), 6)} for scale in RETURN_SCALES
        ]
    )
    ratio = Coordinate(
        lambda chosen: [{"dynamics_scale": round(ratio * chosen["return_scale"], 6)} for ratio in RATIOS],
        by_error=True,
    )
    rest = [
        one_key("guidance_weight", GUIDANCE_WEIGHTS),
        Coordinate(lambda _: samplers),
        one_key("candidates", CANDIDATES),
    ]
    return [alpha, ratio] if planning.value_scale else [alpha, ratio, *rest, ratio]


def _ratio(values: Values) -> float:
    """Return lambda of a setting, which stays while alpha varies; 1 where alpha is 0 and leaves it open."""
    return float(values["dynamics_scale"] / values["return_scale"]) if values["return_scale"] else 1.0


def calibrate_planner(
    diffusion: DiffusionModel,
    context: ContextModel,
    planning: Planning,
    section: Calibration,
    judge: Judge,
    work: Path,
) -> tuple[list[Trial], Trial]:
    """Return the settings tried, the first being those of ``planning``, and the chosen one.

    Args:
        diffusion: the trained denoiser.
        context: the context model.
        planning: the planner's section.
        section: contexts, and how many settings are tried.
        judge: where settings are played.
        work: folder that keeps finished batches, to go on from after a kill.
    """
    size, numbers = len(section.contexts) * judge.setup.size, itertools.count()

    def play_all(settings: Sequence[Values]) -> list[Trial]:
        planners = [Planner(diffusion, context, with_values(planning, values)) for values in settings]
        found: dict[int, Trial] = {}
        for batch in (block for alike in _batches(planners) for block in blocks(alike, size)):
            path, together = work / f"settings{next(numbers)}.safetensors", [planners[place] for place in batch]
            outcome = load_or_play(path, partial(_play, together, section.contexts, judge))
            parts = (np.split(values, len(batch)) for values in (outcome.returns, outcome.squares[1]))
            for place, returns, squares in zip(batch, *parts, strict=True):
                found[place] = Trial(settings[place], judge.scores(returns), np.sqrt(by_task(judge.setup, squares)))
        return [found[place] for place in range(len(settings))]

    start = {key: getattr(planning, key) for key in KEYS}
    compared = coordinates(planning, diffusion.config.denoising_steps)
    return descend(start, compared, section.settings, play_all)


def with_value(planning: Planning, chosen: Values) -> Planning:
    """Return the section of the planner that rates plans by V(s, z) beyond their horizon, the best of several.

    It starts from what the paper's planner was calibrated to. Its guide's scales are calibrated anew, since plans that
    are rated by their ends want other scales; its sampler and omega are kept.
    """
    return with_values(planning, {**chosen, **VALUED})


def _batches(planners: Sequence[Planner]) -> Iterator[list[int]]:
    """Yield the places of planners whose plans can be made as one batch: only the scales of their guides differ."""
    by_rest: dict[str, list[int]] = {}
    for place, planner in enumerate(planners):
        by_rest.setdefault(planner.config.model_dump_json(exclude=ROWWISE), []).append(place)
    yield from by_rest.values()


def _play(planners: Sequence[Planner], contexts: Sequence[str], judge: Judge) -> Outcome:
    """Play the judge's episodes with each planner and context, all with the same noise, as one batch."""
    cells = [Cell("metadiffuser", "dual", context) for context in contexts]
    parts = [agent_inputs(planner, cell, judge.setup) for planner in planners for cell in cells]
    agent = PlanningAgent(planners[0], AgentInputs.join(parts), judge.setup.generator("noise"), blocks=len(parts))
    errors = PlanErrors(agent, [1], planners[0].context.normaliser.state_std.cpu().numpy())
    label = f"calibrate {judge.setup.family.name}, {len(planners)} settings"
    played = Outcome.of(play(agent, judge.environments(len(parts)), judge.steps, label, [errors]))
    return replace(played, squares=errors.mean_squares())
