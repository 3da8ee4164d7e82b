"""Settings, tasks and policies of tiny behaviour training."""

from __future__ import annotations

import numpy as np
import torch

from metadiffuser.behaviour.policies import Trained
from metadiffuser.behaviour.training import train_shard
from metadiffuser.config.schema import Behaviour
from metadiffuser.envs import Family, Task, get_family
from metadiffuser.envs.shared.tasks import draw_tasks

CONFIG = Behaviour(
    threads=1,
    sharing="task_conditioned",
    teachers=2,
    steps=480,
    copies=6,
    terminate_when_unhealthy=True,
    symmetries=True,
    warmup_steps=60,
    updates_per_step=0.25,
    actor_interval=2,
    batch_size=16,
    hidden=[8, 8],
    learning_rate=0.003,
    discount=0.9,
    target_rate=0.05,
    entropy="automatic",
    replay_capacity=300,
    checkpoints=4,
    evaluation_episodes=1,
)
POINT = get_family("point_robot")


def generator(seed: int = 0) -> torch.Generator:
    result = torch.Generator()
    result.manual_seed(seed)
    return result


def tasks_of(family: Family, count: int) -> list[Task]:
    return draw_tasks(family, count, 0, np.random.default_rng(5))


def config(**changes: object) -> Behaviour:
    return Behaviour.model_validate(CONFIG.model_dump() | changes)


def shard(tasks: list[Task], family: Family = POINT, **changes: object) -> Trained:
    return train_shard(family, tasks, config(**changes), 0, ("test",), "cpu")[0]
