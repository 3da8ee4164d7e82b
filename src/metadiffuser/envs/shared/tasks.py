"""The task list of a family and its split: drawn once, by seed; data on disk from then on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metadiffuser.artifacts import read_json, write_json
from metadiffuser.envs.shared.base import Family, Task
from metadiffuser.envs.shared.registry import FAMILIES
from metadiffuser.errors import InputError, shortened
from metadiffuser.seeding import numpy_generator

LEFT_OUT = "left_out.json"  # in a family's folder of datasets


def draw_tasks(
    family: Family, train: int, test: int, generator: np.random.Generator, unseen: str = "within"
) -> list[Task]:
    """Draw ``train`` training tasks, then ``test`` unseen ones (method sections 4 and 5).

    Args:
        family: the family.
        train: training tasks.
        test: unseen tasks.
        generator: source of randomness.
        unseen: ``within``: both kinds are drawn from one distribution; ``beyond``: unseen tasks are those of the
            distribution that lie beyond the range of the training tasks (``Family.beyond``).

    Raises:
        InputError: the family has nothing beyond its training range.
    """
    if unseen == "within":
        drawn = family.sample_tasks(generator, train + test)
    elif family.beyond is None:
        raise InputError(
            f"tasks.unseen is beyond, but {family.name} has no tasks beyond its training range; set it to within, or "
            f"take the family out of families"
        )
    else:
        near: list[dict[str, tuple[float, ...]]] = []
        far: list[dict[str, tuple[float, ...]]] = []
        while len(near) < train or len(far) < test:
            (parameters,) = family.sample_tasks(generator, 1)
            (far if family.beyond(parameters) else near).append(parameters)
        drawn = near[:train] + far[:test]
    return [Task(index, "train" if index < train else "test", parameters) for index, parameters in enumerate(drawn)]


def split(tasks: list[Task], name: str) -> list[Task]:
    """Return the tasks whose split is ``name`` (``train`` or ``test``)."""
    return [task for task in tasks if task.split == name]


def write_left_out(dataset: Path, indices: Sequence[int]) -> None:
    """Write into a family's folder of datasets which tasks of its list have none there."""
    write_json(dataset / LEFT_OUT, list(indices))


def read_left_out(dataset: Path) -> set[int]:
    """Return the indices of the tasks that have no datasets in a family's folder; those of any other folder are none.

    Raises:
        InputError: the file is damaged.
    """
    path = dataset / LEFT_OUT
    indices = read_json(path) if path.exists() else []
    if not isinstance(indices, list) or not all(isinstance(index, int) for index in indices):
        raise InputError(f"{path}: not a list of task indices; run collect_dataset again, or 'dvc pull'")
    return set(indices)


def parameter_sizes(family: Family) -> dict[str, int]:
    """Return how many numbers each parameter of a family's tasks is, by name."""
    (drawn,) = family.sample_tasks(numpy_generator(0, "parameter names"), 1)
    return {name: len(values) for name, values in drawn.items()}


def read_tasks(path: Path, dataset: Path | None = None) -> list[Task]:
    """Read a task list.

    Args:
        path: the list.
        dataset: the family's folder of datasets; tasks that have been left out of it are left out here, too.

    Raises:
        InputError: a file is missing or damaged, or the tasks are not the family's.
    """
    try:
        record = read_json(path)
        family, tasks = FAMILIES[record["family"]], [Task.from_json(entry) for entry in record["tasks"]]
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a task list ({error!r}); run define_tasks again") from None
    sizes = parameter_sizes(family)
    for task in tasks:
        fits = {name: len(values) for name, values in task.parameters.items()} == sizes
        if not fits or not np.isfinite(task.vector).all():
            expected = ", ".join(f"{name} ({size})" for name, size in sizes.items())
            raise InputError(
                f"{path}: task {task.index} has the parameters {shortened(str(dict(task.parameters)))}; expected "
                f"finite numbers for {expected}, as {family.title} has them; run define_tasks again"
            )
    if dataset is None:
        return tasks
    missing = read_left_out(dataset)
    return [task for task in tasks if task.index not in missing]
