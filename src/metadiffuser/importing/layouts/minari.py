"""Minari datasets in HDF5: a folder with one group of arrays for each episode."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from metadiffuser.errors import InputError, shortened
from metadiffuser.importing.layouts.hdf5 import own
from metadiffuser.importing.steps import STEPS, Anything, Request, Steps, numbers, readable

DATA_FILE = Path("data") / "main_data.hdf5"
METADATA_FILE = Path("data") / "metadata.json"
LAYOUT = "Minari's layout"


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read the metadata of a Minari dataset. Raises ``InputError``."""
    path = folder / METADATA_FILE
    with readable(path, "the description that Minari writes"):
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(record, dict):
        raise InputError(f"{path}: expected a mapping, as Minari writes it")
    return record


def read(request: Request) -> Steps | None:
    """Read the folder of a Minari dataset; return None if it is something else. Raises ``InputError``."""
    if not (request.path / DATA_FILE).is_file():
        if (request.path / METADATA_FILE).is_file():
            kind = shortened(repr(read_metadata(request.path).get("data_format", "hdf5")))
            raise InputError(
                f"{request.path}: a Minari dataset without {DATA_FILE} (its data_format is {kind}); expected one in "
                "HDF5, which Minari writes with data_format='hdf5'"
            )
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
        for number in range(_count(folder, record, file)):
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
            for key, earlier in parts.items():
                if key in arrays and earlier and arrays[key].shape[1:] != earlier[0].shape[1:]:
                    raise InputError(
                        f"{path}: {name}/{key} has entries of another shape than in the episodes before it"
                    )
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


def _count(folder: Path, record: Mapping[str, Any], file: h5py.File) -> int:
    """Return the number of episodes. Raises ``InputError`` if the metadata name another than the file has."""
    present = sum(re.fullmatch(r"episode_\d+", name) is not None for name in file)
    stated = record.get("total_episodes", present)
    if isinstance(stated, bool) or not isinstance(stated, int) or stated < present:  # with more, the first one lacks
        raise InputError(
            f"{folder / METADATA_FILE}: total_episodes is {shortened(repr(stated))}; expected {present}, as "
            f"{DATA_FILE} has episodes"
        )
    return stated


def _locate(starts: Sequence[int], array: str, step: int) -> str:
    episode = int(np.searchsorted(starts, step, side="right")) - 1
    within = step - starts[episode]
    if array == "next_observations":
        array, within = "observations", within + 1
    return f"episode_{episode}/{array}[{within}]"
