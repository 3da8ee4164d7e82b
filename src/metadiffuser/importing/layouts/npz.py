"""``.npz`` files: one archive of named arrays for each task, or for all of them with an array of task numbers."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

import numpy as np

from metadiffuser.data.episodes import Episodes
from metadiffuser.errors import InputError
from metadiffuser.importing.layouts.arrays import arrays_of
from metadiffuser.importing.steps import Request, Steps, from_arrays, readable


def read(request: Request) -> Steps | None:
    """Read an ``.npz`` file; return None if it is something else. Raises ``InputError``."""
    path = request.path
    if path.suffix != ".npz":
        return None
    if not path.is_file():
        raise InputError(f"{path}: missing; the task list names it")
    with readable(path), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            inner = PurePosixPath(member.replace("\\", "/"))
            if inner.is_absolute() or ".." in inner.parts:
                raise InputError(f"{path}: holds '{member}', a path that leads outside; expected names of arrays")
    with readable(path), np.load(path, allow_pickle=False) as archive:
        return from_arrays(request, archive.files, archive.__getitem__)


def write(path: Path, episodes: Episodes) -> None:
    """Write episodes as an ``.npz`` file that ``read`` reads: arrays (E * T, ...) and ``episode_ends``."""
    arrays = arrays_of(episodes)
    arrays["episode_ends"] = arrays.pop("timeouts")
    del arrays["terminals"]
    np.savez(path, allow_pickle=False, **arrays)
