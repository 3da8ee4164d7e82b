"""The layouts of the field: each is read as the same episodes, and each way in which one is wrong is one sentence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from metadiffuser.data.episodes import Episodes
from metadiffuser.errors import InputError
from metadiffuser.importing.assemble import assemble
from metadiffuser.importing.comparison import Tolerances
from metadiffuser.importing.store import Imported
from metadiffuser.importing.summary import summarise
from metadiffuser.importing.tasklist import read_task_list
from tests.conftest import ROOT
from tests.helpers.foreign import FAMILY, STEPS, TASKS, play
from tests.helpers.layouts import d4rl, macaw, mixture, write_focal_objects, write_hdf5, write_layout

LAYOUTS = ["D4RL", "MACAW", "FOCAL", "arrays", "mixture hdf5", "mixture npz"]


def imported(folder: Path, reward: float = 1e-3) -> Imported:
    return assemble(read_task_list(folder, None, FAMILY), FAMILY, Tolerances(reward, 2e-2))


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


class TestD4RL:
    """Flat arrays at the root of an HDF5 file."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_layout(tmp_path / "data", "D4RL")
        return tmp_path / "data"

    def test_a_last_episode_that_the_file_breaks_off_is_cut_with_a_notice(self, folder: Path) -> None:
        longer = d4rl(play(TASKS[1], 7))
        write_hdf5(folder / "1.hdf5", {name: array[: 6 * STEPS + 13] for name, array in longer.items()})
        found = imported(folder)
        assert found.notes["unfinished"] == 13
        assert "Cut: 13 steps of episodes that the files break off." in summarise(found)
        whole = Episodes(*(getattr(play(TASKS[1], 7), name)[:6] for name in ("observations", "actions", "rewards")))
        assert_same(found, {1: whole})

    def test_a_break_is_cut_where_no_flag_is_ever_true(self, folder: Path) -> None:
        longer = d4rl(play(TASKS[1], 7))
        cut = {name: array[: 6 * STEPS + 13] for name, array in longer.items() if name != "timeouts"}
        write_hdf5(folder / "1.hdf5", cut)
        assert imported(folder).notes["unfinished"] == 13

    def test_without_next_observations_the_rows_are_shifted_and_last_ones_computed(self, folder: Path) -> None:
        expected = {task.index: play(task, 6) for task in TASKS}
        for task in TASKS:
            edit(folder / f"{task.index}.hdf5", lambda file: file.__delitem__("next_observations"))
        found = imported(folder)
        assert found.notes["computed"] == 6 * len(TASKS)
        assert "Computed: 30 last observations of episodes" in " ".join(summarise(found))
        order = np.argsort(-expected[2].returns, kind="stable")[:2]
        best = found.episodes["expert"][2]
        np.testing.assert_array_equal(best.actions, expected[2].actions[np.sort(order)])
        np.testing.assert_allclose(best.observations, expected[2].observations[np.sort(order)], rtol=0, atol=1e-6)

    def test_shuffled_rows_show_without_next_observations(self, folder: Path) -> None:
        def shuffle(file: Any) -> None:
            del file["next_observations"]
            file["observations"][...] = np.roll(file["observations"][()], 3, axis=0)

        edit(folder / "1.hdf5", shuffle)
        assert re.search(r"1\.hdf5: next_observations\[\d+\] has .* by the physics of task 1", refusal(folder))

    def test_displacements_are_found_without_next_observations(self, folder: Path) -> None:
        def shrink(file: Any) -> None:
            del file["next_observations"]
            file["actions"][...] = 0.1 * file["actions"][()]

        edit(folder / "0.hdf5", shrink)
        assert "import with --action-scale 10)" in refusal(folder)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda file: file.__delitem__("actions"), r"has no array 'actions'; expected observations, actions, rew"),
            (lambda file: file.create_group("obs"), None),  # its other name is there as well, and counts
            (put("observations", np.zeros((120, 3))), r"observations has shape \(120, 3\); expected \(120, 2\)"),
            (put("rewards", np.zeros(119)), r"rewards has shape \(119,\); expected \(120,\)"),
            (put("timeouts", np.ones(7, bool)), r"timeouts has 7 entries; expected 120, as observations"),
            (put("actions", np.full((120, 2), "a", "S1")), r"actions holds \|S1; expected numbers"),
            (put("rewards", h5py.Empty("f4")), r"rewards is not stored as an array; expected numbers"),
            (lambda file: file["rewards"].__setitem__(9, np.nan), r"rewards\[9\] is nan; expected finite"),
            (lambda file: file["terminals"].__setitem__(45, True), r"rewards\[45\] ends episode 2 after 6 steps; exp"),
            (lambda file: file["timeouts"].__setitem__(59, False), r"rewards\[79\] ends episode 2 after 40 steps; exp"),
            (
                lambda file: file["timeouts"].__setitem__(slice(80, None), False),
                r"rewards\[119\] is the last step but ends no episode; expected whole",
            ),
            (
                lambda file: [
                    put(name, file[name][:13])(file)
                    for name in ("observations", "actions", "rewards", "next_observations", "timeouts", "terminals")
                ],
                r"rewards has 13 entries; expected a multiple of 20",
            ),
        ],
    )
    def test_damage_is_named(self, folder: Path, change: Callable[[Any], Any], words: str | None) -> None:
        edit(folder / "1.hdf5", change)
        if words is None:
            assert imported(folder).tasks == TASKS
        else:
            assert re.search(rf"/1\.hdf5: {words}", refusal(folder))

    def test_what_is_no_hdf5_and_what_is_missing_are_named(self, folder: Path) -> None:
        (folder / "1.hdf5").write_bytes(b"PK")
        assert re.search(r"/1\.hdf5: cannot be read \(.*\); expected arrays of numbers", refusal(folder))
        (folder / "1.hdf5").unlink()
        assert refusal(folder).endswith("/1.hdf5: missing; the task list names it")

    def test_links_and_storage_elsewhere_are_not_followed(self, folder: Path, tmp_path: Path) -> None:
        (folder / "0.hdf5").rename(tmp_path / "other.hdf5")
        write_hdf5(folder / "0.hdf5", {})

        def link(file: Any) -> None:
            for name in ("observations", "actions", "rewards", "next_observations"):
                file[name] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), name)

        edit(folder / "0.hdf5", link)
        assert "0.hdf5: observations is a link; expected the data to lie in the file itself" in refusal(folder)

        def outside(file: Any) -> None:
            (tmp_path / "raw").write_bytes(bytes(960))
            file.create_dataset("observations", (120, 2), "f4", external=[(str(tmp_path / "raw"), 0, 960)])

        write_hdf5(folder / "0.hdf5", {})
        edit(folder / "0.hdf5", outside)
        assert "0.hdf5: observations keeps its data in another file" in refusal(folder)


class TestMacaw:
    """Replay buffers that hold each trajectory from its last step to its first."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_layout(tmp_path / "data", "MACAW")
        return tmp_path / "data"

    @pytest.mark.parametrize("told_by", ["discounts", "terminals", "neither", "discount of 1"])
    def test_trajectories_are_told_apart_by_whatever_tells_them(self, folder: Path, told_by: str) -> None:
        for task in TASKS:
            arrays = macaw(play(task, 6))
            if told_by == "discount of 1":
                arrays["terminal_discounts"][...] = 1
            elif told_by != "discounts":
                del arrays["terminal_discounts"]
            if told_by == "terminals":
                arrays["terminals"][::STEPS] = True  # the last step is stored first
            write_hdf5(folder / f"{task.index}.hdf5", arrays)
        assert_same(imported(folder), {task.index: play(task, 6) for task in TASKS})

    def test_a_buffer_in_the_order_of_time_is_read_as_it_is(self, folder: Path) -> None:
        arrays = macaw(play(TASKS[1], 6))
        order = np.concatenate([np.arange(STEPS)[::-1] + STEPS * number for number in range(6)])
        write_hdf5(folder / "1.hdf5", {name: a[order] if np.ndim(a) else a for name, a in arrays.items()})
        assert_same(imported(folder), {1: play(TASKS[1], 6)})

    def test_a_last_trajectory_without_its_first_steps_is_cut(self, folder: Path) -> None:
        arrays = macaw(play(TASKS[1], 7))
        write_hdf5(folder / "1.hdf5", {n: a[: 6 * STEPS + 5] if np.ndim(a) else a for n, a in arrays.items()})
        found = imported(folder)
        assert found.notes["unfinished"] == 5
        whole = Episodes(*(getattr(play(TASKS[1], 7), name)[:6] for name in ("observations", "actions", "rewards")))
        assert_same(found, {1: whole})

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (put("terminal_discounts", np.ones(7)), r"terminal_discounts has 7 entries; expected 120, as obs"),
            (put("terminals", np.ones(7)), r"terminals has 7 entries; expected 120, as observations"),
            (lambda file: file.__delitem__("obs"), r"has no array 'observations'; expected"),
            (lambda file: file["next_obs"].__setitem__((31, 0), np.nan), r"next_obs\[31\] is \[ *nan.*\]; expected"),
            (put("next_obs", np.zeros((120, 3))), r"next_observations has shape \(120, 3\); expected \(120, 2\)"),
        ],
    )
    def test_damage_is_named(self, folder: Path, change: Callable[[Any], Any], words: str) -> None:
        edit(folder / "1.hdf5", change)
        assert re.search(rf"/1\.hdf5: {words}", refusal(folder))


class TestNpy:
    """Folders of trajectories by goal, and of one file for each array."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_layout(tmp_path / "data", "FOCAL")
        return tmp_path / "data"

    def test_objects_are_refused_with_a_conversion_that_works(self, folder: Path) -> None:
        for task in TASKS:
            for file in (folder / f"goal_idx{task.index}").iterdir():
                file.unlink()
            (folder / f"goal_idx{task.index}").rmdir()
            write_focal_objects(folder / f"goal_idx{task.index}", play(task, 6))
        for _ in TASKS:  # the message names the folder of the first file that holds objects
            said = refusal(folder)
            assert re.search(r"trj_evalsample0_step500\.npy: holds Python objects, which are not read", said)
            conversion = said.split("by the three lines: ")[1]
            assert conversion.count("; ") == 2
            subprocess.run([sys.executable, "-c", conversion], check=True)
        assert_same(imported(folder), {task.index: play(task, 6) for task in TASKS})

    def test_objects_are_not_unpickled(self, folder: Path, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> Any:
                return (os.mkdir, (str(tmp_path / "exploded"),))

        bomb = np.array([[Bomb()] * 4], dtype=object)
        np.save(folder / "goal_idx0/trj_evalsample0_step1.npy", bomb, allow_pickle=True)
        assert "trj_evalsample0_step1.npy: holds Python objects" in refusal(folder)
        assert not (tmp_path / "exploded").exists()

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
        path.write_bytes(b"\x93NUMPY")
        assert "trj_evalsample0_step500.npy: cannot be read" in refusal(folder)
        path.unlink()
        np.save(tmp_path / "elsewhere.npy", rows)
        path.symlink_to(tmp_path / "elsewhere.npy")
        assert "trj_evalsample0_step500.npy: is a link; expected the data to lie in the folder itself" in refusal(
            folder
        )


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
            (None, "has no array of task numbers (task_index, "),
        ],
    )
    def test_a_wrong_index_is_named(self, folder: Path, index: Any, words: str) -> None:
        arrays = mixture({task.index: play(task, 6) for task in TASKS})
        del arrays["task_index"]
        write_hdf5(folder / "all.hdf5", arrays if index is None else arrays | {"task_index": index})
        assert f"/all.hdf5: {words}" in refusal(folder)

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
        assert said.endswith("1.hdf5; expected an unseen task to have data of its own")

    def test_episodes_of_a_training_task_under_another_name_are_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / "data"
        write_layout(folder, "D4RL")
        own, other = play(TASKS[4], 6), play(TASKS[1], 6)
        parts = [own.select(np.arange(2)), other.select(np.arange(1, 5))]
        write_hdf5(folder / "4.hdf5", d4rl(Episodes.join(parts)))
        words = r"4\.hdf5: 4 of 6 episodes are also in .*/1\.hdf5, of a training task; expected the unseen task 4 to"
        with pytest.raises(InputError, match=words):
            imported(folder, reward=10)

    def test_an_unseen_task_with_the_parameters_of_a_training_task_is_remarked_on(self, tmp_path: Path) -> None:
        folder = tmp_path / "data"
        write_layout(folder, "D4RL")
        record = json.loads((folder / "tasks.json").read_text())
        record["tasks"][4]["goal"] = record["tasks"][1]["goal"]
        (folder / "tasks.json").write_text(json.dumps(record))
        write_hdf5(folder / "4.hdf5", d4rl(play(TASKS[1], 6, seed=1)))
        remark = "Task 4: unseen by its split, but its parameters are those of training task 1."
        assert remark in summarise(imported(folder))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_task_list_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    write_layout(tmp_path / "data", "D4RL")
    path = tmp_path / "data/tasks.json"
    path.write_text(path.read_text(), encoding=encoding)
    if encoding == "utf-8-sig":
        assert imported(tmp_path / "data").tasks == TASKS
    else:
        assert refusal(tmp_path / "data").endswith("tasks.json: not UTF-8 text; save it as UTF-8")


def test_the_page_names_every_array_and_layout() -> None:
    from metadiffuser.importing.layouts import hdf5
    from metadiffuser.importing.steps import ENDS, STEPS, TASK_INDEX

    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for name in (*STEPS, *ENDS, *TASK_INDEX, *hdf5.SUFFIXES, "obs", "next_obs", *hdf5.MACAW, "goal_idx"):
        assert re.search(rf"`[^`]*{re.escape(name)}[^`]*`", page), name
