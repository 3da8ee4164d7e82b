"""The dataset store: equal bytes, Minari's own reader, and errors that name the file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import h5py
import minari
import numpy as np
import pytest

from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import (
    Provenance,
    data_folder,
    dataset_id,
    read_dataset,
    read_family,
    write_dataset,
)
from metadiffuser.envs import Task, get_family
from metadiffuser.errors import InputError

FAMILY = get_family("point_robot")
TASKS = [Task(index, "train", {"goal": (0.1 * index, -0.5)}) for index in range(3)]
PROVENANCE = Provenance({"algorithm": "SAC", "checkpoint": 3}, random_return=-20.0, expert_return=-4.0)


def some_episodes(seed: int, count: int = 4) -> Episodes:
    generator = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return generator.uniform(-1, 1, shape).astype(np.float32)

    steps = FAMILY.episode_length
    return Episodes(draw(count, steps + 1, 2), draw(count, steps, 2), draw(count, steps))


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_round_trip_of_a_family(tmp_path: Path) -> None:
    written = {
        (quality, task.index): some_episodes(10 * task.index + len(quality))
        for quality in ("expert", "random")
        for task in TASKS
    }
    for (quality, index), episodes in written.items():
        write_dataset(tmp_path, FAMILY, TASKS[index], quality, episodes, PROVENANCE)
    read = read_family(tmp_path, TASKS[:2], ["random", "expert"])
    assert list(read) == ["random", "expert"]
    for quality, by_task in read.items():
        assert list(by_task) == [0, 1]
        for index, episodes in by_task.items():
            for name in ("observations", "actions", "rewards"):
                expected = getattr(written[quality, index], name)
                assert getattr(episodes, name).dtype == np.float32
                np.testing.assert_array_equal(getattr(episodes, name), expected)


def test_equal_arguments_give_equal_bytes_at_any_time(tmp_path: Path) -> None:
    episodes = some_episodes(1)
    write_dataset(tmp_path / "first", FAMILY, TASKS[1], "expert", episodes, PROVENANCE)
    time.sleep(1.1)  # HDF5 and JSON time stamps count seconds
    write_dataset(tmp_path / "second", FAMILY, TASKS[1], "expert", episodes, PROVENANCE)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    write_dataset(tmp_path / "third", FAMILY, TASKS[1], "expert", some_episodes(2), PROVENANCE)
    assert contents(tmp_path / "first") != contents(tmp_path / "third")


@pytest.mark.filterwarnings("error")
def test_minari_loads_it_and_recovers_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = some_episodes(3)
    write_dataset(tmp_path, FAMILY, TASKS[2], "medium", episodes, PROVENANCE)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset = minari.load_dataset("metadiffuser/point_robot/002-medium-v0")
    assert dataset.total_episodes == len(episodes)
    assert dataset.total_steps == episodes.rewards.size
    assert dataset_id("point_robot", 2, "medium") in minari.list_local_datasets()
    for number, episode in enumerate(dataset.iterate_episodes()):
        np.testing.assert_array_equal(episode.observations, episodes.observations[number])
        np.testing.assert_array_equal(episode.actions, episodes.actions[number])
        np.testing.assert_array_equal(episode.rewards, episodes.rewards[number])
        assert not episode.terminations.any()
        assert episode.truncations.tolist() == [False] * (FAMILY.episode_length - 1) + [True]
        assert dataset.observation_space.contains(episode.observations[0])
    metadata = dataset.storage.metadata
    assert metadata["task"] == TASKS[2].to_json()
    assert metadata["policy"] == PROVENANCE.policy
    assert minari.get_normalized_score(dataset, np.array(-12.0)) == pytest.approx(0.5)
    environment = dataset.recover_environment()
    assert environment.unwrapped.task == TASKS[2]
    environment.close()


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing"):
        read_family(tmp_path, TASKS, ["expert"])
    write_dataset(tmp_path, FAMILY, TASKS[0], "expert", some_episodes(5), PROVENANCE)
    with pytest.raises(InputError, match=r"001-expert-v0.*missing"):
        read_family(tmp_path, TASKS, ["expert"])
    path = data_folder(tmp_path, "point_robot", 0, "expert") / "main_data.hdf5"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(InputError, match=r"000-expert-v0.*damaged"):
        read_dataset(tmp_path, "point_robot", 0, "expert")
    path.write_bytes(whole)
    metadata = path.parent / "metadata.json"
    record = metadata.read_text()
    metadata.write_text(record.replace('"total_episodes": 4', '"total_episodes": 4000000000'))
    with pytest.raises(InputError, match=r"damaged \(4 episodes, and metadata\.json tells of 4000000000\)"):
        read_dataset(tmp_path, "point_robot", 0, "expert")
    for broken in ("{", "[" * 100_000):
        metadata.write_text(broken)
        with pytest.raises(InputError, match=r"metadata\.json.*damaged"):
            read_dataset(tmp_path, "point_robot", 0, "expert")


def as_group(file: h5py.File) -> None:
    del file["episode_0/observations"]
    file.create_group("episode_0/observations")


def as_large(file: h5py.File) -> None:
    del file["episode_0/rewards"]
    file["episode_0"].create_dataset("rewards", (2**50,), "f4", chunks=(1024,))


@pytest.mark.parametrize("kind", [as_group, as_large, "1e400", "null", "[4]"])
def test_what_only_looks_like_a_dataset_is_damage(tmp_path: Path, kind: Callable[[h5py.File], None] | str) -> None:
    write_dataset(tmp_path, FAMILY, TASKS[0], "expert", some_episodes(5), PROVENANCE)
    path = data_folder(tmp_path, "point_robot", 0, "expert") / "main_data.hdf5"
    if isinstance(kind, str):
        metadata = path.parent / "metadata.json"
        metadata.write_text(metadata.read_text().replace('"total_episodes": 4', f'"total_episodes": {kind}'))
    else:
        with h5py.File(path, "r+") as file:
            kind(file)
    with pytest.raises(InputError, match=r"000-expert-v0.*main_data\.hdf5: damaged \(.*; run collect_dataset again"):
        read_dataset(tmp_path, "point_robot", 0, "expert")


@pytest.mark.parametrize(("name", "wrong"), [("episode_2", "is a link"), ("episode_2/rewards", "leads elsewhere")])
def test_links_to_other_files_are_not_followed(tmp_path: Path, name: str, wrong: str) -> None:
    write_dataset(tmp_path, FAMILY, TASKS[0], "expert", some_episodes(8), PROVENANCE)
    path = data_folder(tmp_path, "point_robot", 0, "expert") / "main_data.hdf5"
    other = tmp_path / "other.hdf5"
    other.write_bytes(path.read_bytes())
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = h5py.ExternalLink(str(other), name)
    with pytest.raises(InputError, match=f"000-expert-v0.*damaged .{name} {wrong}; expected it in the file itself"):
        read_dataset(tmp_path, "point_robot", 0, "expert")


@pytest.mark.parametrize("kind", ["external", "virtual"])
def test_arrays_that_are_contents_of_other_files_are_not_read(tmp_path: Path, kind: str) -> None:
    episodes = some_episodes(8)
    write_dataset(tmp_path, FAMILY, TASKS[0], "expert", episodes, PROVENANCE)
    path = data_folder(tmp_path, "point_robot", 0, "expert") / "main_data.hdf5"
    other, name, rewards = tmp_path / "other", "episode_2/rewards", episodes.rewards[2]
    if kind == "external":
        other.write_bytes(rewards.tobytes())
    else:
        other.write_bytes(path.read_bytes())
    with h5py.File(path, "r+") as file:
        del file[name]
        if kind == "external":
            file.create_dataset(name, rewards.shape, "f4", external=[(str(other), 0, rewards.nbytes)])
        else:
            layout = h5py.VirtualLayout(rewards.shape, "f4")
            layout[:] = h5py.VirtualSource(str(other), name, rewards.shape, "f4")
            file.create_virtual_dataset(name, layout)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file[name], rewards)
    with pytest.raises(InputError, match=f"000-expert-v0.*damaged .{name} leads elsewhere; expected it in the file"):
        read_dataset(tmp_path, "point_robot", 0, "expert")


def test_episodes_of_unequal_shape_are_damage(tmp_path: Path) -> None:
    write_dataset(tmp_path, FAMILY, TASKS[0], "expert", some_episodes(6), PROVENANCE)
    path = data_folder(tmp_path, "point_robot", 0, "expert") / "main_data.hdf5"
    for length in (FAMILY.episode_length - 1, FAMILY.episode_length + 1):  # a longer one must not be read into the next
        with h5py.File(path, "r+") as file:
            del file["episode_2/actions"]
            file["episode_2/actions"] = np.zeros((length, 2), np.float32)
        with pytest.raises(InputError, match=r"000-expert-v0.*damaged \(actions of episode 2 has shape"):
            read_dataset(tmp_path, "point_robot", 0, "expert")


def test_arrays_of_other_precision_are_read_as_float32(tmp_path: Path) -> None:
    episodes = some_episodes(7)
    write_dataset(tmp_path, FAMILY, TASKS[0], "expert", episodes, PROVENANCE)
    path = data_folder(tmp_path, "point_robot", 0, "expert") / "main_data.hdf5"
    with h5py.File(path, "r+") as file:
        del file["episode_1/rewards"]
        file["episode_1/rewards"] = episodes.rewards[1].astype(">f8")
    read = read_dataset(tmp_path, "point_robot", 0, "expert")
    assert read.rewards.dtype == np.float32
    np.testing.assert_array_equal(read.rewards, episodes.rewards)
