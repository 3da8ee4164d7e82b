"""Buffers of one task in an HDF5 file, as D4RL and MACAW have them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from metadiffuser.data.episodes import Episodes
from metadiffuser.envs import FAMILIES
from metadiffuser.importing.layouts import hdf5
from metadiffuser.importing.steps import Request
from metadiffuser.importing.summary import summarise
from tests.helpers.foreign import STEPS, TASKS, imported, play
from tests.helpers.layouts import (
    assert_same,
    d4rl,
    edit,
    macaw,
    put,
    refusal,
    write_hdf5,
    write_layout,
)


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

    def test_what_is_no_file_is_named_as_such(self, folder: Path) -> None:
        (folder / "1.hdf5").unlink()
        (folder / "1.hdf5").mkdir()
        assert "1.hdf5: not a file; the task list names it" in refusal(folder)

    def test_a_file_of_minari_is_named_with_its_folder(self, folder: Path) -> None:
        (folder / "lab/data").mkdir(parents=True)
        write_hdf5(folder / "lab/data/main_data.hdf5", {"episode_0/rewards": np.zeros(STEPS)})
        record = json.loads((folder / "tasks.json").read_text())
        record["tasks"][1]["data"] = "lab/data/main_data.hdf5"
        (folder / "tasks.json").write_text(json.dumps(record))
        assert refusal(folder).endswith(f"as Minari's files; name the folder, {folder / 'lab'}")

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

    def test_without_next_states_the_order_is_unknown(self, folder: Path) -> None:
        edit(folder / "1.hdf5", lambda file: file.__delitem__("next_obs"))
        assert "1.hdf5: has no array 'next_obs', which tells in which order a buffer of MACAW" in refusal(folder)

    def test_states_that_are_no_numbers_are_named(self, folder: Path) -> None:
        edit(folder / "1.hdf5", put("obs", np.full((120, 2), "a", "S1")))
        assert refusal(folder).endswith("1.hdf5: obs holds |S1; expected numbers")

    def test_a_buffer_in_the_order_of_time_is_read_as_it_is(self, folder: Path) -> None:
        arrays = macaw(play(TASKS[1], 6))
        order = np.concatenate([np.arange(STEPS)[::-1] + STEPS * number for number in range(6)])
        write_hdf5(folder / "1.hdf5", {name: a[order] if np.ndim(a) else a for name, a in arrays.items()})
        assert_same(imported(folder), {1: play(TASKS[1], 6)})

    @pytest.mark.parametrize("kind", ["u1", "?"])
    def test_states_that_are_whole_numbers_or_truth_values_are_put_in_order(self, tmp_path: Path, kind: str) -> None:
        states = np.array([[0], [1], [1], [0], [1], [0]], kind)
        backwards = {"obs": states[:-1][::-1], "next_obs": states[1:][::-1]}
        rest = {"actions": np.zeros((5, 1)), "rewards": np.arange(5.0)[::-1], "mc_rewards": np.zeros(5)}
        write_hdf5(tmp_path / "1.hdf5", {**backwards, **rest})
        found = hdf5.read(Request(tmp_path / "1.hdf5", FAMILIES["point_robot"]))
        assert found is not None
        assert found.arrays["rewards"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert found.arrays["observations"].tolist() == states[:-1].tolist()

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
