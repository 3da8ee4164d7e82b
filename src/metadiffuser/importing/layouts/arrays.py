"""Episodes as the named flat arrays that files of other projects hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metadiffuser.data.episodes import Episodes


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
