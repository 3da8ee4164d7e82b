"""Episodes as the named flat arrays that files of other projects hold."""

from __future__ import annotations

from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from metadiffuser.data.episodes import Episodes


def holds_objects(stream: IO[bytes]) -> bool:
    """Tell whether the array that a stream of a ``.npy`` file begins with is one of Python objects, by its header."""
    header = header_of(stream)
    return header is not None and header[1].hasobject


def header_of(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """Return shape and type of the array in a ``.npy`` file, None if it is no such file."""
    try:
        major, _ = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, kind = read(stream)
    except (ValueError, EOFError, OSError, SyntaxError, KeyError, TypeError):
        return None
    return shape, kind


def arrays_of(episodes: Episodes) -> dict[str, NDArray[Any]]:
    """Return s (E * T, S), a (E * T, A), r, s', and the flags ``terminals`` (never) and ``timeouts`` (last step)."""
    count, steps = episodes.rewards.shape
    return {
        "observations": episodes.observations[:, :-1].reshape(count * steps, -1),
        "actions": episodes.actions.reshape(count * steps, -1),
        "rewards": episodes.rewards.reshape(-1),
        "next_observations": episodes.observations[:, 1:].reshape(count * steps, -1),
        "terminals": np.zeros(count * steps, bool),
        "timeouts": np.tile(np.arange(steps) == steps - 1, count),
    }
