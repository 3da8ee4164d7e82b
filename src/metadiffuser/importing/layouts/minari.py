"""Minari datasets in HDF5: a folder with one group of arrays for each episode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from metadiffuser.errors import InputError
from metadiffuser.importing.layouts.hdf5 import own
from metadiffuser.importing.steps import STEPS, Anything, Request, Steps, numbers, readable

DATA_FILE = Path("data") / "main_data.hdf5"
METADATA_FILE = Path("data") / "metadata.json"
LAYOUT = "Minari's layout"


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read the metadata of a Minari dataset. Raises ``InputError``."""
    path = folder / METADATA_FILE
    with readable(path):
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(record, dict):
        raise InputError(f"{path}: expected a mapping, as Minari writes it")
    return record


def read(request: Request) -> Steps | None:
    """Read the folder of a Minari dataset; return None if it is something else. Raises ``InputError``."""
    if not (request.path / DATA_FILE).is_file():
        return None
    if request.task is not None:
        raise InputError(f"{request.path}: a Minari dataset is of one task; take 'task' out of its entry")
    return read_minari(request.path)


def read_minari(folder: Path) -> Steps:
    """Read a Minari dataset in HDF5. Raises ``InputError``."""
    path = folder / DATA_FILE
    record = read_metadata(folder)
    parts: dict[str, list[Anything]] = {name: [] for name in (*STEPS, "ends")}
    starts: list[int] = []
    step = 0
    with readable(path), h5py.File(path, "r") as file:
        for number in range(int(record.get("total_episodes", len(file)))):
            name = f"episode_{number}"
            group = own(path, file, name, h5py.Group, LAYOUT)
            arrays = {
                key: own(path, group, key, h5py.Dataset, LAYOUT)[()] for key in ("observations", "actions", "rewards")
            }
            arrays = {key: numbers(path, f"{name}/{key}", array) for key, array in arrays.items()}
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
    with readable(path):
        joined = {name: np.concatenate(values) for name, values in parts.items()}
    return Steps(path, joined, joined.pop("ends"), lambda array, step: _locate(starts, array, step))


def _locate(starts: Sequence[int], array: str, step: int) -> str:
    episode = int(np.searchsorted(starts, step, side="right")) - 1
    within = step - starts[episode]
    if array == "next_observations":
        array, within = "observations", within + 1
    return f"episode_{episode}/{array}[{within}]"
