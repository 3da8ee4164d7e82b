"""Drawing a family's tasks: from one distribution, or unseen ones beyond the range of the training tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metadiffuser import paths
from metadiffuser.config.loading import load
from metadiffuser.config.schema import Tasks
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.shared.tasks import draw_tasks, read_tasks, split
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.run import execute
from tests.conftest import ROOT


def drawn(family: str, unseen: str, seed: int = 0) -> tuple[list[Task], list[Task]]:
    tasks = draw_tasks(get_family(family), 30, 20, np.random.default_rng(seed), unseen)
    assert [task.index for task in tasks] == list(range(50))
    return split(tasks, "train"), split(tasks, "test")


def test_unseen_speeds_lie_above_those_of_training() -> None:
    train, test = ([task.parameters["speed"][0] for task in part] for part in drawn("cheetah_vel", "beyond"))
    assert 0.075 <= min(train) < max(train) <= 2.5 < min(test) < max(test) <= 3.0
    assert max(train) > 2.2, "training reaches the edge"


def test_unseen_directions_lie_in_a_quadrant_without_training_directions() -> None:
    train, test = (np.array([task.parameters["direction"] for task in part]) for part in drawn("ant_dir", "beyond"))
    assert (test > 0).all()
    assert not (train > 0).all(axis=1).any()
    for signs in ((1, -1), (-1, 1), (-1, -1)):
        assert (np.sign(train) == signs).all(axis=1).any(), "the other three quadrants are trained on"


def test_unseen_goals_lie_beyond_a_radius() -> None:
    train, test = (
        np.linalg.norm([task.parameters["goal"] for task in part], axis=1) for part in drawn("point_robot", "beyond")
    )
    assert train.max() <= 1.0 < test.min()
    assert test.max() <= 2**0.5


@pytest.mark.parametrize("family", ["point_robot", "cheetah_vel", "ant_dir"])
def test_both_kinds_are_of_one_range_otherwise(family: str) -> None:
    beyond = get_family(family).beyond
    assert beyond is not None
    for part in drawn(family, "within"):
        assert {beyond(task.parameters) for task in part} == {False, True}


def test_a_family_without_anything_beyond_is_refused() -> None:
    with pytest.raises(InputError, match=r"tasks.unseen is beyond, but hopper_param"):
        drawn("hopper_param", "beyond")


def test_the_task_list_has_the_unseen_tasks_that_the_parameters_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = load(ROOT / "presets" / "smoke.yaml")
    for unseen in ("within", "beyond"):
        asked = params.model_copy(update={"tasks": Tasks.model_validate({"train": 12, "test": 8, "unseen": unseen})})
        job = dag.find_job("define_tasks", {"family": "point_robot"}, asked)
        execute(job, asked)
        tasks = read_tasks(Path(paths.TASKS.format(preset="smoke", family="point_robot")))
        assert [task.split for task in tasks] == ["train"] * 12 + ["test"] * 8
        far = [bool(np.linalg.norm(task.parameters["goal"]) > 1.0) for task in tasks]
        assert (far == [task.split == "test" for task in tasks]) == (unseen == "beyond")
