"""The task list of a family and its split: drawn once from the seed, then a file on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from metadiffuser.artifacts import read_json, write_json
from metadiffuser.config.schema import Tasks
from metadiffuser.envs.shared.base import Family, Task
from metadiffuser.envs.shared.registry import get_family
from metadiffuser.errors import InputError, shortened
from metadiffuser.seeding import numpy_generator

SPLITS = ("train", "test")
LEFT_OUT = "left_out.json"  # in a family's folder of datasets


def draw_tasks(
    family: Family, train: int, test: int, generator: np.random.Generator, unseen: str = "within"
) -> list[Task]:
    """Draw ``train`` training tasks, then ``test`` unseen ones (environments.md).

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


@cache
def default_tasks(name: str) -> tuple[Task, ...]:
    """Return the task list that root seed 0 and the default numbers of tasks give the family called ``name``."""
    numbers = Tasks()
    return tuple(draw_tasks(get_family(name), numbers.train, numbers.test, numpy_generator(0, "define_tasks", name)))


def default_task(name: str, index: int) -> Task:
    """Return task ``index`` of a family's default list. Raises ``InputError`` if the list has no such index."""
    tasks = default_tasks(name)
    if not 0 <= index < len(tasks):
        raise InputError(f"task {index}: {_expected_index(name)}")
    return tasks[index]


def _expected_index(name: str) -> str:
    tasks = default_tasks(name)
    unseen = min(task.index for task in tasks if task.split == "test")
    return (
        f"expected the index of a task in the default list of {get_family(name).title}, 0 to {len(tasks) - 1} "
        f"(unseen tasks from {unseen} on)"
    )


def as_task(family: Family, given: object) -> Task:
    """Return the task of a family that is given in one of several forms.

    Args:
        family: the family.
        given: a ``Task``, its JSON record (``Task.to_json``), or an index in the family's default list.

    Raises:
        InputError: it is something else, or a task of another family; the message says what was expected.
    """
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        return default_task(family.name, int(given))
    task = given
    if isinstance(given, Mapping):
        try:
            task = Task.from_json(given)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
            raise InputError(
                f"task {shortened(str(dict(given)))}: expected a record with index, split and parameters, as "
                "Task.to_json gives it"
            ) from None
    if not isinstance(task, Task):
        raise InputError(
            f"task {shortened(repr(given))}: {_expected_index(family.name)}, a Task, or a task's record as "
            "Task.to_json gives it"
        )
    if reason := misfit(family, task):
        raise InputError(f"task {task.index} {reason}")
    return task


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


def misfit(family: Family, task: Task, sizes: Mapping[str, int] | None = None) -> str | None:
    """Return why ``task`` is not a task of the family, in words that follow "task 3", or None if it is.

    Args:
        family: the family.
        task: a task that may have any parameters.
        sizes: the family's ``parameter_sizes``, where they are known already.
    """
    sizes = parameter_sizes(family) if sizes is None else sizes
    if task.split not in SPLITS:
        return f"has the split '{shortened(task.split)}'; expected 'train' or 'test'"
    try:
        found = {name: len(values) for name, values in task.parameters.items()}
        finite = found == sizes and bool(np.isfinite(task.vector).all())
    except (TypeError, ValueError):
        finite = False
    if finite:
        return None
    expected = ", ".join(f"{name} ({size})" for name, size in sizes.items())
    return (
        f"has the parameters {shortened(str(dict(task.parameters)))}; expected finite numbers for {expected}, as "
        f"{family.title} has them"
    )


def read_tasks(path: Path, dataset: Path | None = None) -> list[Task]:
    """Read a task list.

    Args:
        path: the list.
        dataset: the family's folder of datasets; tasks that have been left out of it are left out here, too.

    Raises:
        InputError: a file is missing or damaged, or the tasks are not the family's.
    """
    record = read_json(path)
    try:
        family, tasks = get_family(record["family"]), [Task.from_json(entry) for entry in record["tasks"]]
    except InputError as error:
        raise InputError(f"{path}: {error}; run define_tasks again") from None
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: not a task list ({error!r}); run define_tasks again") from None
    sizes = parameter_sizes(family)
    for task in tasks:
        if reason := misfit(family, task, sizes):
            raise InputError(f"{path}: task {task.index} {reason}; run define_tasks again")
    if dataset is None:
        return tasks
    missing = read_left_out(dataset)
    return [task for task in tasks if task.index not in missing]
