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
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metadiffuser import paths
from metadiffuser.behaviour.policies import Trained, assign, rollout
from metadiffuser.data.minari_store import read_dataset
from metadiffuser.envs import Family, get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.viewing.rollouts import read_rollouts


def upright(family: Family, observations: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where the robot is upright (E, T), for postures and what follows them (E, T, at least 2)."""
    if family.healthy is None:
        raise SystemExit(f"the robot of {family.name} cannot fall")
    flat = observations.reshape(-1, observations.shape[-1])
    return family.healthy(flat.astype(float)).reshape(observations.shape[:2])


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
    names = {"preset": options.preset, "family": family.name, "representation": "generalised", "seed": options.seed}
    where = {
        template: Path(template.format(**names))
        for template in (paths.TASKS, paths.DATASET, paths.DATASET_METRICS, paths.ROLLOUTS)
    }
    anchors = json.loads(where[paths.DATASET_METRICS].read_text())["anchors"]
    tasks = read_tasks(where[paths.TASKS], where[paths.DATASET])
    for quality in ("expert", "medium", "mixed"):
        stacks = [
            read_dataset(where[paths.DATASET], family.name, task.index, quality).observations[:, 1:] for task in tasks
        ]
        up = {task.index: upright(family, stack) for task, stack in zip(tasks, stacks, strict=True)}
        tell(quality, np.concatenate(list(up.values())))
        low = [index for index in up if anchors[str(index)]["expert"] < options.low]
        if quality == "expert":
            for label, chosen in (("below", low), ("from", [index for index in up if index not in low])):
                tell(
                    f"  {len(chosen)} tasks {label} {options.low:.0f}", np.concatenate([up[index] for index in chosen])
                )
    played = defaultdict(list)
    for episode in read_rollouts(where[paths.ROLLOUTS]):
        played[episode.guide].append(episode.positions[1:, 1:])
    for guide, several in played.items():
        tell(f"planner, guide: {guide}", upright(family, np.stack(several)))
    trained = Trained.read(Path(paths.BEHAVIOUR.format(**names, shard=0)))
    policies = trained.policies
    if policies is None:
        raise SystemExit("no task has a policy")
    learnt = [task for task in tasks if task.split == "train"]
    features = np.stack([task.vector for task in learnt]).astype(np.float32)
    agents, generator = len(policies) // len(trained.steps), np.random.default_rng(0)
    for agent in range(agents):
        which = [len(policies) - agents + agent] * len(learnt)
        controller = assign(policies, which, features, np.zeros(len(learnt), bool), generator)
        episodes = rollout(family, learnt, controller, generator, 1)
        name = "agent of unseen tasks" if agent == agents - 1 else f"teacher {agent + 1}"
        tell(f"{name}, return {episodes.returns.mean():.0f}", upright(family, episodes.observations[:, 1:]))


if __name__ == "__main__":
    main()
