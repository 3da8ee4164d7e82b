"""The layouts of the field: each is read as the same episodes, and each way in which one is wrong is one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from metadiffuser.data.episodes import Episodes
from metadiffuser.errors import InputError
from metadiffuser.importing.summary import summarise
from tests.conftest import ROOT
from tests.helpers.foreign import STEPS, TASKS, imported, play
from tests.helpers.layouts import (
    assert_same,
    d4rl,
    edit,
    mixture,
    put,
    refusal,
    write_hdf5,
    write_layout,
)

LAYOUTS = ["D4RL", "MACAW", "FOCAL", "arrays", "mixture hdf5", "mixture npz"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_read_as_the_same_episodes(tmp_path: Path, layout: str) -> None:
    expected = write_layout(tmp_path / "data", layout)
    found = imported(tmp_path / "data")
    assert found.tasks == TASKS
    assert_same(found, expected)
    assert (found.notes["unfinished"], found.notes["computed"], found.notes["action_scale"]) == (0, 0, 1.0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_wrong_reward_is_named_as_the_layout_has_it(tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "data"
    write_layout(folder, layout)
    if layout == "FOCAL":
        path = folder / "goal_idx1/trj_evalsample2_step500.npy"
        rows = np.load(path)
        rows[7, 4] = 3
        np.save(path, rows)
        assert "goal_idx1: trj_evalsample2_step500.npy: rewards of row 7 is 3; expected -" in refusal(folder)
    elif layout == "arrays":
        rewards = np.load(folder / "1/rewards.npy")
        rewards[47] = 3
        np.save(folder / "1/rewards.npy", rewards)
        assert "/data/1: rewards[47] is 3; expected -" in refusal(folder)
    elif layout == "mixture npz":
        with np.load(folder / "all.npz") as archive:
            arrays = dict(archive)
        arrays["rewards"][5 * STEPS + 27] = 3  # the second round, step 7 of task 1
        np.savez(folder / "all.npz", **arrays)
        said = refusal(folder)
        assert "all.npz: rewards[127] is 3; expected -" in said
        assert "for task 1," in said
    else:
        name = "all.hdf5" if layout == "mixture hdf5" else "1.hdf5"
        edit(folder / name, lambda file: file["rewards"].__setitem__(27, 3))
        assert re.search(rf"/{name}: rewards\[27\] is 3; expected -.* for task 1,", refusal(folder))


class TestMixture:
    """All tasks in one file."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_layout(tmp_path / "data", "mixture hdf5")
        return tmp_path / "data"

    def change_entry(self, folder: Path, **changes: Any) -> None:
        record = json.loads((folder / "tasks.json").read_text())
        record["tasks"][1].update(changes)
        (folder / "tasks.json").write_text(json.dumps(record))

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"task": 7}, "all.hdf5: task_index has no task 7; it has 0, 10, 20, 30, 40"),
            (
                {"task": None},
                "task_index has the tasks 0, 10, 20, 30, 40; say in each entry of the task list which of ",
            ),
            ({"task": "10"}, "tasks[1].task is '10'; expected the whole number that a file with several tasks has"),
            ({"task": True}, "tasks[1].task is True; expected the whole number"),
            ({"task": 30}, "the unseen task 3 and the training task 1 both have the data "),
            ({"task": 20}, "all.hdf5: rewards["),
        ],
    )
    def test_a_wrong_number_is_named(self, folder: Path, changes: dict[str, Any], words: str) -> None:
        self.change_entry(folder, **changes)
        assert words in refusal(folder)

    @pytest.mark.parametrize(
        ("index", "words"),
        [
            (np.zeros(7), "task_index has shape (7,); expected (600,), as observations"),
            (np.full(600, 0.5), "task_index holds fractions; expected the number of each step's task"),
            (np.zeros(600, bool), "task_index holds truth values; expected the number of each step's task"),
            (None, "has no array of task numbers (task_index, "),
        ],
    )
    def test_a_wrong_index_is_named(self, folder: Path, index: Any, words: str) -> None:
        arrays = mixture({task.index: play(task, 6) for task in TASKS})
        del arrays["task_index"]
        write_hdf5(folder / "all.hdf5", arrays if index is None else arrays | {"task_index": index})
        assert f"/all.hdf5: {words}" in refusal(folder)

    def test_two_arrays_that_number_the_tasks_differently_are_refused(self, folder: Path) -> None:
        with h5py.File(folder / "all.hdf5", "r+") as file:
            numbers = file["task_index"][()]
            file["task_id"] = numbers
        assert_same(imported(folder), {task.index: play(task, 6) for task in TASKS})
        edit(folder / "all.hdf5", put("task_id", numbers[::-1]))
        assert "task_index and task_id number the tasks differently; leave one of them out" in refusal(folder)

    @pytest.mark.parametrize("shape", [(30,), (30, 1)])
    def test_a_number_for_each_episode_is_one_for_each_of_its_steps(self, folder: Path, shape: tuple[int, ...]) -> None:
        with h5py.File(folder / "all.hdf5") as file:
            flat = {name: array[()] for name, array in file.items()}
        blocks = {name: array.reshape(30, STEPS, *array.shape[1:]) for name, array in flat.items()}
        write_hdf5(folder / "all.hdf5", blocks | {"task_index": blocks["task_index"][:, 0].reshape(shape)})
        assert_same(imported(folder), {task.index: play(task, 6) for task in TASKS})

    def test_arrays_of_another_length_are_named(self, folder: Path) -> None:
        edit(folder / "all.hdf5", put("rewards", np.zeros(599)))
        assert "all.hdf5: rewards has 599 entries; expected 600, as observations" in refusal(folder)

    def test_an_index_of_one_task_needs_no_number(self, tmp_path: Path) -> None:
        write_layout(tmp_path / "data", "D4RL")
        edit(tmp_path / "data/0.hdf5", lambda file: file.__setitem__("task_id", np.full((120, 1), 4)))
        assert imported(tmp_path / "data").tasks == TASKS


class TestUnseen:
    """Data of unseen tasks are their own."""

    def test_a_file_of_a_training_and_an_unseen_task_is_refused(self, tmp_path: Path) -> None:
        write_layout(tmp_path / "data", "D4RL")
        record = json.loads((tmp_path / "data/tasks.json").read_text())
        record["tasks"][4]["data"] = "1.hdf5"
        (tmp_path / "data/tasks.json").write_text(json.dumps(record))
        said = refusal(tmp_path / "data")
        assert "tasks.json: the unseen task 4 and the training task 1 both have the data" in said
        assert "1.hdf5; expected an unseen task to have data of its own (if the file holds several tasks, give" in said

    def test_episodes_of_a_training_task_under_another_name_are_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / "data"
        write_layout(folder, "D4RL")
        own, other = play(TASKS[4], 6), play(TASKS[1], 6)
        parts = [own.select(np.arange(2)), other.select(np.arange(1, 5))]
        write_hdf5(folder / "4.hdf5", d4rl(Episodes.join(parts)))
        words = r"4\.hdf5: 4 of 6 episodes are also in .*/1\.hdf5, of a training task; expected the unseen task 4 to"
        with pytest.raises(InputError, match=words):
            imported(folder, reward=10)

    @pytest.mark.parametrize(
        ("index", "remark"),
        [
            (4, "Task 4: unseen by its split, but its parameters are those of training task 1."),
            (2, "Task 2: its parameters are those of task 1, so that task counts twice."),
        ],
    )
    def test_a_task_with_the_parameters_of_another_is_remarked_on(
        self, tmp_path: Path, index: int, remark: str
    ) -> None:
        folder = tmp_path / "data"
        write_layout(folder, "D4RL")
        record = json.loads((folder / "tasks.json").read_text())
        record["tasks"][index]["goal"] = record["tasks"][1]["goal"]
        (folder / "tasks.json").write_text(json.dumps(record))
        write_hdf5(folder / f"{index}.hdf5", d4rl(play(TASKS[1], 6, seed=1)))
        assert [line for line in summarise(imported(folder)) if line.startswith("Task")] == [remark]


def test_the_page_names_every_array_and_layout() -> None:
    from metadiffuser.importing.layouts import hdf5
    from metadiffuser.importing.steps import ENDS, STEPS, TASK_INDEX

    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for name in (*STEPS, *ENDS, *TASK_INDEX, *hdf5.SUFFIXES, "obs", "next_obs", *hdf5.MACAW, "goal_idx"):
        assert re.search(rf"`[^`]*{re.escape(name)}[^`]*`", page), name
