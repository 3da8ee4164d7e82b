"""``.npz`` files and Minari's HDF5 files as flat arrays of steps. Nothing is unpickled and no link is followed."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from metadiffuser.data.hdf5 import is_link, is_stored_elsewhere
from metadiffuser.errors import InputError

Anything = NDArray[Any]
STEPS = ("observations", "actions", "rewards", "next_observations")
ENDS = ("episode_ends", "terminals", "timeouts", "terminations", "truncations", "dones")
DATA_FILE = Path("data") / "main_data.hdf5"
METADATA_FILE = Path("data") / "metadata.json"
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
class Steps:
    """The N steps of a file, one after the other, not checked yet but for their being arrays of numbers.

    Attributes:
        path: the file.
        arrays: ``observations``, ``actions``, ``rewards`` and ``next_observations``.
        ends: True at the last step of an episode (N,), or None if the file does not say.
        starts: for a file that holds one group an episode, the first step of each; else None.
        length: steps of an episode where the arrays are (E, T, ...); else None.
    """

    path: Path
    arrays: dict[str, Anything]
    ends: Anything | None
    starts: Sequence[int] | None = None
    length: int | None = None

    def where(self, array: str, step: int) -> str:
        """Return file, array and index of a step, as the file has it."""
        if self.starts is not None:
            episode = int(np.searchsorted(self.starts, step, side="right")) - 1
            within = step - self.starts[episode]
            if array == "next_observations":
                array, within = "observations", within + 1
            return f"{self.path}: episode_{episode}/{array}[{within}]"
        if self.length is not None:
            return f"{self.path}: {array}[{step // self.length}, {step % self.length}]"
        return f"{self.path}: {array}[{step}]"


def read_steps(path: Path) -> Steps:
    """Read an ``.npz`` file or the folder of a Minari dataset. Raises ``InputError``."""
    if path.suffix == ".npz":
        return read_npz(path)
    if (path / DATA_FILE).is_file():
        return read_minari(path)
    raise InputError(f"{path}: expected an .npz file or the folder of a Minari dataset with {DATA_FILE} in it")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: cannot be read ({reason}); expected arrays of numbers") from None


def _numbers(path: Path, name: str, array: Any) -> Anything:
    if isinstance(array, h5py.Empty) or not hasattr(array, "dtype"):  # such as a member's bytes in another format
        raise InputError(f"{path}: {name} is not stored as an array; expected numbers")
    if array.dtype.kind not in "fiub":
        raise InputError(f"{path}: {name} holds {array.dtype}; expected numbers")
    if array.ndim == 0:
        raise InputError(f"{path}: {name} is a single number; expected an entry for each step")
    return array


def read_npz(path: Path) -> Steps:
    """Read an ``.npz`` file; arrays may be (N, ...) or (E, T, ...). Raises ``InputError``."""
    if not path.is_file():
        raise InputError(f"{path}: missing; the task list names it")
    with _readable(path), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            inner = PurePosixPath(member.replace("\\", "/"))
            if inner.is_absolute() or ".." in inner.parts:
                raise InputError(f"{path}: holds '{member}', a path that leads outside; expected names of arrays")
    found: dict[str, Anything] = {}
    with _readable(path), np.load(path, allow_pickle=False) as archive:
        for name in (*STEPS, *ENDS):
            if name in archive.files:
                found[name] = _numbers(path, name, archive[name])
    for name in STEPS:
        if name not in found:
            raise InputError(f"{path}: has no array '{name}'; expected {', '.join(STEPS)}")
    length = found["observations"].shape[1] if found["observations"].ndim == 3 else None
    if length is not None:
        found = {name: _flat(path, name, array, length) for name, array in found.items()}
    ends = None
    for name in ENDS:
        if name in found:
            array = found.pop(name).astype(bool).reshape(-1)
            if len(array) != len(found["observations"]):
                raise InputError(
                    f"{path}: {name} has {len(array)} entries; expected {len(found['observations'])}, as observations"
                )
            ends = array if ends is None else ends | array
    return Steps(path, found, ends, length=length)


def _flat(path: Path, name: str, array: Anything, length: int) -> Anything:
    """Return (E, T, ...) as (E * T, ...)."""
    if array.ndim < 2 or array.shape[1] != length:
        raise InputError(f"{path}: {name} has shape {array.shape}; expected (E, {length}, ...), as observations")
    return array.reshape(len(array) * length, *array.shape[2:])


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read the metadata of a Minari dataset. Raises ``InputError``."""
    path = folder / METADATA_FILE
    with _readable(path):
        record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise InputError(f"{path}: expected a mapping, as Minari writes it")
    return record


def read_minari(folder: Path) -> Steps:
    """Read a Minari dataset in HDF5. Raises ``InputError``."""
    path = folder / DATA_FILE
    record = read_metadata(folder)
    parts: dict[str, list[Anything]] = {name: [] for name in (*STEPS, "ends")}
    starts: list[int] = []
    step = 0
    with _readable(path), h5py.File(path, "r") as file:
        for number in range(int(record.get("total_episodes", len(file)))):
            name = f"episode_{number}"
            group = _own(path, file, name, h5py.Group)
            arrays = {key: _own(path, group, key, h5py.Dataset)[()] for key in ("observations", "actions", "rewards")}
            arrays = {key: _numbers(path, f"{name}/{key}", array) for key, array in arrays.items()}
            steps = len(arrays["rewards"])
            if len(arrays["observations"]) != steps + 1 or len(arrays["actions"]) != steps or not steps:
                shapes = ", ".join(f"{len(array)} {key}" for key, array in arrays.items())
                raise InputError(f"{path}: {name} has {shapes}; expected T + 1, T and T of them, T at least 1")
            parts["next_observations"].append(arrays["observations"][1:])
            parts["observations"].append(arrays["observations"][:-1])
            parts["actions"].append(arrays["actions"])
            parts["rewards"].append(arrays["rewards"])
            parts["ends"].append(np.arange(steps) == steps - 1)
            starts.append(step)
            step += steps
    if not starts:
        raise InputError(f"{path}: has no episodes; expected episode_0, episode_1, ...")
    with _readable(path):
        joined = {name: np.concatenate(values) for name, values in parts.items()}
    return Steps(path, joined, joined.pop("ends"), starts)


def _own(path: Path, parent: Any, name: str, kind: Any) -> Any:
    """Return a member that lies in the file itself: links and storage elsewhere are not followed."""
    if parent.get(name, getlink=True) is None:
        raise InputError(f"{path}: has no {parent.name.strip('/')}/{name}; expected Minari's layout".replace(" /", " "))
    if is_link(parent.id, name):
        raise InputError(f"{path}: {name} is a link; expected the data to lie in the file itself")
    member: Any = parent[name]
    if not isinstance(member, kind):
        raise InputError(f"{path}: {name} is not {'an array' if kind is h5py.Dataset else 'a group'}, as Minari has it")
    if isinstance(member, h5py.Dataset) and is_stored_elsewhere(member.id):
        raise InputError(f"{path}: {name} keeps its data in another file; expected it in the file itself")
    return member
