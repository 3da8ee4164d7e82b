"""Other people's data: what is read, what is refused and in which words, and what becomes of the rest."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
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
from metadiffuser.importing.assemble import assemble, rank
from metadiffuser.importing.comparison import Tolerances
from metadiffuser.importing.layouts.minari import METADATA_FILE
from metadiffuser.importing.store import Imported, file_digest, read_imported
from metadiffuser.importing.tasklist import read_task_list
from tests.conftest import ROOT
from tests.helpers.foreign import FAMILY, STEPS, TASKS, arrays_of, play, write_foreign


def imported(folder: Path, reward: float = 1e-3, state: float = 2e-2) -> Imported:
    return assemble(read_task_list(folder, None, FAMILY), FAMILY, Tolerances(reward, state))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_foreign(tmp_path / "data")
    return tmp_path / "data"


def edit(path: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    """Rewrite an ``.npz`` file with its arrays changed in place."""
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(path, **arrays)


def edit_list(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    record = json.loads((folder / "tasks.json").read_text())
    change(record)
    (folder / "tasks.json").write_text(json.dumps(record))


class TestReading:
    def test_the_steps_of_a_file_become_its_episodes(self, tmp_path: Path) -> None:
        expected = write_foreign(tmp_path)
        found = imported(tmp_path)
        assert found.tasks == TASKS
        for index, episodes in expected.items():
            parts = [found.episodes[quality][index] for quality in ("expert", "medium", "random")]
            for name in ("observations", "actions", "rewards"):
                joined = np.concatenate([getattr(part, name) for part in parts])
                order = np.argsort(-episodes.returns, kind="stable")
                chosen = np.concatenate([np.sort(order[start : start + 2]) for start in (0, 2, 4)])
                np.testing.assert_array_equal(joined, getattr(episodes, name)[chosen])
        assert found.notes["labels"] == "ranked"
        assert 0 <= found.notes["reward_difference"] < 1e-5

    @pytest.mark.parametrize(
        "shape",
        [
            lambda a: a.pop("episode_ends"),
            lambda a: a.update(terminals=0 * a["episode_ends"], timeouts=a.pop("episode_ends")),
            lambda a: a.update(dones=0 * a.pop("episode_ends")),
            lambda a: a.update(rewards=a["rewards"][:, None]),
            lambda a: a.update({name: array.reshape(-1, STEPS, *array.shape[1:]) for name, array in a.items()}),
            lambda a: a.update({name: array.astype(float) for name, array in a.items()}),
            lambda a: a.update({"infos/qpos": a["observations"]}),
        ],
        ids=["no ends", "timeouts", "never done", "rewards (N, 1)", "(E, T)", "float64", "other arrays"],
    )
    def test_other_layouts_are_the_same_data(self, folder: Path, shape: Callable[[dict[str, Any]], Any]) -> None:
        before = imported(folder)
        for task in TASKS:
            edit(folder / f"goal{task.index}.npz", shape)
        after = imported(folder)
        for quality, by_task in before.episodes.items():
            for index, episodes in by_task.items():
                for name in ("observations", "actions", "rewards"):
                    other = getattr(after.episodes[quality][index], name)
                    np.testing.assert_array_equal(other, getattr(episodes, name))

    def test_labels_are_kept(self, folder: Path) -> None:
        def label(record: dict[str, Any]) -> None:
            for entry, other in zip(record["tasks"], (1, 2, 0, 4, 3), strict=True):  # of the same split
                # The labels say the opposite of the returns: a ranking would undo them.
                worse = f"goal{other}.npz"
                entry["data"] = {"expert": worse, "medium": worse, "random": entry["data"]}

        edit_list(folder, label)
        found = imported(folder, reward=10)
        np.testing.assert_array_equal(found.episodes["expert"][0].actions, play(TASKS[1], 6).actions)
        np.testing.assert_array_equal(found.episodes["random"][0].actions, play(TASKS[0], 6).actions)
        assert found.notes["labels"] == "given"

    def test_minari_datasets_of_this_project_need_no_list(self, tmp_path: Path) -> None:
        for task in TASKS:
            for number, quality in enumerate(("expert", "medium", "random")):
                episodes = play(task, 3, seed=number)
                write_dataset(tmp_path, FAMILY, task, quality, episodes, Provenance({}, 0.0, 1.0))
        found = imported(tmp_path)
        assert found.tasks == TASKS
        np.testing.assert_array_equal(found.episodes["medium"][2].rewards, play(TASKS[2], 3, seed=1).rewards)

    def test_tasks_of_unequal_size_are_cut_to_the_smallest_over_their_whole_ranking(self, tmp_path: Path) -> None:
        expected = write_foreign(tmp_path, (6, 9, 6, 12, 7))
        found = imported(tmp_path)
        assert found.notes["left_out"] == 10
        assert {len(by_task[i]) for by_task in found.episodes.values() for i in by_task} == {2}
        kept = np.concatenate([found.episodes[quality][3].returns for quality in found.episodes])
        assert kept.max() == expected[3].returns.max()
        assert kept.min() == expected[3].returns.min()

    @pytest.mark.parametrize("count", [3, 4, 5, 10])
    def test_ranking_divides_all_episodes_and_orders_the_parts(self, count: int) -> None:
        episodes = play(TASKS[0], count)
        parts = rank(episodes)
        assert [len(parts[quality]) for quality in parts] == [count // 3, count - 2 * (count // 3), count // 3]
        assert parts["expert"].returns.min() >= parts["medium"].returns.max()
        assert parts["medium"].returns.min() >= parts["random"].returns.max()
        assert sorted(np.concatenate([p.returns for p in parts.values()])) == sorted(episodes.returns)


def swap(first: str, second: str) -> Callable[[dict[str, Any]], None]:
    return lambda a: a.update({first: a[second], second: a[first]})


def put(name: str, index: Any, value: float) -> Callable[[dict[str, Any]], None]:
    return lambda a: a[name].__setitem__(index, value)


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "width": (
        lambda a: a.update(observations=np.c_[a["observations"], a["rewards"]]),
        r"observations has shape \(120, 3\); expected \(120, 2\)",
    ),
    "action width": (lambda a: a.update(actions=a["actions"][:, :1]), r"actions has shape \(120, 1\); expected"),
    "shorter": (lambda a: a.update(rewards=a["rewards"][:-1]), r"rewards has shape \(119,\); expected \(120,\)"),
    "scalar": (
        lambda a: a.update(observations=np.float32(1)),
        r"observations is a single number; expected an entry for each step",
    ),
    "nan": (put("observations", (7, 1), np.nan), r"observations\[7\] is \[.*nan\]; expected finite"),
    "infinite": (put("rewards", 119, np.inf), r"rewards\[119\] is inf; expected finite"),
    "empty": (lambda a: a.update({n: v[:0] for n, v in a.items()}), r"observations is empty; expected at least one"),
    "action range": (put("actions", (33, 0), -1.5), r"actions\[33\] is -1.5; expected actions in \[-1, 1\]$"),
    "swapped states": (swap("observations", "next_observations"), r"next_observations\[0\] differs from observations"),
    "swapped widths": (swap("observations", "actions"), r"next_observations\[0\] differs|actions\[\d+\] is"),
    "reward": (put("rewards", 21, 3.0), r"rewards\[21\] is 3; expected -.* for task 1, the largest difference of [34]"),
    "reward sign": (lambda a: a.update(rewards=-a["rewards"]), r"rewards\[\d+\] is .*; expected -"),
    "actions of other steps": (
        lambda a: a.update(actions=a["actions"][::-1].copy()),
        r"next_observations\[\d+\] has .* as entry \d; expected .* by the physics of task 1, .* --state-tolerance\)",
    ),
    "actions in metres": (
        lambda a: a.update(actions=0.1 * a["actions"]),
        r"actions\[\d+\] and the others are on another scale than Point-Robot has \(multiplied by 10, they lead to the "
        r"next observations: import with --action-scale 10\)",
    ),
    "actions in halves": (
        lambda a: a.update(actions=2 * a["actions"]),
        r"actions\[\d+\] is -?[12]\S*; expected actions in \[-1, 1\] \(multiplied by 0\.5, .* --action-scale 0\.5\)",
    ),
    "actions that were clipped": (
        lambda a: a.update(actions=np.where(np.abs(a["actions"]) == 1, 1.5, 1) * a["actions"]),
        r"actions\[\d+\] is -?1\.5; expected actions in \[-1, 1\] \(clipped to that, they lead to the next obs.*: clip",
    ),
    "missing": (lambda a: a.pop("actions"), r"has no array 'actions'; expected observations"),
    "text": (lambda a: a.update(rewards=np.full(120, "x")), r"rewards holds <U1; expected numbers"),
    "cut short": (
        lambda a: a.update({n: v[:-3] for n, v in a.items()}),
        r"rewards\[116\] is the last step but ends no episode",
    ),
    "cut short, no ends": (
        lambda a: [a.pop("episode_ends"), a.update({n: v[:-3] for n, v in a.items()})],
        r"rewards has 117 entries; expected a multiple of 20",
    ),
    "early end": (
        put("episode_ends", 45, 1),
        r"rewards\[45\] ends episode 2 after 6 steps; expected 20",
    ),
    "two episodes": (
        lambda a: a.update({n: v[:40] for n, v in a.items()}),
        r"2 episodes; expected at least 3, to rank them",
    ),
    "other length": (
        lambda a: [
            a.pop("episode_ends"),
            a.update({n: v.reshape(12, 10, *v.shape[1:]) for n, v in a.items()}),
        ],
        r"episodes of 10 steps; expected 20",
    ),
    "no columns": (
        lambda a: [
            a.update({n: v.reshape(6, STEPS, *v.shape[1:]) for n, v in a.items()}),
            a.update(observations=a["observations"][..., :0]),
        ],
        r"observations has shape \(120, 0\); expected \(120, 2\)",
    ),
    "ends of another length": (lambda a: a.update(episode_ends=np.ones(7, bool)), r"episode_ends has 7 entries"),
}


@pytest.mark.parametrize(("change", "words"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_arrays_are_refused_by_file_array_and_index(
    folder: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    imported(folder)
    edit(folder / "goal1.npz", change)
    with pytest.raises(InputError, match=rf"goal1\.npz: ({words})") as refused:
        imported(folder)
    assert "\n" not in str(refused.value)


def test_an_index_is_that_of_the_file(folder: Path) -> None:
    edit(folder / "goal1.npz", lambda a: a.update({n: v.reshape(6, STEPS, *v.shape[1:]) for n, v in a.items()}))
    imported(folder)
    edit(folder / "goal1.npz", put("next_observations", (2, 7, 1), np.nan))
    with pytest.raises(InputError, match=r"goal1\.npz: next_observations\[2, 7\] is \[.* nan\]; expected finite"):
        imported(folder)


def test_files_of_two_tasks_swapped_show_in_the_rewards(folder: Path) -> None:
    (folder / "goal0.npz").rename(folder / "x.npz")
    (folder / "goal1.npz").rename(folder / "goal0.npz")
    (folder / "x.npz").rename(folder / "goal1.npz")
    with pytest.raises(InputError, match=r"goal0\.npz: rewards\[\d+\] .* task 0, .* \(if .* --reward-tolerance\)"):
        imported(folder)
    assert imported(folder, reward=10).notes["reward_difference"] > 0.1


def test_objects_are_not_unpickled(folder: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "exploded"),))

    edit(folder / "goal2.npz", lambda a: a.update(rewards=np.array([Bomb()], dtype=object)))
    with pytest.raises(InputError, match=r"goal2\.npz: cannot be read \(.*allow_pickle=False"):
        imported(folder)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["../../escaped.npy", "/tmp/escaped.npy", "a\\..\\..\\escaped.npy"])
def test_a_path_in_an_archive_may_not_escape(folder: Path, name: str) -> None:
    with zipfile.ZipFile(folder / "goal0.npz", "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(InputError, match=r"goal0\.npz: holds '.*escaped\.npy', a path that leads outside"):
        imported(folder)


def test_a_member_in_another_format_is_named(folder: Path) -> None:
    with zipfile.ZipFile(folder / "goal0.npz", "w") as archive:
        archive.writestr("observations.npy", "1 2 3")
    with pytest.raises(InputError, match=r"goal0\.npz: observations is not stored as an array; expected numbers"):
        imported(folder)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x93NUMPY"])
def test_what_is_no_archive_is_named(folder: Path, content: bytes) -> None:
    (folder / "goal3.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"goal3\.npz: cannot be read"):
        imported(folder)


def entry(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record["tasks"][1].update(changes)


LISTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "outside": (entry(data="../x.npz"), r"tasks\[1\]\.data is '../x\.npz', which lies outside"),
    "absolute": (entry(data="/etc/passwd"), r"tasks\[1\]\.data is '/etc/passwd', which lies outside"),
    "null byte": (entry(data="a\0b.npz"), r"tasks\[1\]\.data is 'a\\x00b\.npz' \(.*null byte\); expected a path below"),
    "surrogate": (entry(data="\ud800.npz"), r"tasks\[1\]\.data is '\\ud800\.npz' \(.*\); expected a path below"),
    "long name": (entry(data="x" * 300), r"tasks\[1\]\.data is 'x{56}\.\.\. \(File name too long\); expected a path"),
    "no data": (lambda r: r["tasks"][1].pop("data"), r"tasks\[1\]\.data is None; expected a path"),
    "missing file": (entry(data="x.npz"), r"x\.npz: missing; the task list names it"),
    "not data": (entry(data="tasks.json"), r"tasks\.json: expected an \.npz file, the folder of a Minari"),
    "split": (entry(split="tset"), r"tasks\[1\]\.split is 'tset'; expected 'train' or 'test'"),
    "key": (entry(gaol=[0, 1]), r"tasks\[1\]: unknown key 'gaol'; did you mean 'goal'\?"),
    "no goal": (lambda r: r["tasks"][1].pop("goal"), r"tasks\[1\]: expected the parameters goal of Point-Robot"),
    "goal width": (entry(goal=[1.0]), r"tasks\[1\]\.goal is \[1\.0\]; expected 2 finite numbers"),
    "goal nan": (entry(goal=[1.0, float("nan")]), r"tasks\[1\]\.goal is \[1\.0, nan\]; expected 2 finite numbers"),
    "huge goal": (entry(goal=[10**400, 0]), r"tasks\[1\]\.goal is \[10{58}; expected 2 finite numbers"),
    "labels": (entry(data={"expert": "goal1.npz"}), r"tasks\[1\]\.data: no data of quality 'medium'"),
    "label": (entry(data={"good": "goal1.npz"}), r"tasks\[1\]\.data: unknown quality 'good'"),
    "some labelled": (
        entry(data=dict.fromkeys(("expert", "medium", "random"), "goal1.npz")),
        r"task 1 has data of expert and medium and random, task 0 of no quality label; expected the same",
    ),
    "no test task": (lambda r: r["tasks"].__delitem__(slice(3, 5)), r"no task has the split 'test'"),
    "no task": (lambda r: r["tasks"].clear(), r"no task has the split 'train'"),
    "not a list": (lambda r: r.update(tasks=3), r"expected a mapping with a list 'tasks'"),
    "length": (
        lambda r: r.update(episode_length=10),
        r"tasks\.json: episode_length is 10; expected 20, as episodes of",
    ),
    "huge length": (lambda r: r.update(episode_length=10**30), r"episode_length is 10{30}; expected 20"),
    "length of a kind": (lambda r: r.update(episode_length=True), r"episode_length is True; expected 20"),
}


@pytest.mark.parametrize(("change", "words"), LISTS.values(), ids=LISTS)
def test_mistakes_in_the_task_list_are_named(folder: Path, change: Callable[[dict[str, Any]], Any], words: str) -> None:
    edit_list(folder, change)
    with pytest.raises(InputError, match=words) as refused:
        imported(folder)
    assert "\n" not in str(refused.value)


def test_the_familys_own_length_may_be_stated(folder: Path) -> None:
    edit(folder / "goal0.npz", lambda a: a.pop("episode_ends"))
    edit_list(folder, lambda record: record.update(episode_length=STEPS))
    assert imported(folder).tasks == TASKS


def test_links_lead_nowhere(folder: Path, tmp_path: Path) -> None:
    (folder / "goal0.npz").rename(tmp_path / "elsewhere.npz")
    (folder / "goal0.npz").symlink_to(tmp_path / "elsewhere.npz")
    with pytest.raises(InputError, match=r"tasks\[0\]\.data is 'goal0\.npz', which lies outside"):
        imported(folder)
    (folder / "goal0.npz").unlink()
    (folder / "goal0.npz").symlink_to("goal0.npz")
    with pytest.raises(InputError, match=r"tasks\[0\]\.data is 'goal0\.npz' \(Symlink loop .*; expected|: missing;"):
        imported(folder)


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

    def test_a_dataset_without_episodes_is_refused(self, store: Path) -> None:
        metadata = data_folder(store, "point_robot", 1, "medium").parent / METADATA_FILE
        metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"total_episodes": 0}))
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


class TestStore:
    def test_round_trip_under_the_hash_of_the_contents(self, folder: Path, tmp_path: Path) -> None:
        found = imported(folder)
        digest = found.write(tmp_path / "store")
        (path,) = (tmp_path / "store").iterdir()
        assert path.name == f"{digest}.safetensors"
        assert file_digest(path) == digest
        read = read_imported(path)
        assert (read.family, read.tasks, read.notes) == (found.family, found.tasks, found.notes)
        for quality, by_task in found.episodes.items():
            for index, episodes in by_task.items():
                np.testing.assert_array_equal(read.episodes[quality][index].rewards, episodes.rewards)
        assert imported(folder).write(tmp_path / "again") == digest

    def test_the_hash_tells_other_data_and_another_split(self, folder: Path, tmp_path: Path) -> None:
        first = imported(folder).write(tmp_path / "store")
        edit_list(folder, entry(split="test"))
        second = imported(folder).write(tmp_path / "store")
        write_foreign(folder, seed=1)
        assert len({first, second, imported(folder).write(tmp_path / "store")}) == 3

    def test_other_contents_under_the_name_are_refused(self, folder: Path, tmp_path: Path) -> None:
        path = tmp_path / f"{imported(folder).write(tmp_path)}.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputError, match="its contents are not those that were imported; run 'metadiffuser"):
            read_imported(path)
        path.unlink()
        with pytest.raises(InputError, match="missing; run 'metadiffuser import'"):
            read_imported(path)


def test_the_example_of_the_documentation_imports(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```json\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "tasks.json").write_text(example)
    for index, record in enumerate(json.loads(example)["tasks"]):
        arrays = arrays_of(play(Task(index, record["split"], {"goal": tuple(record["goal"])}), 3))
        assert all(f"| `{name}` |" in page for name in arrays)
        np.savez(tmp_path / record["data"], **arrays)  # type: ignore[arg-type]
    assert [task.split for task in imported(tmp_path).tasks] == ["train", "train", "test"]
