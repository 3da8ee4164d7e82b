"""What settings are judged on: training tasks, by the simulator or, without access to one, by the learned models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from metadiffuser.calibration.descent import Scores
from metadiffuser.calibration.models import ModelEnvs, Models
from metadiffuser.config.schema import Calibration
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.minari_store import read_anchors
from metadiffuser.envs import Family, Task
from metadiffuser.envs.shared.tasks import split
from metadiffuser.evaluation.rollout import Environments
from metadiffuser.evaluation.setup import EpisodeSetup, read_setup
from metadiffuser.evaluation.statistics import normalised_score
from metadiffuser.evaluation.warm_start import WITHOUT_CONTEXT

ROLLOUT = 32  # most steps of an episode in the learned models: their errors add up


class Judge(Protocol):
    """Where settings are played, and what an episode is worth there."""

    name: ClassVar[str]

    @property
    def setup(self) -> EpisodeSetup:
        """Tasks, episodes and warm-start data, the same for all settings."""
        ...

    @property
    def steps(self) -> int:
        """Steps of an episode."""
        ...

    def environments(self, copies: int) -> Environments:
        """Return the episodes of the setup, ``copies`` times over."""
        ...

    def scores(self, returns: Scores) -> Scores:
        """Return the score of each task (N,), of returns (C * R,) of the R episodes of a setup with C contexts."""
        ...


@dataclass(frozen=True)
class Simulator:
    """Whole episodes in the family's simulator; a score is the normalised one (metadiffuser.md, section 4).

    Attributes:
        setup: the episodes.
        anchors: mean returns of random and expert on each task (N, 2).
    """

    setup: EpisodeSetup
    anchors: Scores
    name: ClassVar[str] = "simulator"

    @property
    def steps(self) -> int:
        """T, the whole episode."""
        return self.setup.family.episode_length

    def environments(self, copies: int) -> Environments:
        """Return simulators of the setup's episodes, ``copies`` times over."""
        return self.setup.envs(copies)

    def scores(self, returns: Scores) -> Scores:
        """Return the normalised score of each task (N,), NaN where the expert is no better than random."""
        return normalised_score(by_task(self.setup, returns), *self.anchors.T)


@dataclass(frozen=True)
class LearnedModels:
    """The first steps of episodes in the learned models (see ``calibration.models``); the simulator is never stepped.

    Attributes:
        setup: the episodes.
        models: reward, dynamics and value models with the data that bound where they are believed.
    """

    setup: EpisodeSetup
    models: Models
    name: ClassVar[str] = "models"

    @property
    def steps(self) -> int:
        """``ROLLOUT``, or the whole episode if it is shorter."""
        return min(ROLLOUT, self.setup.family.episode_length)

    def environments(self, copies: int) -> Environments:
        """Return the setup's episodes in the learned models, ``copies`` times over."""
        beyond = self.steps < self.setup.family.episode_length
        return ModelEnvs(self.models, self.setup.positions * copies, self.steps, beyond)

    def scores(self, returns: Scores) -> Scores:
        """Return the mean estimate of each task (N,), in normalised rewards."""
        return by_task(self.setup, returns)


def by_task(setup: EpisodeSetup, values: Scores) -> Scores:
    """Return the mean over each task (N,) of values (C * R,) of the R episodes of a setup with C contexts."""
    return values.reshape(-1, len(setup.tasks), setup.episodes).mean(axis=(0, 2))


def spread(tasks: Sequence[Task], count: int) -> list[Task]:
    """Return ``count`` tasks evenly spread over the list, the first and last among them; all of a shorter list."""
    chosen = min(count, len(tasks))
    return [tasks[int(place)] for place in np.linspace(0, len(tasks) - 1, chosen).round()]


def read_judge(
    family: Family,
    tasks: Sequence[Task],
    dataset: Path,
    context: ContextModel,
    section: Calibration,
    root_seed: int,
    representation: str,
    seed: str,
) -> Judge:
    """Return the judge that section ``calibration`` asks for, on training tasks; no other task's data are read.

    Args:
        family: environment family.
        tasks: the task list.
        dataset: the family's Minari root.
        context: the context model; it is the judge itself where there is no simulator.
        section: number of tasks and episodes, contexts, and whether the simulator may be used.
        root_seed: of every random number.
        representation: of the context model.
        seed: training seed of what is calibrated.

    Raises:
        InputError: a dataset is missing or damaged; the message names it.
    """
    chosen = spread(split(list(tasks), "train"), section.tasks)
    given = [name for name in section.contexts if name not in WITHOUT_CONTEXT]
    known = context.config.qualities if not section.simulator else ()
    stream = ("calibrate", family.name, representation, seed)
    start = ("calibrate", family.name, "start")
    qualities = list(dict.fromkeys(["expert", *given, *known]))
    setup = read_setup(family, chosen, dataset, qualities, section.episodes, section.threads, root_seed, stream, start)
    if section.simulator:
        return Simulator(setup, np.array([read_anchors(dataset, family.name, task.index) for task in chosen]))
    return LearnedModels(setup, Models.of(context, setup))
