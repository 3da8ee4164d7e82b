"""The planner as people watch it, episode after episode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from metadiffuser.data.windows import TaskData
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import default_task
from metadiffuser.evaluation.player import LivePlayer
from metadiffuser.planning.planner import Planner
from tests.helpers.models import PLANNING
from tests.helpers.published import random_episodes, untrained_models


def player(name: str = "cheetah_vel") -> LivePlayer:
    """A player with tiny models of random weights."""
    family, task = get_family(name), default_task(name, 3)
    episodes = replace(random_episodes(family, task, 0), parameters=task.vector.astype(np.float32))
    data = TaskData.stack({"expert": {task.index: episodes}}, [task.index])
    context, diffusion = untrained_models(family, data)
    planner = Planner(diffusion.requires_grad_(False), context.requires_grad_(False), PLANNING)
    return LivePlayer(family, task, "dual", planner, data, 0)


def test_every_episode_is_another_one_and_the_next_viewing_shows_the_same() -> None:
    first, again = player(), player()
    starts = []
    for _ in range(2):
        for each in (first, again):
            each.reset()
        starts.append(first.positions)
        assert np.array_equal(first.positions, again.positions)
        assert first.plan is not None
        assert again.plan is not None
        assert np.array_equal(first.plan, again.plan)
    assert not np.array_equal(starts[0], starts[1])


def test_every_plan_begins_where_the_robot_is_now() -> None:
    watched = player("point_robot")
    watched.reset()
    for _ in range(3):
        assert watched.plan is not None
        np.testing.assert_allclose(watched.plan[0, :2], watched.positions[:2], atol=1e-6)
        watched.step()
    assert np.abs(watched.positions).max() > 0, "it has moved"
