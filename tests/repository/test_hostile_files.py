"""Hostile files, datasets of others among them: nothing that is read can run code, and each is refused in one line."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save

from metadiffuser.artifacts import read_tensors
from metadiffuser.behaviour.policies import Trained
from metadiffuser.context.representation import ContextModel
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.envs import Task
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.errors import InputError
from metadiffuser.viewing.rollouts import read_rollouts


class Bomb:
    """Unpickled, it would leave a mark."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def header(size: int, text: str = "{}") -> bytes:
    return size.to_bytes(8, "little") + text.encode()


def overlapping() -> str:
    entry = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    return json.dumps({"a": entry, "__metadata__": {"header": "{}"}})


def hostile(kind: str, mark: Path) -> bytes:
    match kind:
        case "pickle":
            return pickle.dumps(Bomb(mark))
        case "torch":
            path = mark.with_suffix(".pt")
            torch.save({"weights": Bomb(mark)}, path)
            return path.read_bytes()
        case "npy":
            path = mark.with_suffix(".npy")
            np.save(path, np.array([Bomb(mark)], dtype=object), allow_pickle=True)
            return path.read_bytes()
        case "absurd header":
            return header(2**62)
        case "absurd tensor":
            return header(len(overlapping()), overlapping())
        case "no header":
            return save({"a": torch.zeros(2)})
        case "deep header":
            return save({"a": torch.zeros(2)}, {"header": "[" * 100_000})
        case "other header":
            return save({"a": torch.zeros(2)}, {"header": '{"family": "../x", "context": null, "sizes": [1, 2]}'})
        case _:
            return b""


KINDS = ["pickle", "torch", "npy", "absurd header", "absurd tensor", "no header", "deep header", "empty"]
READERS = [read_tensors, ContextModel.load, DiffusionModel.load, Trained.read, read_rollouts]


CASES = [(reader, kind) for reader in READERS for kind in KINDS]
CASES += [(reader, "other header") for reader in READERS[1:]]  # of read_tensors any header is one


@pytest.mark.parametrize(("reader", "kind"), CASES)
def test_a_hostile_checkpoint_is_refused(reader: object, kind: str, tmp_path: Path) -> None:
    assert callable(reader)
    path = tmp_path / "seed0.safetensors"
    path.write_bytes(hostile(kind, tmp_path / "mark"))
    with pytest.raises(InputError) as caught:
        reader(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert not (tmp_path / "mark").exists()


def test_the_bomb_is_live(tmp_path: Path) -> None:
    pickle.loads(hostile("pickle", tmp_path / "mark"))
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "text", ["", "[", '{"tasks": 3}', '{"tasks": [{"index": "<b>"}]}', '{"tasks": "\\u001b[2J\\nforged"}', "\xff"]
)
def test_a_hostile_record_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError) as caught:
        read_tasks(tmp_path / "tasks.json")
    assert str(caught.value).isprintable()


def written(**parameters: object) -> str:
    return json.dumps({"family": "point_robot", "tasks": [{"index": 3, "split": "test", "parameters": parameters}]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (written(), "task 3 has the parameters {}; expected finite numbers for goal (2), as Point-Robot has them"),
        (written(goal=[0.1, 0.2, 0.3]), "task 3 has the parameters {'goal': (0.1, 0.2, 0.3)}; expected"),
        (written(goal=[0.1, 0.2], speed=[1.0]), "task 3 has the parameters {'goal': (0.1, 0.2), 'speed': (1.0,)}; exp"),
        (written(speed=[0.1, 0.2]), "task 3 has the parameters {'speed': (0.1, 0.2)}; expected"),
        (written(goal=[float("nan"), 0.2]), "task 3 has the parameters {'goal': (nan, 0.2)}; expected finite"),
        (written(goal=[0.1, float("inf")]), "task 3 has the parameters {'goal': (0.1, inf)}; expected finite"),
        (written(goal=[10**400, 0]), "not a task list (OverflowError("),
        (written(goal=[0.1, 0.2]).replace("3,", "1e400,"), "not a task list (OverflowError("),
        (
            written(goal=[0.1, 0.2]).replace("point_robot", "point"),
            "unknown family 'point'; did you mean 'point_robot'?",
        ),
    ],
)
def test_tasks_that_are_not_the_familys_are_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    path.write_text(written(goal=[0.1, 0.2]))
    assert read_tasks(path) == [Task(3, "test", {"goal": (0.1, 0.2)})]
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(f"{path}: {said}")) as caught:
        read_tasks(path)
    assert str(caught.value).endswith("; run define_tasks again")


# Datasets of others.


def test_an_array_of_objects_or_strings_in_hdf5_is_no_data(tmp_path: Path) -> None:
    from metadiffuser.importing.layouts.minari import read_minari

    for kind in (h5py.string_dtype(), h5py.vlen_dtype(np.float32), h5py.ref_dtype):
        folder = tmp_path / str(kind.metadata)[:24].replace("/", "_")
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "metadata.json").write_text('{"total_episodes": 1}')
        with h5py.File(folder / "data" / "main_data.hdf5", "w") as file:
            group = file.create_group("episode_0")
            group["observations"] = np.zeros((3, 2), np.float32)
            group["actions"] = np.zeros((2, 1), np.float32)
            group.create_dataset("rewards", (2,), dtype=kind)
        with pytest.raises(InputError, match="rewards"):
            read_minari(folder)


@pytest.mark.parametrize("count", ["-1", "1e3", "1e400", '"x"', "null", "[1]", "999999999999"])
def test_metadata_that_lie_of_the_number_of_episodes(count: str, tmp_path: Path) -> None:
    from metadiffuser.importing.layouts.minari import read_minari

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "metadata.json").write_text(f'{{"total_episodes": {count}}}')
    with h5py.File(tmp_path / "data" / "main_data.hdf5", "w"):
        pass
    with pytest.raises(InputError, match=r"total_episodes is|main_data\.hdf5: "):
        read_minari(tmp_path)
