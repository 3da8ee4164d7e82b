"""What every reader returns: the steps of one file or folder as flat arrays, and how to name a step in a message."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from metadiffuser.envs import Family
from metadiffuser.errors import InputError, one_line

Anything = NDArray[Any]
Rows = NDArray[np.integer[Any]]
Locate = Callable[[str, int], str]
STEPS = ("observations", "actions", "rewards", "next_observations")
ENDS = ("episode_ends", "terminals", "timeouts", "terminations", "truncations", "dones")
OTHER_NAMES = {"observations": ("obs",), "next_observations": ("next_obs",)}
TASK_INDEX = ("task_index", "task_indices", "task_id", "task_ids")
NAMES = (*STEPS, *(other for others in OTHER_NAMES.values() for other in others), *ENDS, *TASK_INDEX)  # that are read
MOST_NAMED = 8  # tasks of a mixture, or arrays of a file, in a sentence
OBJECTS = "which are not read, as unpickling them can run code; if you trust who wrote them, turn"
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    MemoryError,
    RuntimeError,
    NotImplementedError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Request:
    """What a reader is asked for.

    Attributes:
        path: a file or a folder.
        family: whose data it holds.
        task: number of the wanted task in a file that holds a mixture of tasks; None for all that the file holds.
    """

    path: Path
    family: Family
    task: int | None = None


@dataclass(frozen=True)
class Steps:
    """The N steps of a file, one after the other, not checked yet but for their being arrays of numbers.

    Attributes:
        path: the file or folder.
        arrays: ``observations``, ``actions``, ``rewards`` and ``next_observations``; without the last, the next
            observation of a step is the observation of the next one.
        ends: True at the last step of an episode (N,), or None if the file does not say.
        locate: (array, step) -> array and index as the file has them; by default ``array[step]``.
        length: steps of an episode where the arrays are (E, T, ...); else None.
        buffer: whether the file may stop within an episode, as one of a given number of steps does.
    """

    path: Path
    arrays: dict[str, Anything]
    ends: Anything | None
    locate: Locate | None = None
    length: int | None = None
    buffer: bool = False

    def __repr__(self) -> str:
        return f"Steps({self.path}, N={len(self.arrays['rewards'])})"

    def where(self, array: str, step: int) -> str:
        """Return file, array and index of a step, as the file has it."""
        return f"{self.path}: {self.locate(array, step) if self.locate else f'{array}[{step}]'}"


def require_file(path: Path) -> None:
    """Raise ``InputError`` unless the file is there that the task list names."""
    if not path.is_file():
        raise InputError(f"{path}: {'not a file' if path.exists() else 'missing'}; the task list names it")


@contextmanager
def readable(path: Path, expected: str = "arrays of numbers") -> Iterator[None]:
    """Turn what a library raises at a damaged file into an ``InputError`` that names the file."""
    try:
        yield
    except InputError:
        raise
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: cannot be read ({reason}); expected {expected}") from None


def numbers(path: Path, name: str, array: Any) -> Anything:
    """Return ``array`` if it is one of numbers. Raises ``InputError``."""
    if isinstance(array, h5py.Empty) or not hasattr(array, "dtype"):  # such as a member's bytes in another format
        raise InputError(f"{path}: {name} is not stored as an array; expected numbers")
    if array.dtype.kind not in "fiub":
        raise InputError(f"{path}: {name} holds {array.dtype}; expected numbers")
    if array.ndim == 0:
        raise InputError(f"{path}: {name} is a single number; expected an entry for each step")
    return array


def from_arrays(
    request: Request,
    names: Collection[str],
    read: Callable[[str], Any],
    order: Rows | None = None,
    ends: Anything | None = None,
    buffer: bool = False,
) -> Steps:
    """Return the steps that named arrays hold, (N, ...) or (E, T, ...); of a mixture, those of one task.

    Args:
        request: file, family and task.
        names: of the arrays that there are.
        read: name -> array.
        order: rows of the arrays (N,) in the order of time, if they are stored in another.
        ends: True at the last step of an episode (N,), in place of what the arrays say.
        buffer: whether the file may stop within an episode, and have no ``next_observations``.

    Raises:
        InputError: an array is missing or not one of numbers, or the wanted task is not there.
    """
    path = request.path
    stored = {
        name: next(known for known in (name, *OTHER_NAMES.get(name, ())) if known in names)
        for name in (*STEPS, *ENDS, *TASK_INDEX)
        if any(known in names for known in (name, *OTHER_NAMES.get(name, ())))
    }
    found = {name: numbers(path, known, read(known)) for name, known in stored.items()}
    required = STEPS[:3] if buffer else STEPS
    for name in required:
        if name not in found:
            raise InputError(f"{path}: has no array '{name}'; expected {', '.join(required)}; it has {_listed(names)}")
    length = found["observations"].shape[1] if found["observations"].ndim == 3 else None
    if length is not None:
        found = {name: _flat(path, name, array, length) for name, array in found.items()}
    flags = [(name, found.pop(name)) for name in ENDS if name in found]
    flagged = _united(path, flags, len(found["observations"]))
    ends = flagged if ends is None else ends
    index = [(name, found.pop(name)) for name in TASK_INDEX if name in found]
    rows = _rows_of_task(request, index, len(found["observations"]))
    if order is not None:
        rows = order if rows is None else order[np.isin(order, rows)]
    if rows is not None:
        for name, array in found.items():
            if len(array) != len(found["observations"]):
                expected = len(found["observations"])
                raise InputError(f"{path}: {name} has {len(array)} entries; expected {expected}, as observations")
        found = {name: array[rows] for name, array in found.items()}
        ends = None if ends is None else ends[rows]

    def locate(array: str, step: int) -> str:
        row = step if rows is None else int(rows[step])
        shown = stored.get(array, array)
        return f"{shown}[{row}]" if length is None else f"{shown}[{row // length}, {row % length}]"

    return Steps(path, found, ends, locate, length, buffer)


def _listed(names: Collection[str]) -> str:
    """Return the names of what a file holds, the first few of many."""
    shown = sorted(names)[:MOST_NAMED]
    return one_line(", ".join(shown) + (", ..." if len(names) > len(shown) else "")) or "none"


def _flat(path: Path, name: str, array: Anything, length: int) -> Anything:
    """Return (E, T, ...) as (E * T, ...), and a task number for each episode (E,) or (E, 1) as one for each step."""
    if name in TASK_INDEX and array.size == len(array):
        array = np.repeat(array.reshape(-1, 1), length, axis=1)
    if array.ndim < 2 or array.shape[1] != length:
        raise InputError(f"{path}: {name} has shape {array.shape}; expected (E, {length}, ...), as observations")
    return array.reshape(len(array) * length, *array.shape[2:])


def _united(path: Path, flags: list[tuple[str, Anything]], count: int) -> Anything | None:
    """Return where any of several flags says that an episode ends (N,), None without flags."""
    ends = None
    for name, flag in flags:
        if flag.size != count:
            raise InputError(f"{path}: {name} has {flag.size} entries; expected {count}, as observations")
        given = flag.reshape(-1)
        array = given.astype(bool)
        if not np.array_equal(given, array):
            step = int(np.flatnonzero(given != array)[0])
            raise InputError(f"{path}: {name}[{step}] is {given[step]:g}; expected 0 or 1, 1 where an episode ends")
        ends = array if ends is None else ends | array
    return ends


def _rows_of_task(request: Request, indices: list[tuple[str, Anything]], count: int) -> Rows | None:
    """Return the rows of the wanted task by an array of task numbers (N,) or (N, 1), None for all rows."""
    path, task = request.path, request.task
    if not indices:
        if task is not None:
            names = ", ".join(TASK_INDEX)
            raise InputError(
                f"{path}: has no array of task numbers ({names}), but the task list asks for its task {task}; take "
                "'task' out of the entry, or add the array"
            )
        return None
    name, array = indices[0]
    for other, numbers_there in indices[1:]:
        if not np.array_equal(numbers_there.reshape(-1), array.reshape(-1)):
            raise InputError(f"{path}: {name} and {other} number the tasks differently; leave one of them out")
    if array.shape not in ((count,), (count, 1)):
        raise InputError(f"{path}: {name} has shape {array.shape}; expected ({count},), as observations")
    if array.dtype.kind == "b":
        raise InputError(f"{path}: {name} holds truth values; expected the number of each step's task")
    array = array.reshape(-1)
    present = np.unique(array)
    if array.dtype.kind == "f" and not (np.isfinite(present).all() and (present == np.round(present)).all()):
        raise InputError(f"{path}: {name} holds fractions; expected the number of each step's task")
    shown = ", ".join(str(int(number)) for number in present[:MOST_NAMED])
    shown += ", ..." if len(present) > MOST_NAMED else ""
    if task is None:
        if len(present) > 1:
            raise InputError(
                f"{path}: {name} has the tasks {shown}; say in each entry of the task list which of them it is, such "
                f'as "task": {int(present[0])}'
            )
        return None
    rows = np.flatnonzero(array == task)
    if not rows.size:
        raise InputError(f"{path}: {name} has no task {task}; it has {shown}")
    return rows
