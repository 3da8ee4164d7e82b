"""The published models of one family: a folder that holds all that their planner needs.

=========================  ==========================================================================================
``context.safetensors``    encoder, reward, dynamics and value models, normaliser
``denoiser.safetensors``   the denoiser's averaged weights
``warm_start.safetensors`` a few episodes of each quality on every unseen task
``tasks.json``             the task list with its split
``settings.json``          where the models come from, and the planner's settings
``scores.json``            returns of the evaluation on unseen tasks
``README.md``              the model card
``hashes.json``            SHA-256 of all these files
=========================  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metadiffuser.artifacts import read_json, read_tensors, write_tensors
from metadiffuser.config.schema import Planning
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.windows import TaskData
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.envs import Family, Task, get_family
from metadiffuser.envs.shared.tasks import read_tasks, split
from metadiffuser.errors import InputError, nearest, shortened
from metadiffuser.planning.planner import Planner
from metadiffuser.pretrained.hashes import check_hashes, remedy
from metadiffuser.pretrained.places import PRETRAINED, TASKS, families

CONTEXT, DENOISER, WARM_START = "context.safetensors", "denoiser.safetensors", "warm_start.safetensors"
SETTINGS, SCORES, CARD = "settings.json", "scores.json", "README.md"
QUALITIES = ("expert", "medium", "random")  # of the warm-start episodes
ARRAYS = ("observations", "actions", "rewards")


@dataclass(frozen=True)
class Bundle:
    """The published models of one family, read.

    Attributes:
        folder: where they lie.
        family: their family.
        tasks: unseen tasks by index.
        settings: contents of ``settings.json``.
        scores: contents of ``scores.json``.
        context: the context model.
        diffusion: the denoiser.
        episodes: {quality: {task index: warm-start episodes}}.
    """

    folder: Path
    family: Family
    tasks: Mapping[int, Task]
    settings: Mapping[str, Any]
    scores: Mapping[str, Any]
    context: ContextModel
    diffusion: DiffusionModel
    episodes: Mapping[str, Mapping[int, Episodes]]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for copies and pickles: with the family by its name, as its functions may be lambdas."""
        return self.__dict__ | {"family": self.family.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"family": get_family(state["family"])})

    def planner(self, value: bool = False) -> Planner:
        """Return the planner with the settings that the calibration chose.

        Args:
            value: with those of the planner that rates plans by V(s, z) beyond their horizon.

        Raises:
            InputError: such a planner was not calibrated.
        """
        chosen = self.settings["with_value" if value else "planning"]
        if chosen is None:
            raise InputError(f"{self.folder / SETTINGS}: has no settings of a planner with a value; load without it")
        return Planner(self.diffusion, self.context, Planning.model_validate(chosen))

    def task(self, index: int) -> Task:
        """Return an unseen task by its index. Raises ``InputError`` if it is none."""
        if index not in self.tasks:
            raise InputError(
                f"task {shortened(str(index))}: not an unseen task of {self.family.title}, which are "
                f"{', '.join(map(str, self.tasks))}"
            )
        return self.tasks[index]

    def data(self, quality: str, tasks: Sequence[Task]) -> TaskData:
        """Return the warm-start episodes of one quality on ``tasks``. Raises ``InputError`` for an unknown quality."""
        if str(quality) not in self.episodes:
            raise InputError(f"quality '{shortened(str(quality))}'{nearest(str(quality), self.episodes)}")
        return TaskData.stack({quality: self.episodes[quality]}, [task.index for task in tasks])


def find_folder(folder: Path | str | None = None) -> Path:
    """Return the folder of all published models: the given one, the current folder's or that of the package's clone.

    Raises:
        InputError: there is none with published models; the message says where it is expected.
    """
    clone = Path(__file__).resolve().parents[3] / PRETRAINED
    places = [PRETRAINED, clone] if folder is None else [Path(folder)]
    for place in places:
        if place.is_dir() and families(place):
            return place
    named = " and ".join(dict.fromkeys(str(place.absolute()) for place in places))
    raise InputError(
        f"{named}: no published models here; run in a clone that has the folder {PRETRAINED}/, give its path as "
        "'folder', or make it with 'metadiffuser publish' after a run"
    )


def read_bundle(name: str, folder: Path | str | None = None, device: str = "cpu") -> Bundle:
    """Read the published models of a family after a check of their hashes.

    Args:
        name: key of the family.
        folder: of all published models (see ``find_folder``).
        device: where the models are to live.

    Raises:
        InputError: there are none, or a file is not as it was published; the message names it and the remedy.
    """
    root = find_folder(folder)
    if name not in families(root):
        known = nearest(str(name), families(root))
        raise InputError(f"family '{shortened(str(name))}': not in {root}{known}")
    place = root / name
    check_hashes(place)
    tasks = split(read_tasks(place / TASKS), "test")
    context, _ = ContextModel.load(place / CONTEXT, device)
    diffusion, _ = DiffusionModel.load(place / DENOISER, device)
    return Bundle(
        place,
        get_family(name),
        {task.index: task for task in tasks},
        read_json(place / SETTINGS),
        read_json(place / SCORES),
        context,
        diffusion,
        read_episodes(place / WARM_START, tasks),
    )


def header(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the sections ``context`` and ``diffusion`` that a folder's models were trained with."""
    _, context = read_tensors(folder / CONTEXT)
    _, diffusion = read_tensors(folder / DENOISER)
    return {"context": context["context"], "diffusion": diffusion["diffusion"]}


def write_episodes(
    path: Path, family: Family, tasks: Sequence[Task], episodes: Mapping[str, Mapping[int, Episodes]]
) -> None:
    """Write warm-start episodes, as many of every task; next states are the observations one step on.

    Args:
        path: the safetensors file; ``<quality>/observations`` (N, E, T + 1, S), ``actions`` (N, E, T, A) and
            ``rewards`` (N, E, T), float32.
        family: of the tasks.
        tasks: the N tasks.
        episodes: {quality: {task index: E episodes}}.
    """
    tensors = {
        f"{quality}/{name}": torch.from_numpy(np.stack([getattr(by_task[task.index], name) for task in tasks]))
        for quality, by_task in episodes.items()
        for name in ARRAYS
    }
    write_tensors(path, tensors, {"family": family.name, "tasks": [task.index for task in tasks]})


def read_episodes(path: Path, tasks: Sequence[Task]) -> dict[str, dict[int, Episodes]]:
    """Return {quality: {task index: episodes}} of what ``write_episodes`` wrote for the same tasks."""
    tensors, header = read_tensors(path)
    if header["tasks"] != [task.index for task in tasks]:
        raise InputError(f"{path}: of other tasks than {TASKS}; {remedy(path.as_posix())}")
    found: dict[str, dict[int, Episodes]] = {}
    for quality in dict.fromkeys(name.partition("/")[0] for name in tensors):
        arrays = [tensors[f"{quality}/{name}"].numpy() for name in ARRAYS]
        for task, *parts in zip(tasks, *arrays, strict=True):
            episodes = replace(Episodes(*parts), parameters=task.vector.astype(np.float32))
            found.setdefault(quality, {})[task.index] = episodes
    return {quality: found[quality] for quality in QUALITIES if quality in found}
