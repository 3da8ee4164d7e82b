"""Episodes on disk in Minari's layout: one dataset for each task and quality, below a family's folder.

A family's folder is a Minari root (``MINARI_DATASETS_PATH``): ``minari.load_dataset`` opens the dataset
``metadiffuser/<family>/<task>-<quality>-v0`` in it. The HDF5 files are written and read directly, which takes a
fraction of the time that Minari's buffers do; a test holds them to what Minari itself reads.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari
import numpy as np
from minari.dataset.minari_storage import METADATA_FILE_NAME, MinariStorage

from metadiffuser.artifacts import read_json, write_json
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.hdf5 import is_link, is_stored_elsewhere
from metadiffuser.envs import Family, Task
from metadiffuser.errors import InputError

NAMESPACE = "metadiffuser"
DATA_FILE = "main_data.hdf5"
_DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, OverflowError, MemoryError)


@dataclass(frozen=True)
class Provenance:
    """Where the episodes of one dataset come from.

    Attributes:
        policy: which policy acted: algorithm, checkpoint, deterministic or not; JSON-serialisable.
        random_return: mean return of uniformly random actions on the task.
        expert_return: mean return of the task's expert.
    """

    policy: Mapping[str, Any]
    random_return: float
    expert_return: float


def dataset_id(family: str, task: int, quality: str) -> str:
    """Return Minari's id of a dataset: ``metadiffuser/<family>/<task>-<quality>-v0``."""
    return f"{NAMESPACE}/{family}/{task:03d}-{quality}-v0"


def data_folder(root: Path, family: str, task: int, quality: str) -> Path:
    """Return the folder of a dataset's files below a Minari root."""
    return root / dataset_id(family, task, quality) / "data"


def describe(family: Family, task: Task, quality: str) -> str:
    """Return a dataset in a few words, for its metadata."""
    return f"{family.title}, task {task.index} ({task.split}), {quality} behaviour"


def write_dataset(
    root: Path, family: Family, task: Task, quality: str, episodes: Episodes, provenance: Provenance
) -> None:
    """Write one dataset below ``root``; equal arguments give equal bytes.

    The dataset's environment is recoverable: its specification carries the task itself.
    """
    folder = data_folder(root, family.name, task.index, quality)
    folder.mkdir(parents=True)
    space = gym.spaces.Box(-np.inf, np.inf, (family.observation_size,), np.float32)
    actions = gym.spaces.Box(-1.0, 1.0, (family.action_size,), np.float32)
    specification = copy.deepcopy(gym.spec(family.gym_id))
    specification.kwargs["task"] = task.to_json()
    MinariStorage.new(folder, space, actions, specification, data_format="hdf5")
    _write_episodes(folder / DATA_FILE, episodes)
    metadata = {
        "dataset_id": dataset_id(family.name, task.index, quality),
        "minari_version": minari.__version__,
        "description": describe(family, task, quality),
        "algorithm_name": str(provenance.policy.get("algorithm", "unknown")),
        "requirements": [],
        "ref_min_score": provenance.random_return,
        "ref_max_score": provenance.expert_return,
        "num_episodes_average_score": len(episodes),
        "total_episodes": len(episodes),
        "total_steps": episodes.rewards.size,
        "dataset_size": round((folder / DATA_FILE).stat().st_size / 1e6, 1),
        "task": task.to_json(),
        "quality": quality,
        "policy": dict(provenance.policy),
    }
    record = MinariStorage.read_raw_metadata(folder) | metadata
    write_json(folder / METADATA_FILE_NAME, record)


def _write_episodes(path: Path, episodes: Episodes) -> None:
    """Write the HDF5 file as Minari's storage would, but in contiguous arrays: smaller and faster to read."""
    steps = episodes.rewards.shape[1]
    terminations = np.zeros(steps, bool)
    truncations = np.arange(steps) == steps - 1
    with h5py.File(path, "w", track_order=True) as file:
        for number in range(len(episodes)):
            group = file.create_group(f"episode_{number}")
            group.attrs.update({"id": number, "total_steps": steps})
            group["observations"] = episodes.observations[number]
            group["actions"] = episodes.actions[number]
            group["rewards"] = episodes.rewards[number]
            group["terminations"] = terminations
            group["truncations"] = truncations


def read_dataset(root: Path, family: str, task: int, quality: str) -> Episodes:
    """Read one dataset. Raises ``InputError`` that names a missing or damaged file."""
    folder = data_folder(root, family, task, quality)
    path = folder / DATA_FILE
    remedy = "run collect_dataset again, or 'dvc pull'"
    if not path.is_file():
        raise InputError(f"{path}: missing; {remedy}")
    try:
        count = int(read_json(folder / METADATA_FILE_NAME)["total_episodes"])
        with h5py.File(path, "r") as file:
            if count != len(file):
                raise ValueError(f"{len(file)} episodes, and {METADATA_FILE_NAME} tells of {count}")
            for episode in file:
                if is_link(file.id, episode):
                    raise ValueError(f"{episode} is a link; expected it in the file itself")
            arrays = [_read_stack(file, name, count) for name in ("observations", "actions", "rewards")]
        return Episodes(*arrays)
    except InputError:
        raise
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: damaged ({reason}); {remedy}") from None


def _read_stack(file: h5py.File, name: str, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the array ``name`` of ``count`` episodes (E, ...), read into its place without a copy between.

    There are thousands of these arrays in a family, so they are read by HDF5's own calls: what h5py adds to an array
    takes longer than the array. Those calls trust the sizes that they are given; hence the check.
    """
    shape = file[f"episode_0/{name}"].shape
    stack = np.empty((count, *shape), np.float32)
    for number in range(count):
        path = f"episode_{number}/{name}"
        stored = h5py.h5d.open(file.id, path.encode())
        if is_link(file.id, path) or is_stored_elsewhere(stored):
            raise ValueError(f"{path} leads elsewhere; expected it in the file itself")
        if stored.shape != shape:
            raise ValueError(f"{name} of episode {number} has shape {stored.shape}, that of episode 0 {shape}")
        stored.read(h5py.h5s.ALL, h5py.h5s.ALL, stack[number])
    return stack


def family_of(root: Path) -> str:
    """Return the family whose datasets lie below ``root``. Raises ``InputError`` if there is not exactly one."""
    folder = root / NAMESPACE
    found = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if len(found) != 1:
        shown = ", ".join(found) if found else "nothing"
        raise InputError(f"{folder}: expected the datasets of one family, found {shown}; run collect_dataset again")
    return found[0]


def read_family(root: Path, tasks: Sequence[Task], qualities: Sequence[str]) -> dict[str, dict[int, Episodes]]:
    """Read the datasets of ``tasks`` from a family's folder.

    Returns:
        {quality: {task index: episodes}}, which hold their task's parameters.

    Raises:
        InputError: a file is missing or damaged; the message names it.
    """
    family = family_of(root)
    return {
        quality: {
            task.index: replace(
                read_dataset(root, family, task.index, quality), parameters=task.vector.astype(np.float32)
            )
            for task in tasks
        }
        for quality in qualities
    }


def read_anchors(root: Path, family: str, task: int) -> tuple[float, float]:
    """Return the mean returns (random, expert) of a task, by the metadata of its expert episodes.

    Raises:
        InputError: the metadata are missing or damaged; the message names the file.
    """
    path = data_folder(root, family, task, "expert") / METADATA_FILE_NAME
    metadata = read_json(path)
    try:
        return float(metadata["ref_min_score"]), float(metadata["ref_max_score"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no reference returns ({error}); run collect_dataset again, or 'dvc pull'") from None
