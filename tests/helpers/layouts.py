"""Somebody's Point-Robot episodes in the layouts of the field: a small sample of each, edited and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from metadiffuser.data.episodes import Episodes
from metadiffuser.errors import InputError
from metadiffuser.importing.store import Imported
from tests.helpers.foreign import STEPS, TASKS, arrays_of, imported, play

DISCOUNT = 0.99
Arrays = dict[str, Any]


def d4rl(episodes: Episodes) -> Arrays:
    """Return the arrays of a buffer in D4RL's layout."""
    arrays: Arrays = arrays_of(episodes)
    arrays["timeouts"] = arrays.pop("episode_ends")
    arrays["terminals"] = np.zeros_like(arrays["timeouts"])
    return arrays


def macaw(episodes: Episodes) -> Arrays:
    """Return the arrays of a buffer of MACAW: (N, 1) for numbers, each trajectory from its last step to its first."""
    flat = arrays_of(episodes)
    order = np.concatenate([np.arange(STEPS)[::-1] + STEPS * number for number in range(len(episodes))])
    backwards = {name: array[order] for name, array in flat.items()}
    to_go = np.tile(np.arange(1, STEPS + 1), len(episodes))
    return {
        "obs": backwards["observations"],
        "actions": backwards["actions"],
        "rewards": backwards["rewards"][:, None],
        "next_obs": backwards["next_observations"],
        "terminals": np.zeros((len(order), 1), bool),
        "mc_rewards": np.zeros((len(order), 1), np.float32),
        "terminal_obs": np.repeat(episodes.observations[:, -1], STEPS, axis=0),
        "terminal_discounts": (DISCOUNT**to_go).astype(np.float32)[:, None],
        "discount_factor": np.float64(DISCOUNT),
    }


def write_hdf5(path: Path, arrays: Arrays) -> None:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def rows_of(episodes: Episodes) -> np.ndarray:
    """Return rows s, a, r, s' (E, T, 2S + A + 1)."""
    return np.array(episodes.transitions())


def write_focal(folder: Path, episodes: Episodes) -> None:
    """Write ``trj_evalsample<n>_step<m>.npy`` files of numbers: two training steps, and three samples at each."""
    folder.mkdir(parents=True)
    for number, rows in enumerate(rows_of(episodes)):
        np.save(folder / f"trj_evalsample{number % 3}_step{(number // 3 + 1) * 500}.npy", rows)


def write_focal_objects(folder: Path, episodes: Episodes) -> None:
    """Write the files as FOCAL does: arrays of Python objects, [s, a, r, s'] for each step."""
    folder.mkdir(parents=True)
    for number, rows in enumerate(rows_of(episodes)):
        objects = np.empty((STEPS, 4), object)
        for step, row in enumerate(rows):
            objects[step] = [row[:2], row[2:4], float(row[4]), row[5:]]
        np.save(folder / f"trj_evalsample{number}_step500.npy", objects, allow_pickle=True)


def write_arrays(folder: Path, episodes: Episodes) -> None:
    """Write one ``.npy`` file for each array."""
    folder.mkdir(parents=True)
    for name, array in d4rl(episodes).items():
        np.save(folder / f"{name}.npy", array)


def mixture(parts: dict[int, Episodes]) -> Arrays:
    """Return the arrays of all tasks' episodes in one file, by turns, with the number of each step's task."""
    blocks = []
    for number in range(max(map(len, parts.values()))):
        for task, episodes in parts.items():
            block = d4rl(episodes.select(np.array([number])))
            blocks.append(block | {"task_index": np.full(STEPS, 10 * task)})
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


Writer = Callable[[Path, Episodes], Any]
ONE_A_TASK: dict[str, tuple[str, Writer]] = {
    "D4RL": ("{}.hdf5", lambda path, episodes: write_hdf5(path, d4rl(episodes))),
    "MACAW": ("{}.hdf5", lambda path, episodes: write_hdf5(path, macaw(episodes))),
    "FOCAL": ("goal_idx{}", write_focal),
    "arrays": ("{}", write_arrays),
}


def write_layout(folder: Path, layout: str, count: int = 6) -> dict[int, Episodes]:
    """Write a sample of a layout with its task list; return the episodes by task."""
    folder.mkdir(parents=True)
    episodes = {task.index: play(task, count) for task in TASKS}
    entries: list[dict[str, Any]] = []
    for task in TASKS:
        if layout.startswith("mixture"):
            entry: dict[str, Any] = {"data": f"all.{layout.split()[1]}", "task": 10 * task.index}
        else:
            name, write = ONE_A_TASK[layout]
            entry = {"data": name.format(task.index)}
            write(folder / entry["data"], episodes[task.index])
        entries.append(entry | {"split": task.split, "goal": list(task.parameters["goal"])})
    if layout == "mixture hdf5":
        write_hdf5(folder / "all.hdf5", mixture(episodes))
    if layout == "mixture npz":
        np.savez(folder / "all.npz", **mixture(episodes))
    (folder / "tasks.json").write_text(json.dumps({"tasks": entries}))
    return episodes


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as refused:
        imported(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def assert_same(found: Imported, expected: dict[int, Episodes]) -> None:
    """Each task's episodes are the expected ones, ranked and divided."""
    for index, episodes in expected.items():
        order = np.argsort(-episodes.returns, kind="stable")
        third = len(order) // 3
        for number, quality in enumerate(("expert", "medium", "random")):
            chosen = np.sort(order[number * third : (number + 1) * third])
            for name in ("observations", "actions", "rewards"):
                stored = getattr(found.episodes[quality][index], name)
                np.testing.assert_array_equal(stored, getattr(episodes, name)[chosen])


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def put(name: str, array: Any) -> Callable[[Any], None]:
    """Replace an array of an HDF5 file."""

    def change(file: Any) -> None:
        del file[name]
        file[name] = array

    return change
