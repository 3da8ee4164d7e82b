"""Minari datasets: what is read of a folder of them, and what is refused in which words."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import DATA_FILE, Provenance, data_folder, write_dataset
from metadiffuser.envs import Task, get_family
from metadiffuser.errors import InputError
from metadiffuser.importing.layouts.minari import METADATA_FILE
from tests.helpers.foreign import FAMILY, STEPS, TASKS, imported, play


class TestMinari:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Path:
        for task in TASKS:
            for quality in ("expert", "medium", "random"):
                write_dataset(tmp_path, FAMILY, task, quality, play(task, 3), Provenance({}, 0.0, 1.0))
        return tmp_path

    def damage(self, store: Path, change: Callable[[Any], Any]) -> None:
        with h5py.File(data_folder(store, "point_robot", 1, "medium") / DATA_FILE, "r+") as file:
            change(file)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (
                lambda f: f["episode_2/rewards"].__setitem__(4, np.nan),
                r"episode_2/rewards\[4\] is nan; expected",
            ),
            (lambda f: f["episode_1/observations"].__setitem__((20, 0), np.nan), r"episode_1/observations\[20\] is"),
            (lambda f: f["episode_0/actions"].__setitem__((3, 1), 7), r"episode_0/actions\[3\] is 7; expected actions"),
            (lambda f: f["episode_1"].__delitem__("actions"), r"has no episode_1/actions; expected Minari's layout"),
            (lambda f: f.__delitem__("episode_1"), r"has no episode_1; expected Minari's layout"),
        ],
    )
    def test_damage_is_refused_by_file_array_and_index(
        self, store: Path, change: Callable[[Any], Any], words: str
    ) -> None:
        imported(store)
        self.damage(store, change)
        with pytest.raises(InputError, match=rf"001-medium-v0/data/main_data\.hdf5: {words}"):
            imported(store)

    def test_an_array_of_nothing_is_named(self, store: Path) -> None:
        def empty(file: Any) -> None:
            del file["episode_0/rewards"]
            file["episode_0/rewards"] = h5py.Empty("f4")

        self.damage(store, empty)
        with pytest.raises(InputError, match="episode_0/rewards is not stored as an array; expected numbers"):
            imported(store)

    def test_other_families_and_projects_are_passed_over(self, store: Path) -> None:
        other = Task(0, "train", {"speed": (1.0,)})
        cheetah = get_family("cheetah_vel")
        steps = cheetah.episode_length
        episodes = Episodes(*(np.zeros((1, *shape), np.float32) for shape in ((steps + 1, 17), (steps, 6), (steps,))))
        write_dataset(store, cheetah, other, "expert", episodes, Provenance({}, 0.0, 1.0))
        (store / "D4RL/door/human-v2/data").mkdir(parents=True)
        (store / "D4RL/door/human-v2/data/metadata.json").write_text('{"dataset_id": "D4RL/door/human-v2"}')
        assert imported(store).tasks == TASKS
        shutil.rmtree(store / "metadiffuser/point_robot")
        with pytest.raises(
            InputError, match=r"no dataset of metadiffuser/point_robot .*D4RL/door/human-v2, metadiffuser/cheetah_vel"
        ):
            imported(store)

    @pytest.mark.parametrize("same", [True, False])
    def test_data_that_come_twice_are_refused_by_both_folders(self, store: Path, tmp_path: Path, same: bool) -> None:
        root = tmp_path / "both"
        first, second = root / "a/metadiffuser/point_robot", root / "b/metadiffuser/point_robot"
        shutil.copytree(store / "metadiffuser/point_robot", first)
        another = Task(1, "train", {"goal": (0.0, 0.25)})
        quality = "medium" if same else "mixed"
        write_dataset(
            root / "b", FAMILY, TASKS[1] if same else another, quality, play(another, 3), Provenance({}, 0.0, 1.0)
        )
        words = "both hold the medium data of task 1" if same else "both are of task 1, and it is not the same"
        earlier = first / f"001-{'medium' if same else 'expert'}-v0"
        named = re.escape(f"{earlier} and {second / f'001-{quality}-v0'}: {words}; import")
        with pytest.raises(InputError, match=named):
            imported(root)

    def test_a_dataset_of_unknown_origin_is_not_passed_over(self, store: Path) -> None:
        metadata = data_folder(store, "point_robot", 1, "medium").parent / METADATA_FILE
        metadata.write_text("{}")
        with pytest.raises(InputError, match=r"001-medium-v0/data/metadata\.json: says neither task nor quality"):
            imported(store)

    def tell(self, store: Path, **changes: Any) -> None:
        metadata = data_folder(store, "point_robot", 1, "medium").parent / METADATA_FILE
        metadata.write_text(json.dumps(json.loads(metadata.read_text()) | changes))

    @pytest.mark.parametrize("told", [0, 2, "three", 3.0, True, None])
    def test_metadata_that_name_another_number_of_episodes_are_refused(self, store: Path, told: Any) -> None:
        self.tell(store, total_episodes=told)
        words = (
            rf"001-medium-v0/data/metadata\.json: total_episodes is {told!r}; expected 3, as data/main_data\.hdf5 has"
        )
        with pytest.raises(InputError, match=words):
            imported(store)

    def test_an_episode_of_other_sizes_is_named(self, store: Path) -> None:
        def narrow(file: Any) -> None:
            rows = file["episode_2/observations"][()]
            del file["episode_2/observations"]
            file["episode_2/observations"] = rows[:, :1]

        self.damage(store, narrow)
        words = "main_data.hdf5: episode_2/observations has entries of another shape than in the episodes before it"
        with pytest.raises(InputError, match=words):
            imported(store)

    def test_a_dataset_in_another_format_than_hdf5_is_named_with_it(self, store: Path) -> None:
        self.tell(store, data_format="arrow")
        (data_folder(store, "point_robot", 1, "medium") / DATA_FILE).unlink()
        words = r"001-medium-v0: a Minari dataset without data/main_data\.hdf5 \(its data_format is 'arrow'\); expected"
        with pytest.raises(InputError, match=words):
            imported(store)

    def test_metadata_that_are_no_json_are_named_as_such(self, store: Path) -> None:
        (data_folder(store, "point_robot", 1, "medium").parent / METADATA_FILE).write_text("{")
        with pytest.raises(InputError, match=r"metadata\.json: cannot be read .*expected the description that Minari"):
            imported(store)

    def test_a_dataset_without_episodes_is_refused(self, store: Path) -> None:
        self.damage(store, lambda file: file.clear())
        self.tell(store, total_episodes=0)
        with pytest.raises(
            InputError, match=r"001-medium-v0/data/main_data\.hdf5: has no episodes; expected episode_0"
        ):
            imported(store)

    def test_links_and_storage_elsewhere_are_not_followed(self, store: Path, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "other.hdf5", "w") as other:
            other["rewards"] = np.zeros(STEPS)

        def link(file: Any) -> None:
            del file["episode_0/rewards"]
            file["episode_0/rewards"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "rewards")

        self.damage(store, link)
        with pytest.raises(InputError, match="rewards is a link; expected the data to lie in the file itself"):
            imported(store)

        def outside(file: Any) -> None:
            del file["episode_0/rewards"]
            (tmp_path / "raw").write_bytes(bytes(4 * STEPS))
            where = [(str(tmp_path / "raw"), 0, 4 * STEPS)]
            file["episode_0"].create_dataset("rewards", (STEPS,), "f4", external=where)

        self.damage(store, outside)
        with pytest.raises(InputError, match="rewards keeps its data in another file"):
            imported(store)
