"""Where imported episodes end."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metadiffuser.importing.readers import read_npz


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
    found = read_npz(tmp_path / "task.npz").ends
    assert found is not None
    assert found.tolist() == [False, True, False, True]
