"""What metrics files say of a cell, each number recomputed by hand; and the reward that the loop adds up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from metadiffuser.envs import get_family, total_reward
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.evaluation.cells import Cell
from metadiffuser.evaluation.outcomes import Outcome
from metadiffuser.evaluation.records import cell_record, rollout_episodes, rollout_tensors
from metadiffuser.evaluation.rollout import BatchedEnvs
from metadiffuser.evaluation.setup import EpisodeSetup

OWN = Cell("metadiffuser", "dual", "expert")


def record(cell: Cell = OWN) -> dict[str, Any]:
    """Two tasks, 7 and 9, of two episodes each."""
    tasks = [SimpleNamespace(index=7), SimpleNamespace(index=9)]
    setup = EpisodeSetup(cast(Any, None), cast(Any, tasks), 2, {}, 1, 0, (), ())
    squares = {1: np.array([1.0, 3.0, 7.0, 9.0]), 5: np.array([0.0, 2.0, 0.0, 0.0])}
    predicted, received = np.array([1.0, 2.0, 3.0, 6.0]), np.array([-1.0, 0.0, 1.0, 2.0])
    return cell_record(cell, Outcome(np.array([1.0, 2.0, 3.0, 4.0]), squares, predicted, received), setup)


def test_returns_stand_under_their_task_and_names_are_the_cells() -> None:
    found = record()
    assert found["returns"] == {"7": [1.0, 2.0], "9": [3.0, 4.0]}
    assert (found["method"], found["guide"], found["context"]) == ("metadiffuser", "dual", "expert")


def test_plan_errors_are_roots_of_mean_squares_in_all_and_by_task() -> None:
    found = record()
    assert found["plan_error"] == {"1": pytest.approx(5.0**0.5, abs=1e-6), "5": pytest.approx(0.5**0.5, abs=1e-6)}
    assert found["plan_error_by_task"] == {
        "1": {"7": pytest.approx(2.0**0.5, abs=1e-6), "9": pytest.approx(8.0**0.5, abs=1e-6)},
        "5": {"7": 1.0, "9": 0.0},
    }


def test_predicted_and_received_returns_are_not_mixed_up() -> None:
    assert record()["predicted_return"] == {"predicted": 3.0, "received": 0.5}
    assert record(Cell("unconditional", "none", "none"))["predicted_return"] is None


@pytest.mark.parametrize("name", ["cheetah_vel", "hopper_param"])
def test_an_episode_pays_the_sum_of_all_terms_of_the_reward(name: str) -> None:
    family = get_family(name)
    tasks = draw_tasks(family, 2, 0, np.random.default_rng(0))
    envs = BatchedEnvs(family, tasks, 2, lambda: np.random.default_rng(1), 1)
    simulator = family.simulator(tasks, 1)
    envs.reset()
    simulator.reset(np.random.default_rng(1))
    actions = np.full((2, family.action_size), 0.7)
    _, terms = simulator.step(actions)
    assert len(terms) > 1
    _, rewards = envs.step(np.tile(actions, (2, 1)).astype(np.float32))
    np.testing.assert_allclose(rewards, np.tile(sum(terms.values()), 2), rtol=1e-5)
    np.testing.assert_allclose(total_reward(terms), sum(terms.values()))


def test_a_plan_is_drawn_from_where_the_robot_was_when_it_was_made() -> None:
    family = get_family("ant_dir")
    positions = np.zeros((1, 4, 15))
    positions[0, :, 0] = [5.0, 6.0, 7.0, 8.0]
    standing = np.zeros((1, 3, 2, family.observation_size), np.float32)  # plans of two states that do not move
    film: dict[str, np.ndarray] = {
        "positions": positions,
        "plans": standing,
        "made": np.array([0, 0, 2]),
        "rewards": np.zeros((1, 3)),
    }
    assert rollout_tensors(family, film)["plans"][0, :, :, 0].tolist() == [[5.0, 5.0], [5.0, 5.0], [7.0, 7.0]]


def test_a_film_is_described_by_its_task_its_cell_and_its_whole_return() -> None:
    (task,) = draw_tasks(get_family("point_robot"), 1, 0, np.random.default_rng(0))
    film = {"rewards": np.array([[-1.0, -0.5, -0.25], [0.0, 1.0, 2.0]], np.float32)}
    first, second = rollout_episodes(film, [(OWN, task), (Cell("metadiffuser", "none", "expert"), task)])
    assert first == {
        "task": task.to_json(),
        "return": -1.75,
        "method": "metadiffuser",
        "guide": "dual",
        "context": "expert",
    }
    assert (second["return"], second["guide"]) == (3.0, "none")
