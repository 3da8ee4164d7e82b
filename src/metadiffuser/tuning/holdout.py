"""A family's data in which some training tasks take the place of the unseen ones.

Nothing of the unseen tasks is read: settings must not be chosen on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minari.dataset.minari_storage import METADATA_FILE_NAME

from metadiffuser.artifacts import read_json, whole_directory, write_json
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import (
    DATA_FILE,
    NAMESPACE,
    Provenance,
    data_folder,
    describe,
    read_dataset,
    write_dataset,
)
from metadiffuser.envs import Family, Task
from metadiffuser.envs.shared.tasks import split
from metadiffuser.errors import InputError

MOST = 1 / 3  # of the training tasks: the rest has to be enough to learn from


@dataclass(frozen=True)
class Source:
    """Where a held-out split's task comes from.

    Attributes:
        task: as it is in the split.
        index: of the training task whose data it has.
        half: of that task's episodes that it has, 0 or 1; None for all of them.
    """

    task: Task
    index: int
    half: int | None = None


def hold_out(tasks: Sequence[Task], count: int, folds: int = 1) -> list[list[Source]]:
    """Return ``folds`` splits of the training tasks, in each of which others take the unseen tasks' place.

    The first split holds out the last ``count`` tasks, at most a third, the next the ``count`` before them, and so on
    while there are enough. With fewer than three training tasks none can be spared (Cheetah-Dir has two, and they are
    its unseen ones as well). Then there is one split: all are trained on and judged on, each by one half of its
    episodes; every task must have equally many.
    """
    train = split(list(tasks), "train")
    spared = min(count, int(len(train) * MOST))
    if spared:
        ends = range(len(train), spared - 1, -spared)[:folds]
        return [_without(train, range(end - spared, end)) for end in ends]
    first = [Source(task, task.index, 0) for task in train]
    last = max(task.index for task in train) + 1
    copies = [replace(task, index=last + i, split="test") for i, task in enumerate(train)]
    return [[*first, *(Source(copy, task.index, 1) for copy, task in zip(copies, train, strict=True))]]


def _without(train: Sequence[Task], held: range) -> list[Source]:
    return [Source(replace(task, split="test" if i in held else "train"), task.index) for i, task in enumerate(train)]


def qualities(root: Path, family: str, task: int) -> list[str]:
    """Return the qualities of which a family's folder holds a dataset of a task, sorted."""
    prefix, suffix = f"{task:03d}-", "-v0"
    found = (path.name for path in (root / NAMESPACE / family).glob(f"{prefix}*{suffix}"))
    return sorted(name.removeprefix(prefix).removesuffix(suffix) for name in found)


def write_split(
    record: Mapping[str, Any], data: Path, family: Family, sources: Sequence[Source], tasks_path: Path, target: Path
) -> None:
    """Write the task list and the datasets of a held-out split.

    Whole datasets are links to those of the training task with metadata of their own; parts of datasets are copies.

    Args:
        record: the family's task list, of which everything but the tasks is kept.
        data: the family's Minari root.
        family: environment family.
        sources: the split.
        tasks_path: the task list to write.
        target: the Minari root to write.

    Raises:
        InputError: a dataset is missing or damaged, or has too few episodes to be parted.
    """
    with whole_directory(target) as root:
        for source in sources:
            for quality in qualities(data, family.name, source.index):
                origin = data_folder(data, family.name, source.index, quality)
                if source.half is None:
                    _link(root, origin, family, source.task, quality)
                else:
                    metadata = read_json(origin / METADATA_FILE_NAME)
                    provenance = Provenance(metadata["policy"], metadata["ref_min_score"], metadata["ref_max_score"])
                    everything = read_dataset(data, family.name, source.index, quality)
                    write_dataset(
                        root, family, source.task, quality, _half(everything, source.half, origin), provenance
                    )
    write_json(tasks_path, {**record, "tasks": [source.task.to_json() for source in sources]})


def _link(root: Path, origin: Path, family: Family, task: Task, quality: str) -> None:
    folder = data_folder(root, family.name, task.index, quality)
    folder.mkdir(parents=True)
    metadata = read_json(origin / METADATA_FILE_NAME)
    described = describe(family, task, quality)
    write_json(folder / METADATA_FILE_NAME, metadata | {"task": task.to_json(), "description": described})
    (folder / DATA_FILE).symlink_to((origin / DATA_FILE).resolve())


def _half(episodes: Episodes, half: int, origin: Path) -> Episodes:
    size = len(episodes) // 2
    if size == 0:
        raise InputError(
            f"{origin}: {len(episodes)} episodes are too few to hold some out; set dataset.episodes higher"
        )
    rows = slice(half * size, (half + 1) * size)
    return Episodes(episodes.observations[rows], episodes.actions[rows], episodes.rewards[rows])
