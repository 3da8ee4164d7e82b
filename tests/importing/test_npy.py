"""Folders of ``.npy`` files: trajectories by goal, as FOCAL has them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.foreign import STEPS, TASKS, arrays_of, imported, play
from tests.helpers.layouts import (
    assert_same,
    refusal,
    write_focal_objects,
    write_layout,
)


class TestNpy:
    """Folders of trajectories by goal, and of one file for each array."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_layout(tmp_path / "data", "FOCAL")
        return tmp_path / "data"

    def test_objects_are_refused_with_a_conversion_that_works(self, folder: Path) -> None:
        kept = {"whole": (3, STEPS, 7), "rewards": (STEPS,)}
        for task in TASKS:
            for file in (folder / f"goal_idx{task.index}").iterdir():
                file.unlink()
            (folder / f"goal_idx{task.index}").rmdir()
            write_focal_objects(folder / f"goal_idx{task.index}", play(task, 6))
            (folder / f"goal_idx{task.index}/kept").mkdir()
            for name, shape in kept.items():
                np.save(folder / f"goal_idx{task.index}/kept/{name}.npy", np.ones(shape))
        for _ in TASKS:  # the message names the folder of the first file that holds objects
            said = refusal(folder)
            assert re.search(r"trj_evalsample0_step500\.npy: holds Python objects, which are not read", said)
            conversion = said.split("by the three lines: ")[1]
            assert conversion.count("; ") == 2
            subprocess.run([sys.executable, "-c", conversion], check=True)
        for task in TASKS:
            for name, shape in kept.items():
                numbers = np.load(folder / f"goal_idx{task.index}/kept/{name}.npy")
                assert np.array_equal(numbers, np.ones(shape)), "numbers are left as they are"
        assert_same(imported(folder), {task.index: play(task, 6) for task in TASKS})

    def test_objects_are_not_unpickled(self, folder: Path, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> Any:
                return (os.mkdir, (str(tmp_path / "exploded"),))

        bomb = np.array([[Bomb()] * 4], dtype=object)
        np.save(folder / "goal_idx0/trj_evalsample0_step1.npy", bomb, allow_pickle=True)
        assert "trj_evalsample0_step1.npy: holds Python objects" in refusal(folder)
        assert not (tmp_path / "exploded").exists()

    def test_a_mapping_in_one_object_is_refused_with_a_conversion_that_works(self, folder: Path) -> None:
        np.save(folder / "zero.npy", np.array(arrays_of(play(TASKS[0], 6)), dtype=object), allow_pickle=True)
        record = json.loads((folder / "tasks.json").read_text())
        record["tasks"][0]["data"] = "zero.npy"
        (folder / "tasks.json").write_text(json.dumps(record))
        said = refusal(folder)
        assert "zero.npy: holds one Python object, which are not read" in said
        conversion = said.split("by the lines: ")[1].split(", and name the .npz file")[0]
        subprocess.run([sys.executable, "-c", conversion], check=True)
        record["tasks"][0]["data"] = "zero.npz"
        (folder / "tasks.json").write_text(json.dumps(record))
        assert_same(imported(folder), {0: play(TASKS[0], 6)})

    def test_hidden_files_are_passed_over(self, folder: Path) -> None:
        (folder / "goal_idx1/._trj_evalsample0_step500.npy").write_bytes(b"\0\5\x16\7")
        assert_same(imported(folder), {1: play(TASKS[1], 6)})

    @pytest.mark.parametrize("lacking", ["observations", "actions", "rewards"])
    def test_a_folder_of_arrays_that_lacks_one_names_it_and_what_there_is(self, tmp_path: Path, lacking: str) -> None:
        write_layout(tmp_path / "arrays", "arrays")
        (tmp_path / f"arrays/1/{lacking}.npy").unlink()
        said = refusal(tmp_path / "arrays")
        assert f"arrays/1: has no array '{lacking}'; expected observations, actions, rewards; it has " in said
        assert "next_observations" in said

    def test_a_folder_without_data_is_named(self, folder: Path) -> None:
        for file in (folder / "goal_idx1").iterdir():
            file.unlink()
        assert "goal_idx1: no data in this folder; expected an .npz file, " in refusal(folder)

    def test_a_pickle_is_refused_with_a_conversion(self, folder: Path) -> None:
        record = json.loads((folder / "tasks.json").read_text())
        record["tasks"][0]["data"] = "dataset_task_0.pkl"
        (folder / "tasks.json").write_text(json.dumps(record))
        (folder / "dataset_task_0.pkl").write_bytes(b"\x80\x04.")
        assert "dataset_task_0.pkl: pickles are not read, as unpickling can run code" in refusal(folder)

    def test_several_episodes_may_be_in_one_file(self, folder: Path) -> None:
        rows = np.array(play(TASKS[0], 6).transitions())
        np.save(folder / "all.npy", rows)
        record = json.loads((folder / "tasks.json").read_text())
        record["tasks"][0]["data"] = "all.npy"
        (folder / "tasks.json").write_text(json.dumps(record))
        assert_same(imported(folder), {0: play(TASKS[0], 6)})
        rows[2, 5, 4] = 3
        np.save(folder / "all.npy", rows)
        assert "all.npy: rewards of row 5 of episode 2 is 3; expected -" in refusal(folder)

    def test_other_shapes_lengths_and_links_are_named(self, folder: Path, tmp_path: Path) -> None:
        path = folder / "goal_idx1/trj_evalsample0_step500.npy"
        rows = np.load(path)
        np.save(path, rows[:, :6])
        assert "step500.npy: has shape (20, 6); expected (T, 7), rows of s (2), a (2), r (1) and s' (2)" in refusal(
            folder
        )
        np.save(path, rows[:11])
        assert "rewards of row 10 ends episode 0 after 11 steps; expected 20" in refusal(folder)
        for content in (b"\x93NUMPY", b"", b"no array", b"\x80\x04."):
            path.write_bytes(content)
            said = refusal(folder)
            assert "trj_evalsample0_step500.npy: not a whole .npy file; expected what np.save writes" in said
            assert "pickle" not in said
        path.unlink()
        np.save(tmp_path / "elsewhere.npy", rows)
        path.symlink_to(tmp_path / "elsewhere.npy")
        assert "trj_evalsample0_step500.npy: is a link; expected the data to lie in the folder itself" in refusal(
            folder
        )
