"""The task list of a family and its split: drawn once, by seed; data on disk from then on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metadiffuser.artifacts import read_json
from metadiffuser.envs.shared.base import Family, Task
from metadiffuser.envs.shared.registry import FAMILIES
from metadiffuser.errors import InputError, shortened
from metadiffuser.seeding import numpy_generator


def draw_tasks(family: Family, train: int, test: int, generator: np.random.Generator) -> list[Task]:
    """Draw ``train`` training tasks, then ``test`` unseen ones (method sections 4 and 5)."""
    drawn = family.sample_tasks(generator, train + test)
    return [Task(index, "train" if index < train else "test", parameters) for index, parameters in enumerate(drawn)]


def split(tasks: list[Task], name: str) -> list[Task]:
    """Return the tasks whose split is ``name`` (``train`` or ``test``)."""
    return [task for task in tasks if task.split == name]


def parameter_sizes(family: Family) -> dict[str, int]:
    """Return how many numbers each parameter of a family's tasks is, by name."""
    (drawn,) = family.sample_tasks(numpy_generator(0, "parameter names"), 1)
    return {name: len(values) for name, values in drawn.items()}


def read_tasks(path: Path) -> list[Task]:
    """Read a task list. Raises ``InputError`` if the file is missing or damaged, or the tasks are not the family's."""
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
    return tasks
