"""Where imported episodes end."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metadiffuser.envs import get_family
from metadiffuser.importing.layouts import npz
from metadiffuser.importing.steps import Request


def test_an_episode_ends_where_any_of_the_arrays_says_so(tmp_path: Path) -> None:
    states = np.zeros((4, 2), np.float32)
    np.savez(
        tmp_path / "task.npz",
        observations=states,
        next_observations=states,
        actions=states,
        rewards=np.zeros(4, np.float32),
        terminals=np.array([0, 1, 0, 0]),
        timeouts=np.array([False, False, False, True]),
        dones=np.zeros(4, bool),
    )
    steps = npz.read(Request(tmp_path / "task.npz", get_family("point_robot")))
    assert steps is not None
    assert steps.ends is not None
    assert steps.ends.tolist() == [False, True, False, True]
