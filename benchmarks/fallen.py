"""When the robot falls in a preset's data and in its planner's episodes, in a family whose robot can fall.

A fallen hopper or walker goes on receiving the reward for surviving (deviation 9), so its return does not tell whether
it walks. Reads the dataset and the rollouts that ``evaluate`` kept, and prints for each the mean step of the first fall
(the episode's length where it never falls) and the share of episodes in which the robot is down at the end. Experts'
episodes are divided by the anchor of their task as well. Then every agent's last policy plays an episode of each
training task, to tell agents that have learnt the family from those that have not.

    python benchmarks/fallen.py [--preset pilot] [--family hopper_param] [--seed 0] [--low 330]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measure import upright
from numpy.typing import NDArray

from metadiffuser import paths
from metadiffuser.behaviour.policies import Trained, assign, rollout
from metadiffuser.data.minari_store import read_dataset
from metadiffuser.envs import Family, Task, get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.viewing.rollouts import read_rollouts


def tell(name: str, up: NDArray[np.bool_]) -> None:
    """Print what episodes (E, T) say."""
    first = np.where(up.all(axis=1), up.shape[1], np.argmin(up, axis=1))
    down = 1.0 - up[:, -1].mean()
    print(f"{name:32s} {len(up):5d} episodes, first fall at step {first.mean():4.0f}, down at the end {down:.2f}")


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="pilot")
    parser.add_argument("--family", default="hopper_param")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--low", type=float, default=330.0, help="expert's return that divides the tasks")
    options = parser.parse_args()
    family = get_family(options.family)
    if family.healthy is None:
        raise SystemExit(f"the robot of {family.name} cannot fall")
    names = {"preset": options.preset, "family": family.name, "representation": "generalised", "seed": options.seed}
    dataset = Path(paths.DATASET.format(**names))
    tasks = read_tasks(Path(paths.TASKS.format(**names)), dataset)
    anchors = json.loads(Path(paths.DATASET_METRICS.format(**names)).read_text())["anchors"]
    tell_data(family, tasks, dataset, np.array([anchors[str(task.index)]["expert"] < options.low for task in tasks]))
    played = defaultdict(list)
    for episode in read_rollouts(Path(paths.ROLLOUTS.format(**names))):
        played[episode.guide].append(episode.positions[1:, 1:])
    for guide, several in played.items():
        tell(f"planner, guide: {guide}", upright(family, np.stack(several)))
    trained = Trained.read(Path(paths.BEHAVIOUR.format(**names, shard=0)))
    tell_teachers(family, [task for task in tasks if task.split == "train"], trained)


def tell_data(family: Family, tasks: Sequence[Task], dataset: Path, low: NDArray[np.bool_]) -> None:
    """Print what the episodes of each quality say, and experts' apart for tasks of ``low`` (N,) experts and others."""
    for quality in ("expert", "medium", "mixed"):
        stored = [read_dataset(dataset, family.name, task.index, quality).observations[:, 1:] for task in tasks]
        up = np.stack([upright(family, observations) for observations in stored])
        tell(quality, np.concatenate(up))
        if quality == "expert":
            tell(f"  {low.sum()} tasks with low experts", np.concatenate(up[low]))
            tell(f"  {(~low).sum()} other tasks", np.concatenate(up[~low]))


def tell_teachers(family: Family, tasks: Sequence[Task], trained: Trained) -> None:
    """Print what an episode of every agent's last policy on each task says."""
    policies = trained.policies
    if policies is None:
        raise SystemExit("no task has a policy")
    features, generator = np.stack([task.vector for task in tasks]).astype(np.float32), np.random.default_rng(0)
    agents = len(policies) // len(trained.steps)
    for agent in range(agents):
        which = [len(policies) - agents + agent] * len(tasks)
        controller = assign(policies, which, features, np.zeros(len(tasks), bool), generator)
        episodes = rollout(family, tasks, controller, generator, 1)
        name = "agent of unseen tasks" if agent == agents - 1 else f"teacher {agent + 1}"
        tell(f"{name}, return {episodes.returns.mean():.0f}", upright(family, episodes.observations[:, 1:]))


if __name__ == "__main__":
    main()
