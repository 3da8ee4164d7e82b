"""The imported data of one family as one safetensors file, named after the hash of its contents.

``params.yaml`` names the hash (``overrides.<family>.tasks.imported``), ``define_tasks`` repeats it in the task list,
and the stages after it go by that: a job's parameters and inputs tell what data it was made of.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metadiffuser.artifacts import read_json, read_tensors, write_tensors
from metadiffuser.data.episodes import Episodes
from metadiffuser.envs import Task
from metadiffuser.errors import InputError

ARRAYS = ("observations", "actions", "rewards")


@dataclass(frozen=True)
class Imported:
    """Checked data of one family.

    Attributes:
        family: key of the family.
        tasks: the task list with its split.
        episodes: {quality: {task index: episodes}}; expert, medium and random at least.
        notes: how they were read, JSON-serialisable: ``labels`` (``given`` or ``ranked``), ``left_out`` (episodes),
            ``reward_difference`` and ``state_difference`` (largest ones from the family's own simulator, None if no
            step could be compared), ``steps`` (all of them) and ``not_restored`` (of these, how many could not be
            compared), ``files`` by task index.
    """

    family: str
    tasks: list[Task]
    episodes: Mapping[str, Mapping[int, Episodes]]
    notes: Mapping[str, Any]

    def write(self, folder: Path) -> str:
        """Write ``<hash>.safetensors`` into ``folder``, whole or not at all; return the hash of its contents."""
        tensors = {
            f"{quality}.{index}.{name}": torch.from_numpy(np.ascontiguousarray(getattr(episodes, name)))
            for quality, by_task in self.episodes.items()
            for index, episodes in by_task.items()
            for name in ARRAYS
        }
        header = {
            "family": self.family,
            "tasks": [task.to_json() for task in self.tasks],
            "qualities": list(self.episodes),
            "notes": dict(self.notes),
        }
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".import.", dir=folder) as temporary:
            path = Path(temporary) / "data.safetensors"
            write_tensors(path, tensors, header)
            digest = file_digest(path)
            os.replace(path, folder / f"{digest}.safetensors")
        return digest


def file_digest(path: Path) -> str:
    """Return the hash (32 hexadecimal digits) of a file's contents."""
    state = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()


def read_imported(path: Path) -> Imported:
    """Read what ``Imported.write`` wrote.

    Raises:
        InputError: the file is missing, or its contents are not those that its name tells.
    """
    remedy = "run 'metadiffuser import' again on the same data, or take 'imported' out of params.yaml"
    if not path.is_file():
        raise InputError(f"{path}: missing; {remedy}")
    if file_digest(path) != path.stem:
        raise InputError(f"{path}: its contents are not those that were imported; {remedy}")
    tensors, header = read_tensors(path)
    tasks = [Task.from_json(record) for record in header["tasks"]]
    episodes = {
        quality: {
            task.index: Episodes(*(tensors[f"{quality}.{task.index}.{name}"].numpy() for name in ARRAYS))
            for task in tasks
        }
        for quality in header["qualities"]
    }
    return Imported(header["family"], tasks, episodes, header["notes"])


def imported_digest(task_list: Path) -> str | None:
    """Return the hash of the imported data that a task list came with, None if the tasks were drawn."""
    record = read_json(task_list)
    return record.get("imported") if isinstance(record, dict) else None
