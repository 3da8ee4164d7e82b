"""HDF5 buffers: the flat arrays of D4RL, and the replay buffers of MACAW.

D4RL's files hold ``observations``, ``actions``, ``rewards``, ``terminals`` and, in most, ``timeouts`` and
``next_observations``. MACAW's hold ``obs``, ``actions``, ``rewards``, ``next_obs`` and ``terminals``, beside them
``mc_rewards``, ``terminal_obs`` and ``terminal_discounts``, discount ** (steps to the end of the trajectory); each
trajectory is stored from its last step to its first. Both sets of names are read in either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from metadiffuser.data.episodes import Episodes
from metadiffuser.data.hdf5 import is_link, is_stored_elsewhere
from metadiffuser.errors import InputError
from metadiffuser.importing.layouts.arrays import arrays_of
from metadiffuser.importing.steps import (
    ENDS,
    NAMES,
    OTHER_NAMES,
    Anything,
    Request,
    Rows,
    Steps,
    from_arrays,
    numbers,
    readable,
    require_file,
)

SUFFIXES = (".hdf5", ".h5", ".hdf")
DISCOUNTS = "terminal_discounts"
MACAW = (DISCOUNTS, "terminal_obs", "mc_rewards")  # any of these marks a buffer of MACAW
LAYOUT = "a buffer with arrays at the file's root"
EPISODE = "episode_0"  # the first group of a file of Minari's
ROUNDING = 1e-5  # absolute and relative: what storage in float32 may have cost


def own(path: Path, parent: Any, name: str, kind: Any, layout: str) -> Any:
    """Return a member that lies in the file itself: links and storage elsewhere are not followed.

    Args:
        path: the file, for messages.
        parent: the open file or a group of it.
        name: of the member.
        kind: ``h5py.Group`` or ``h5py.Dataset``.
        layout: what was expected, for messages.

    Raises:
        InputError: the member is missing, of another kind or elsewhere.
    """
    if not parent.id.links.exists(name.encode()):
        raise InputError(f"{path}: has no {parent.name.strip('/')}/{name}; expected {layout}".replace(" /", " "))
    if is_link(parent.id, name):
        raise InputError(f"{path}: {name} is a link; expected the data to lie in the file itself")
    member: Any = parent[name]
    if not isinstance(member, kind):
        wanted = "an array" if kind is h5py.Dataset else "a group"
        raise InputError(f"{path}: {name} is not {wanted}; expected {layout}")
    if isinstance(member, h5py.Dataset) and is_stored_elsewhere(member.id):
        raise InputError(f"{path}: {name} keeps its data in another file; expected it in the file itself")
    return member


def read(request: Request) -> Steps | None:
    """Read an HDF5 buffer; return None if it is something else. Raises ``InputError``."""
    path = request.path
    if path.suffix not in SUFFIXES:
        return None
    require_file(path)
    with readable(path), h5py.File(path, "r") as file:
        names = set(file.keys())
        if EPISODE in names and "observations" not in names:
            folder = _minari(path)
            raise InputError(f"{path}: has a group for each episode, as Minari's files; name the folder, {folder}")
        names -= {other for name, others in OTHER_NAMES.items() if name in names for other in others}
        arrays = {
            name: own(path, file, name, h5py.Dataset, LAYOUT)[()] for name in (*NAMES, DISCOUNTS) if name in names
        }
        order, ends = (None, None) if names.isdisjoint(MACAW) else _macaw(request, arrays)
    return from_arrays(request, names, arrays.__getitem__, order, ends, buffer=True)


def _minari(path: Path) -> Path:
    """Return the folder of the Minari dataset that a file is of."""
    return path.parent.parent if path.parent.name == "data" else path.parent


def _macaw(request: Request, arrays: dict[str, Any]) -> tuple[Rows | None, Anything | None]:
    """Return the rows in the order of time (None if they are in it), and where episodes end (None if unknown)."""
    named = {name: arrays.get(other, arrays.get(name)) for name, (other,) in OTHER_NAMES.items()}
    states, successors = named["observations"], named["next_observations"]
    if successors is None:
        raise InputError(
            f"{request.path}: has no array 'next_obs', which tells in which order a buffer of MACAW (with "
            f"{', '.join(MACAW)}) stores its steps; add it, or take these arrays out if steps are in the order of time"
        )
    if states is None:
        return None, None  # that it is missing is said where arrays are checked
    states, successors = (numbers(request.path, *pair) for pair in (("obs", states), ("next_obs", successors)))
    if states.ndim != 2 or states.shape != successors.shape:
        return None, None  # likewise
    ends = np.zeros(len(states), bool)
    if DISCOUNTS in arrays:
        discounts = numbers(request.path, DISCOUNTS, arrays[DISCOUNTS]).reshape(-1)
        if len(discounts) != len(states):
            expected = f"expected {len(states)}, as obs"
            raise InputError(f"{request.path}: {DISCOUNTS} has {len(discounts)} entries; {expected}")
        if discounts.min(initial=np.inf) < discounts.max(initial=-np.inf):  # with a discount of 1 they tell nothing
            ends = discounts >= discounts.max() * (1 - ROUNDING)
    for name in ENDS:
        if name in arrays and np.size(arrays[name]) == len(states):
            ends = ends | numbers(request.path, name, arrays[name]).astype(bool).reshape(-1)
    if not _follows(successors[1:], states[:-1]).sum() > _follows(successors[:-1], states[1:]).sum():
        return None, ends if ends.any() else None
    starts = ends if ends.any() else np.r_[True, ~_follows(successors[1:], states[:-1])]
    groups = np.split(np.arange(len(states)), np.flatnonzero(starts[1:]) + 1)
    ends = np.zeros(len(states), bool)
    ends[[group[0] for group in groups]] = True
    if len(groups[-1]) < request.family.episode_length:
        ends[groups[-1][0]] = False  # its first steps are not in the file: unfinished, as it is stored
    return np.concatenate([group[::-1] for group in groups]), ends


def _follows(left: Anything, entered: Anything) -> Anything:
    """Return where a step ends in the state that another begins in (N,)."""
    gap = np.abs(left.astype(float) - entered)  # of whole numbers and truth values the difference may be no number
    close: Anything = (gap <= ROUNDING * (1 + np.abs(entered))).all(axis=1)
    return close


def write(path: Path, episodes: Episodes) -> None:
    """Write episodes as a buffer in the layout of D4RL."""
    with h5py.File(path, "w", track_order=True) as file:
        for name, array in arrays_of(episodes).items():
            file[name] = array
