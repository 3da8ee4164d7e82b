"""The task list of a family and its split: drawn once, by seed; data on disk from then on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metadiffuser.artifacts import read_json
from metadiffuser.envs.base import Family, Task
from metadiffuser.errors import InputError


def draw_tasks(family: Family, train: int, test: int, generator: np.random.Generator) -> list[Task]:
    """Draw ``train`` training tasks, then ``test`` unseen ones (method sections 4 and 5)."""
    drawn = family.sample_tasks(generator, train + test)
    return [Task(index, "train" if index < train else "test", parameters) for index, parameters in enumerate(drawn)]


def split(tasks: list[Task], name: str) -> list[Task]:
    """Return the tasks whose split is ``name`` (``train`` or ``test``)."""
    return [task for task in tasks if task.split == name]


def read_tasks(path: Path) -> list[Task]:
    """Read a task list. Raises ``InputError`` if the file is missing or damaged."""
    try:
        return [Task.from_json(record) for record in read_json(path)["tasks"]]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a task list ({error!r}); run define_tasks again") from None
