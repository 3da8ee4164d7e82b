"""A project in which a preset has run on tiny models, so that they can be published."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import Provenance, read_family, write_dataset
from metadiffuser.data.windows import TaskData
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.envs import Family, Task, get_family, total_reward
from metadiffuser.envs.shared.tasks import LEFT_OUT, default_tasks, split
from tests.conftest import ROOT, whole
from tests.helpers.models import CONTEXT, DIFFUSION, Z

PRESET = "smoke"
TASKS = slice(43, 48)  # of the default list: two training tasks, three unseen ones
STEPS, EPISODES = 15, 4  # of the stored data
CHOSEN = {"sampler": "ddim", "sampling_steps": 3, "candidates": 1, "return_scale": 0.3, "dynamics_scale": 0.1}
VALUED = CHOSEN | {"candidates": 4, "value_scale": 1.0}
QUALITIES = ("expert", "medium", "random")


def tasks_of(family: Family) -> list[Task]:
    """The tasks that the preset ran on."""
    return list(default_tasks(family.name)[TASKS])


def random_episodes(family: Family, task: Task, seed: int) -> Episodes:
    """Stored episodes of uniform actions."""
    generator = np.random.default_rng([seed, task.index])
    simulator = family.simulator([task] * EPISODES, 1)
    observations, actions, rewards = [simulator.reset(generator)], [], []
    for _ in range(STEPS):
        action = generator.uniform(-1, 1, (EPISODES, family.action_size))
        observation, terms = simulator.step(action)
        observations.append(observation)
        actions.append(action)
        rewards.append(total_reward(terms))
    return Episodes(*(np.stack(part, axis=1).astype(np.float32) for part in (observations, actions, rewards)))


def make_run(root: Path, *families: str) -> None:
    """Write below ``root`` what the preset's jobs write for ``families``, and put the preset in force."""
    shutil.copytree(ROOT / "presets", root / "presets")
    (root / "params.yaml").write_text(whole(PRESET), encoding="utf-8")
    for name in families:
        _make_family(root, get_family(name))


def untrained_models(family: Family, data: TaskData) -> tuple[ContextModel, DiffusionModel]:
    """Tiny models of random weights, always the same, in the units of ``data``."""
    torch.manual_seed(0)
    context = ContextModel(family.observation_size, family.action_size, CONTEXT, family.unbounded_dims)
    context.normaliser.fit(data.observations, data.rewards)
    diffusion = DiffusionModel(family.observation_size, family.action_size, Z, DIFFUSION)
    diffusion.normaliser.load_state_dict(context.normaliser.state_dict())
    diffusion.set_range(data.observations)
    return context, diffusion


def _make_family(root: Path, family: Family) -> None:
    names = {"preset": PRESET, "family": family.name, "representation": "generalised", "seed": "0"}

    def place(template: str) -> Path:
        return root / template.format(**names)

    tasks = tasks_of(family)
    unseen, indices = split(tasks, "test"), [task.index for task in split(tasks, "test")]
    write_json(place(paths.TASKS), {"family": family.name, "tasks": [task.to_json() for task in tasks]})
    for task in unseen:
        for number, quality in enumerate(QUALITIES):
            episodes = random_episodes(family, task, number)
            write_dataset(place(paths.DATASET), family, task, quality, episodes, Provenance({}, 0.0, 1.0))
    write_json(place(paths.DATASET) / LEFT_OUT, [])

    data = TaskData.stack(read_family(place(paths.DATASET), unseen, ["expert"]), indices)
    context, diffusion = untrained_models(family, data)
    context.save(place(paths.CONTEXT), {"family": family.name})
    diffusion.save(place(paths.DIFFUSION), {"family": family.name})

    write_json(place(paths.CALIBRATION), {"chosen": CHOSEN, "beyond": {"chosen": VALUED}})
    cells = [
        {"method": method, "guide": guide, "context": given, "returns": {str(i): [-i / place, -i] for i in indices}}
        for place, (method, guide, given) in enumerate(
            [
                ("metadiffuser", "dual", "expert"),
                ("metadiffuser", "dual", "zero_shot"),
                ("metadiffuser", "none", "expert"),
                ("with_value", "dual", "expert"),
            ],
            start=1,
        )
    ]
    sizes = {"parameters": 1234, "context_parameters": 567}
    write_json(place(paths.PLANNER_METRICS), {"settings": CHOSEN, "cells": cells, **sizes})
    anchors = {str(task.index): {"random": -900.0 - task.index, "expert": -9.0} for task in tasks}
    counts = {"episodes": 12 * len(tasks), "transitions": 12 * len(tasks) * STEPS, "source": "generated"}
    described = {"tasks": [task.to_json() for task in tasks], "anchors": anchors}
    write_json(place(paths.DATASET_METRICS), described | counts)
