"""The list of tasks: each mistake in it is named, and no path in it leads outside the folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metadiffuser.errors import InputError
from metadiffuser.importing.layouts.minari import DATA_FILE
from metadiffuser.importing.tasklist import read_task_list
from tests.helpers.foreign import FAMILY, STEPS, TASKS, edit, edit_list, entry, imported
from tests.helpers.layouts import refusal, write_layout

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
    "goal of a double": (entry(goal=[1e39, 0]), r"tasks\[1\]\.goal is \[1e\+39, 0\]; expected 2 finite numbers"),
    "goal in words": (entry(goal="1, 0"), r"tasks\[1\]\.goal is '1, 0'; expected 2 finite numbers"),
    "goal twice": (entry(parameters={"goal": [0, 0]}), r"tasks\[1\]: has goal and 'parameters'; expected one of the"),
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


def test_a_key_that_stands_twice_is_refused(folder: Path) -> None:
    path = folder / "tasks.json"
    path.write_text(path.read_text().replace('"split": "test"', '"goal": [0, 0], "split": "test"', 1))
    assert refusal(folder).endswith("tasks.json: key 'goal' stands twice in a mapping; remove one")


def test_a_folder_is_no_task_list(folder: Path) -> None:
    with pytest.raises(InputError, match=r"data: a folder; expected the file of a task list"):
        read_task_list(folder, folder, FAMILY)


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


def test_a_dataset_whose_file_is_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    edit_list(folder, entry(data="dataset"))
    file = folder / "dataset" / DATA_FILE
    file.parent.mkdir(parents=True)
    file.touch()
    read_task_list(folder, None, FAMILY)
    file.rename(tmp_path / "elsewhere.hdf5")
    file.symlink_to(tmp_path / "elsewhere.hdf5")
    with pytest.raises(InputError, match=r"tasks\[1\]\.data is 'dataset', which lies outside"):
        read_task_list(folder, None, FAMILY)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_task_list_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    write_layout(tmp_path / "data", "D4RL")
    path = tmp_path / "data/tasks.json"
    path.write_text(path.read_text(), encoding=encoding)
    if encoding == "utf-8-sig":
        assert imported(tmp_path / "data").tasks == TASKS
    else:
        assert refusal(tmp_path / "data").endswith("tasks.json: not UTF-8 text; save it as UTF-8")
