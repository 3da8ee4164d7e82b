"""The rule by which tasks are left out, and that whoever reads the task list for the datasets leaves them out, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from metadiffuser.artifacts import write_json
from metadiffuser.behaviour.gains import left_out, usable_tasks
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.shared.tasks import read_tasks, write_left_out
from metadiffuser.errors import InputError

POINT = get_family("point_robot")
TASKS = [Task(i, "train" if i < 3 else "test", {"goal": (0.1 * i, 0.0)}) for i in range(5)]
ANCHORS = {i: {"random": -20.0, "expert": -20.0 + gain} for i, gain in enumerate([10.0, 2.0, 12.0, 3.0, 2.9])}


def kept(least_gain: float) -> list[int]:
    return [task.index for task in usable_tasks(POINT, TASKS, ANCHORS, least_gain)]


def test_one_rule_for_training_and_unseen_tasks() -> None:
    assert kept(0.3) == [0, 2, 3], "the training tasks' median gain is 10, 0.3 of it is 3"
    assert kept(0.28) == [0, 2, 3, 4]
    assert kept(0.2) == [0, 1, 2, 3, 4]


def test_nought_keeps_all_tasks_even_those_whose_expert_is_worse_than_random() -> None:
    worse = {i: {"random": 0.0, "expert": -1.0 - i} for i in range(5)}
    assert usable_tasks(POINT, TASKS, worse, 0.0) == TASKS


def test_unseen_tasks_do_not_decide_which_training_tasks_are_kept() -> None:
    other = ANCHORS | {i: {"random": 0.0, "expert": 1000.0} for i in (3, 4)}
    assert [task.index for task in usable_tasks(POINT, TASKS, other, 0.3)] == [0, 2, 3, 4]


def test_a_split_of_which_nothing_is_left_is_an_error_with_a_remedy() -> None:
    poor = ANCHORS | {i: {"random": 0.0, "expert": 0.1} for i in (3, 4)}
    with pytest.raises(InputError, match=r"no unseen task.*dataset.least_gain to 0"):
        usable_tasks(POINT, TASKS, poor, 0.3)


def test_what_is_left_out_is_said_with_its_anchors() -> None:
    found = left_out(TASKS, usable_tasks(POINT, TASKS, ANCHORS, 0.3), ANCHORS)
    assert [(task["index"], task["split"], task["random"], task["expert"]) for task in found] == [
        (1, "train", -20.0, -18.0),
        (4, "test", -20.0, pytest.approx(-17.1)),
    ]


def test_the_task_list_is_read_without_the_tasks_that_have_no_datasets(tmp_path: Path) -> None:
    path, dataset = tmp_path / "tasks.json", tmp_path / "datasets"
    write_json(path, {"family": "point_robot", "tasks": [task.to_json() for task in TASKS]})
    dataset.mkdir()
    assert read_tasks(path, dataset) == read_tasks(path) == TASKS, (
        "nothing is left out of a folder that does not say so"
    )
    write_left_out(dataset, [1, 4])
    assert [task.index for task in read_tasks(path, dataset)] == [0, 2, 3]
    assert read_tasks(path) == TASKS
    write_json(dataset / "left_out.json", {"tasks": [1]})
    with pytest.raises(InputError, match=r"left_out.json: not a list of task indices"):
        read_tasks(path, dataset)
