"""``.npy`` files: a folder for each task, with one trajectory a file as FOCAL, CORRO and Meta-DT's lineage keep them.

FOCAL's layout is ``goal_idx<task>/trj_evalsample<n>_step<training step>.npy``, one file an episode, whose rows are s,
a, r, s'. A folder may also hold one file for each array, such as ``actions.npy``. The files as FOCAL writes them hold
Python objects, which only unpickling can read, and that can run any code; they are refused with a conversion.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metadiffuser.errors import InputError
from metadiffuser.importing.layouts.arrays import header_of
from metadiffuser.importing.steps import (
    OBJECTS,
    OTHER_NAMES,
    STEPS,
    Anything,
    Request,
    Steps,
    from_arrays,
    numbers,
    readable,
    require_file,
)

ARRAYS = (*STEPS, *(other for others in OTHER_NAMES.values() for other in others))  # names that mark a folder of them
MAPPING = (  # of an array of one object, which np.save makes of a mapping
    "import numpy as np; found = np.load({file}, allow_pickle=True).item(); np.savez({archive}, **found)"
)
CONVERSION = (
    "import numpy as np, pathlib; files = pathlib.Path({folder}).rglob('*.npy'); "
    "[np.save(f, np.stack([np.hstack(row) for row in array]).astype(float)) for f in files "
    "if (array := np.load(f, allow_pickle=True)).dtype == object]"
)


def read(request: Request) -> Steps | None:
    """Read a folder of ``.npy`` files, or one file; return None if it is something else. Raises ``InputError``."""
    path = request.path
    if path.suffix == ".npy" and not path.is_dir():
        require_file(path)
        files = [path]
    else:
        found = (file for file in path.glob("*.npy") if not file.name.startswith(".")) if path.is_dir() else ()
        files = sorted(found, key=_place)  # without the hidden files that some systems leave beside them
    if not files:
        return None
    for file in files:
        if file.is_symlink() and path.is_dir():
            raise InputError(f"{file}: is a link; expected the data to lie in the folder itself")
    by_name = {file.stem: file for file in files}
    if not by_name.keys().isdisjoint(ARRAYS):
        return from_arrays(request, by_name.keys(), lambda name: _load(by_name[name]), buffer=True)
    if request.task is not None:
        raise InputError(f"{path}: trajectories in .npy files are of one task; take 'task' out of the entry")
    return _trajectories(request, files)


def _place(file: Path) -> tuple[list[int], str]:
    """Return what files are sorted by: the numbers in their names, the last first (the training step in FOCAL's)."""
    return [int(number) for number in re.findall(r"\d+", file.stem)][::-1], file.name


def _load(file: Path) -> Anything:
    """Return the array of a file. Raises ``InputError``."""
    with readable(file):
        with file.open("rb") as stream:
            header = header_of(stream)
        if header is None:
            raise InputError(f"{file}: not a whole .npy file; expected what np.save writes")
        if header[1].hasobject and not header[0]:
            archive = repr(str(file.with_suffix(".npz")))
            conversion = MAPPING.format(file=repr(str(file)), archive=archive)
            raise InputError(
                f"{file}: holds one Python object, {OBJECTS} it into arrays, if it is a mapping of them, by the lines: "
                f"{conversion}, and name the .npz file in the task list"
            )
        if header[1].hasobject:
            conversion = CONVERSION.format(folder=repr(str(file.parent)))
            raise InputError(
                f"{file}: holds Python objects, {OBJECTS} copies of all files of the folder into numbers by the three "
                f"lines: {conversion}"
            )
        return numbers(file, "the array", np.load(file, allow_pickle=False))


def _trajectories(request: Request, files: Sequence[Path]) -> Steps:
    """Return episodes of rows s, a, r, s': one file each (T, 2S + A + 1), or several in a file (E, T, 2S + A + 1)."""
    family = request.family
    sizes = [family.observation_size, family.action_size, 1, family.observation_size]
    parts: list[Anything] = []
    ends: list[Anything] = []
    starts: list[tuple[int, Path, int | None]] = []
    count = 0
    for file in files:
        array = _load(file)
        if array.ndim not in (2, 3) or array.shape[-1] != sum(sizes) or not array.size:
            raise InputError(
                f"{file}: has shape {array.shape}; expected (T, {sum(sizes)}), rows of s ({sizes[0]}), a ({sizes[1]}), "
                f"r (1) and s' ({sizes[3]}) of {family.title}"
            )
        episodes = array if array.ndim == 3 else array[None]
        for number, episode in enumerate(episodes):
            starts.append((count, file, number if array.ndim == 3 else None))
            parts.append(episode)
            ends.append(np.arange(len(episode)) == len(episode) - 1)
            count += len(episode)
    with readable(request.path):
        columns = np.split(np.concatenate(parts), np.cumsum(sizes)[:-1], axis=1)
    names = ("observations", "actions", "rewards", "next_observations")
    firsts = [start for start, _, _ in starts]

    def locate(array: str, step: int) -> str:
        start, file, number = starts[int(np.searchsorted(firsts, step, side="right")) - 1]
        row = f"row {step - start}" if number is None else f"row {step - start} of episode {number}"
        inside = "" if file == request.path else f"{file.name}: "
        return f"{inside}{array} of {row}"

    return Steps(request.path, dict(zip(names, columns, strict=True)), np.concatenate(ends), locate)
