"""From stored policies to episodes of four qualities.

| quality | policy |
|---|---|
| random | uniform actions |
| expert | the task's best checkpoint by deterministic return, acting by the mean |
| medium | the checkpoint, acting by the mean or sampling, that lands nearest to half way between random and expert |
| mixed | all checkpoints in turn, from the first to the last, sampling |

All tasks x episodes of one quality run as one batch of environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metadiffuser.behaviour.policies import Policies, Trained, assign, rollout, uniform
from metadiffuser.behaviour.training import task_features
from metadiffuser.data.episodes import Episodes
from metadiffuser.envs import Array, Family, Task
from metadiffuser.errors import InputError
from metadiffuser.seeding import numpy_generator

Choice = tuple[int, bool]  # checkpoint, whether actions are sampled


def pick_medium(deterministic: Array, stochastic: Array, random: float, expert: float) -> Choice:
    """Return the checkpoint, and whether to sample, whose return is nearest to (random + expert) / 2.

    Of equally near ones the deterministic and then the earliest is taken.

    Args:
        deterministic: return of each checkpoint acting by the mean (C,).
        stochastic: the same, sampling (C,).
        random: return of uniform actions.
        expert: return of the expert.
    """
    distances = np.abs(np.stack([deterministic, stochastic]) - (random + expert) / 2)
    sampled, checkpoint = np.unravel_index(int(distances.argmin()), distances.shape)
    return int(checkpoint), bool(sampled)


@dataclass(frozen=True)
class Collected:
    """Episodes of one quality.

    Attributes:
        episodes: by task index.
        policies: what acted, by task index; JSON-serialisable.
    """

    episodes: Mapping[int, Episodes]
    policies: Mapping[int, Mapping[str, Any]]

    def mean_return(self, task: int) -> float:
        """Return the mean return of a task's episodes."""
        return float(self.episodes[task].returns.mean(dtype=np.float64))


class Collector:
    """Runs the stored policies of all shards of a family.

    Args:
        family: the family.
        tasks: all of its tasks.
        shards: what behaviour training left, shard by shard.
        episodes: E, episodes per task and quality.
        seed: root seed.
        threads: of the physics.

    Raises:
        InputError: the shards do not cover the tasks exactly once.
    """

    def __init__(
        self, family: Family, tasks: Sequence[Task], shards: Sequence[Trained], episodes: int, seed: int, threads: int
    ):
        self.family, self.tasks, self.episodes = family, list(tasks), episodes
        self._seed, self._threads = seed, threads
        used = [shard for shard in shards if shard.policies is not None]
        if sorted(index for shard in used for index in shard.tasks) != sorted(task.index for task in self.tasks):
            raise InputError(f"behaviour of {family.name}: does not match the task list; run train_behaviour again")
        stacks = [shard.policies for shard in used if shard.policies is not None]
        starts = np.cumsum([0, *map(len, stacks[:-1])]).tolist()
        self._policies = Policies.join(stacks)
        self._home = {task: (shard, start) for shard, start in zip(used, starts, strict=True) for task in shard.tasks}
        features = task_features(self.tasks)[0]
        self._features = features[:, : features.shape[1] if used[0].conditioned else 0]
        self.deterministic = np.stack([shard.returns[:, list(shard.tasks).index(i)] for i, shard in self._shards()])

    def _shards(self) -> list[tuple[int, Trained]]:
        return [(task.index, self._home[task.index][0]) for task in self.tasks]

    def _policy(self, task: int, checkpoint: int) -> int:
        shard, start = self._home[task]
        return start + shard.index(checkpoint, task)

    def _run(self, name: str, choices: Sequence[Sequence[Choice]]) -> Mapping[int, Episodes]:
        """Run one episode for each of a task's choices, all tasks in one batch."""
        generator = numpy_generator(self._seed, "collect_dataset", self.family.name, name)
        rows = [(row, choice) for row, several in enumerate(choices) for choice in several]
        owners = [row for row, _ in rows]
        controller = assign(
            self._policies,
            [self._policy(self.tasks[row].index, checkpoint) for row, (checkpoint, _) in rows],
            self._features[owners],
            np.array([sampled for _, (_, sampled) in rows]),
            generator,
        )
        result = rollout(self.family, [self.tasks[row] for row in owners], controller, generator, self._threads)
        return self._by_task(result, [len(several) for several in choices])

    def _by_task(self, result: Episodes, counts: Sequence[int]) -> Mapping[int, Episodes]:
        ends = np.cumsum(counts)
        return {
            task.index: Episodes(*(a[end - n : end] for a in (result.observations, result.actions, result.rewards)))
            for task, end, n in zip(self.tasks, ends, counts, strict=True)
        }

    def _repeated(self, role: str, choices: Sequence[Choice]) -> Collected:
        """Collect all episodes of a task with its one choice."""
        episodes = self._run(role, [[choice] * self.episodes for choice in choices])
        policies = {
            task: {
                "algorithm": "SAC",
                "role": role,
                "checkpoint": checkpoint,
                "step": int(shard.steps[checkpoint]),
                "actions": "sampled" if sampled else "mean",
            }
            for (task, shard), (checkpoint, sampled) in zip(self._shards(), choices, strict=True)
        }
        return Collected(episodes, policies)

    def random(self) -> Collected:
        """Collect episodes of uniform actions."""
        generator = numpy_generator(self._seed, "collect_dataset", self.family.name, "random")
        tasks = [task for task in self.tasks for _ in range(self.episodes)]
        result = rollout(self.family, tasks, uniform(self.family.action_size, generator), generator, self._threads)
        episodes = self._by_task(result, [self.episodes] * len(self.tasks))
        return Collected(episodes, {index: {"algorithm": "uniform", "role": "random"} for index in episodes})

    def expert(self) -> Collected:
        """Collect episodes of each task's best checkpoint."""
        choices = [(int(returns.argmax()), False) for returns in self.deterministic]
        return self._repeated("expert", choices)

    def medium(self, random: Collected, expert: Collected) -> Collected:
        """Collect episodes half way between the random and the expert ones."""
        count = self.deterministic.shape[1]
        pilot = self._run("pilot", [[(checkpoint, True) for checkpoint in range(count)]] * len(self.tasks))
        choices = [
            pick_medium(
                deterministic,
                pilot[task.index].returns.astype(np.float64),
                random.mean_return(task.index),
                expert.mean_return(task.index),
            )
            for task, deterministic in zip(self.tasks, self.deterministic, strict=True)
        ]
        return self._repeated("medium", choices)

    def mixed(self) -> Collected:
        """Collect episodes of all checkpoints, spread evenly over training."""
        count = self.deterministic.shape[1]
        spread = np.linspace(0, count - 1, self.episodes).round().astype(int).tolist()
        episodes = self._run("mixed", [[(checkpoint, True) for checkpoint in spread]] * len(self.tasks))
        policies = {
            task: {
                "algorithm": "SAC",
                "role": "mixed",
                "checkpoints": spread,
                "steps": [int(shard.steps[checkpoint]) for checkpoint in spread],
                "actions": "sampled",
            }
            for task, shard in self._shards()
        }
        return Collected(episodes, policies)
