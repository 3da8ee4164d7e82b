"""The episodes of an evaluation: tasks, initial states and warm-start data, the same for every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from metadiffuser.config.schema import Context, Evaluation
from metadiffuser.data.minari_store import read_family
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData
from metadiffuser.envs import Family, Task
from metadiffuser.envs.shared.tasks import split
from metadiffuser.evaluation.rollout import BatchedEnvs
from metadiffuser.evaluation.warm_start import QUALITIES, draw_warm_start
from metadiffuser.seeding import numpy_generator, torch_generator


@dataclass(frozen=True)
class EpisodeSetup:
    """The episodes that every cell plays, whatever its method.

    Attributes:
        family: environment family.
        tasks: N tasks.
        episodes: of each task.
        data: {quality: episodes of the N tasks} that warm-start data are drawn from; ``expert`` is among them.
        threads: CPU threads of the physics.
        root_seed: of every random number.
        stream: name of the streams of warm-start data and of the planner's noise; training seeds differ in it.
        start: name of the stream of initial states.
    """

    family: Family
    tasks: Sequence[Task]
    episodes: int
    data: Mapping[str, TaskData]
    threads: int
    root_seed: int
    stream: tuple[str, ...]
    start: tuple[str, ...]

    @property
    def positions(self) -> list[int]:
        """Position of each episode's task among the tasks (R,): all episodes of a task in a row."""
        return self.repeated(self.episodes)

    def repeated(self, times: int) -> list[int]:
        """Return the position of every task ``times`` in a row (N * times,)."""
        return [position for position in range(len(self.tasks)) for _ in range(times)]

    @property
    def size(self) -> int:
        """R, the episodes of one cell."""
        return len(self.tasks) * self.episodes

    def generator(self, *names: str) -> torch.Generator:
        """Return the generator of the stream ``names`` below the setup's own."""
        return torch_generator(self.root_seed, *self.stream, *names)

    def warm_start(self, context: str, drawn_as: Context) -> WarmStart:
        """Return the warm-start data of the R episodes of a cell; cells that share a context are given the same.

        Args:
            context: evaluation context.
            drawn_as: how contexts are drawn.
        """
        return draw_warm_start(context, self.data, self.positions, drawn_as, self.generator("context", context))

    def envs(self, cells: int) -> BatchedEnvs:
        """Return the environments of ``cells`` cells."""

        def start() -> np.random.Generator:
            return numpy_generator(self.root_seed, *self.start)

        played = [self.tasks[position] for position in self.positions]
        return BatchedEnvs(self.family, played, cells, start, self.threads)

    def returns_by_task(self, returns: ArrayLike) -> dict[str, list[float]]:
        """Return {task: returns of its episodes}, as metrics files hold them, of a cell's returns (R,)."""
        by_task = np.asarray(returns, np.float64).reshape(len(self.tasks), self.episodes)
        return {
            str(task.index): [round(float(value), 5) for value in values]
            for task, values in zip(self.tasks, by_task, strict=True)
        }


def read_setup(
    family: Family,
    tasks: Sequence[Task],
    dataset: Path,
    qualities: Sequence[str],
    episodes: int,
    threads: int,
    root_seed: int,
    stream: tuple[str, ...],
    start: tuple[str, ...],
) -> EpisodeSetup:
    """Return ``episodes`` episodes on each of ``tasks``, whose datasets of ``qualities`` are read, and no others.

    Arguments are as the attributes of ``EpisodeSetup``; ``dataset`` is the family's Minari root.

    Raises:
        InputError: a dataset is missing or damaged; the message names it.
    """
    found = read_family(dataset, tasks, qualities)
    indices = [task.index for task in tasks]
    data = {quality: TaskData.stack({quality: found[quality]}, indices) for quality in qualities}
    return EpisodeSetup(family, tasks, episodes, data, threads, root_seed, stream, start)


def episode_setups(
    family: Family,
    tasks: Sequence[Task],
    dataset: Path,
    section: Evaluation,
    root_seed: int,
    representation: str,
    seed: str,
) -> tuple[EpisodeSetup, EpisodeSetup]:
    """Return the episodes on unseen tasks, and those on the training tasks that are studied.

    Args:
        family: environment family.
        tasks: of both splits.
        dataset: the family's Minari root.
        section: numbers of episodes and of studied tasks.
        root_seed: of every random number.
        representation: of the models that are evaluated.
        seed: training seed of the models that are evaluated.

    Raises:
        InputError: a dataset is missing or damaged; the message names it.
    """

    def setup(chosen: Sequence[Task], episodes: int, qualities: Sequence[str], *names: str) -> EpisodeSetup:
        stream = ("evaluate", family.name, representation, seed, *names)
        start = ("evaluate", family.name, *names, "start")
        return read_setup(family, chosen, dataset, qualities, episodes, section.threads, root_seed, stream, start)

    studied = split(list(tasks), "train")[: section.study_tasks]
    return (
        setup(split(list(tasks), "test"), section.episodes, QUALITIES),
        setup(studied, section.study_episodes, ("expert",), "study"),
    )
