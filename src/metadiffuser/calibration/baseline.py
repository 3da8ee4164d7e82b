"""The calibration of one trained baseline: what its file declares that a user may set at test time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from metadiffuser.baselines.shared.interface import BaselineModel, Method, settings_of, with_settings
from metadiffuser.calibration.descent import Trial, Values, descend, one_key
from metadiffuser.calibration.judge import Judge
from metadiffuser.config.schema import Calibration
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.evaluation.outcomes import Outcome, load_or_play
from metadiffuser.evaluation.rollout import play
from metadiffuser.seeding import torch_generator


def calibrate_baseline(
    name: str,
    method: Method,
    model: BaselineModel,
    context: ContextModel,
    section: Calibration,
    judge: Judge,
    seed: str,
    work: Path,
) -> tuple[list[Trial], Trial]:
    """Return the settings tried, the first being those that the method was trained with, and the chosen one.

    Args:
        name: of the method.
        method: the method's module.
        model: trained.
        context: the shared context model.
        section: contexts, and how many settings are tried.
        judge: where settings are played.
        seed: training seed of the model.
        work: folder that keeps what was played, to go on from after a kill.

    Raises:
        InputError: the method declares a key that its section does not have.
    """
    setup, numbers = judge.setup, itertools.count()
    warm_start = WarmStart.join([setup.warm_start(source, context.config) for source in section.contexts])

    def play_one(values: Values) -> Outcome:
        noise = torch_generator(setup.root_seed, "calibrate_baseline", setup.family.name, name, seed)
        agent = method.adapt(with_settings(model, values), warm_start, context, noise)
        label = f"calibrate_baseline {setup.family.name} {name}"
        return Outcome.of(play(agent, judge.environments(len(section.contexts)), judge.steps, label))

    def play_all(settings: Sequence[Values]) -> list[Trial]:
        kept = [work / f"setting{next(numbers)}.safetensors" for _ in settings]
        outcomes = [load_or_play(path, partial(play_one, values)) for path, values in zip(kept, settings, strict=True)]
        return [Trial(values, judge.scores(played.returns)) for values, played in zip(settings, outcomes, strict=True)]

    grid = method.METHOD.calibrated
    return descend(
        settings_of(model, grid), [one_key(key, values) for key, values in grid.items()], section.settings, play_all
    )
