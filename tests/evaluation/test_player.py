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

FAMILY = get_family("cheetah_vel")
TASK = default_task(FAMILY.name, 3)


def player() -> LivePlayer:
    """A player with tiny models of random weights."""
    episodes = replace(random_episodes(FAMILY, TASK, 0), parameters=TASK.vector.astype(np.float32))
    data = TaskData.stack({"expert": {TASK.index: episodes}}, [TASK.index])
    context, diffusion = untrained_models(FAMILY, data)
    planner = Planner(diffusion.requires_grad_(False), context.requires_grad_(False), PLANNING)
    return LivePlayer(FAMILY, TASK, "dual", planner, data, 0)


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
