"""Tasks of the robots' families, and the robots whose dynamics are random."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from metadiffuser.envs import FAMILIES, Task, hopper_param, walker_param
from metadiffuser.envs.shared.tasks import draw_tasks

PARAMS: dict[str, Callable[[], mujoco.MjModel]] = {
    "hopper_param": hopper_param.robot,
    "walker_param": walker_param.robot,
}


def tasks_of(name: str, count: int, seed: int = 3) -> list[Task]:
    return draw_tasks(FAMILIES[name], count, 0, np.random.default_rng(seed))
