"""Arrays in ``.npz`` files: each way in which they are wrong is refused by file, array and index."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metadiffuser.errors import InputError
from tests.helpers.foreign import STEPS, edit, imported


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
    with pytest.raises(InputError, match=r"goal2\.npz: rewards holds Python objects, which are not read, as unpick"):
        imported(folder)
    assert not (tmp_path / "exploded").exists()


def test_objects_of_numbers_are_refused_with_a_conversion_that_works(folder: Path) -> None:
    expected = imported(folder)
    edit(folder / "goal2.npz", lambda a: a.update(observations=a["observations"].astype(object)))
    with pytest.raises(InputError, match=r"goal2\.npz: observations holds Python objects") as refused:
        imported(folder)
    subprocess.run([sys.executable, "-c", str(refused.value).split("by the lines: ")[1]], check=True)
    found = imported(folder)
    for quality, by_task in expected.episodes.items():
        assert np.array_equal(found.episodes[quality][2].observations, by_task[2].observations)


@pytest.mark.parametrize("value", [np.nan, 0.5, 2.0, -1.0])
def test_a_flag_that_is_neither_zero_nor_one_is_named(folder: Path, value: float) -> None:
    edit(folder / "goal1.npz", lambda a: a.update(episode_ends=np.where(a["episode_ends"], value, 0.0)))
    with pytest.raises(InputError, match=rf"goal1\.npz: episode_ends\[19\] is {value:g}; expected 0 or 1"):
        imported(folder)


def test_what_a_file_has_is_named_beside_what_it_lacks(folder: Path) -> None:
    edit(folder / "goal1.npz", lambda a: a.update(states=a.pop("observations")))
    words = (
        r"goal1\.npz: has no array 'observations'; .*; it has actions, episode_ends, next_observations, rewards, states"
    )
    with pytest.raises(InputError, match=words):
        imported(folder)


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
