"""Somebody's data: Point-Robot episodes of every quality as ``.npz`` files with a task list."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from metadiffuser.data.episodes import Episodes
from metadiffuser.envs import Task, get_family, total_reward
from metadiffuser.importing.assemble import assemble
from metadiffuser.importing.comparison import Tolerances
from metadiffuser.importing.store import Imported
from metadiffuser.importing.tasklist import read_task_list

FAMILY = get_family("point_robot")
STEPS = FAMILY.episode_length
TASKS = [
    Task(index, "train" if index < 3 else "test", {"goal": goal})
    for index, goal in enumerate([(0.5, 0.5), (-0.4, 0.8), (0.9, -0.1), (-0.7, -0.6), (0.1, -0.9)])
]


def play(task: Task, count: int, seed: int = 0) -> Episodes:
    """Return episodes that fall from good to random, then shuffled."""
    generator = np.random.default_rng([seed, task.index])
    simulator = FAMILY.simulator([task] * count, 1)
    observations, actions, rewards = [simulator.reset(generator)], [], []
    noise = generator.permutation(np.linspace(0, 1, count))[:, None]
    for _ in range(STEPS):
        best = np.clip(10 * (np.array(task.parameters["goal"]) - observations[-1]), -1, 1)
        action = (1 - noise) * best + noise * generator.uniform(-1, 1, best.shape)
        observation, terms = simulator.step(action)
        observations.append(observation)
        actions.append(action)
        rewards.append(total_reward(terms))
    return Episodes(*(np.stack(part, axis=1).astype(np.float32) for part in (observations, actions, rewards)))


def arrays_of(episodes: Episodes) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file."""
    return {
        "observations": episodes.observations[:, :-1].reshape(-1, 2),
        "actions": episodes.actions.reshape(-1, 2),
        "rewards": episodes.rewards.reshape(-1),
        "next_observations": episodes.observations[:, 1:].reshape(-1, 2),
        "episode_ends": np.tile(np.arange(STEPS) == STEPS - 1, len(episodes)),
    }


def write_foreign(folder: Path, counts: tuple[int, ...] = (6, 6, 6, 6, 6), seed: int = 0) -> dict[int, Episodes]:
    """Write one file a task and ``tasks.json``; return the episodes by task."""
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    episodes = {}
    for task, count in zip(TASKS, counts, strict=True):
        episodes[task.index] = play(task, count, seed)
        np.savez(folder / f"goal{task.index}.npz", **arrays_of(episodes[task.index]))  # type: ignore[arg-type]
        goal = list(task.parameters["goal"])
        entries.append({"data": f"goal{task.index}.npz", "split": task.split, "goal": goal})
    (folder / "tasks.json").write_text(json.dumps({"tasks": entries}))
    return episodes


def imported(folder: Path, reward: float = 1e-3, state: float = 2e-2) -> Imported:
    return assemble(read_task_list(folder, None, FAMILY), FAMILY, Tolerances(reward, state))


def edit(path: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    """Rewrite an ``.npz`` file with its arrays changed in place."""
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(path, **arrays)


def edit_list(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    record = json.loads((folder / "tasks.json").read_text())
    change(record)
    (folder / "tasks.json").write_text(json.dumps(record))


def entry(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record["tasks"][1].update(changes)
