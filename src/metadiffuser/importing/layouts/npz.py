"""``.npz`` files: one archive of named arrays for each task, or for all of them with an array of task numbers."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

import numpy as np

from metadiffuser.data.episodes import Episodes
from metadiffuser.errors import InputError
from metadiffuser.importing.layouts.arrays import arrays_of, holds_objects
from metadiffuser.importing.steps import NAMES, OBJECTS, Request, Steps, from_arrays, readable, require_file

CONVERSION = (
    "import numpy as np; found = np.load({path}, allow_pickle=True); "
    "np.savez({path}, **{{k: np.stack(list(found[k])).astype(float) for k in found.files}})"
)


def read(request: Request) -> Steps | None:
    """Read an ``.npz`` file; return None if it is something else. Raises ``InputError``."""
    path = request.path
    if path.suffix != ".npz":
        return None
    require_file(path)
    with readable(path), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            inner = PurePosixPath(member.replace("\\", "/"))
            if inner.is_absolute() or ".." in inner.parts:
                raise InputError(f"{path}: holds '{member}', a path that leads outside; expected names of arrays")
            if inner.suffix != ".npy" or inner.stem not in NAMES:
                continue
            with archive.open(member) as stream:
                unreadable = holds_objects(stream)
            if unreadable:
                conversion = CONVERSION.format(path=repr(str(path)))
                raise InputError(
                    f"{path}: {inner.stem} holds Python objects, {OBJECTS} a copy of the file into numbers by the "
                    f"lines: {conversion}"
                )
    with readable(path), np.load(path, allow_pickle=False) as archive:
        return from_arrays(request, archive.files, archive.__getitem__)


def write(path: Path, episodes: Episodes) -> None:
    """Write episodes as an ``.npz`` file that ``read`` reads: arrays (E * T, ...) and ``episode_ends``."""
    arrays = arrays_of(episodes)
    arrays["episode_ends"] = arrays.pop("timeouts")
    del arrays["terminals"]
    np.savez(path, allow_pickle=False, **arrays)
