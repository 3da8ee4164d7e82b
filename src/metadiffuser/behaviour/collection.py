"""From stored policies to episodes of four qualities.

| quality | policy |
|---|---|
| random | uniform actions |
| expert | the task's best checkpoint by deterministic return, acting by the mean |
| medium | the checkpoint, acting by the mean or sampling, that lands nearest to half way between random and expert |
| mixed | all checkpoints in turn, from the first to the last, sampling |

Where no checkpoint lands near half way, medium is the expert, disturbed by uniform actions (deviation 8).

All tasks x episodes of one quality run as one batch of environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from metadiffuser.behaviour.policies import Controller, Policies, Trained, assign, relabelled, rollout, uniform
from metadiffuser.behaviour.training import standard_tasks, task_features
from metadiffuser.data.dataset import Collected, FamilyDataset, anchors_of
from metadiffuser.data.episodes import Episodes, Floats
from metadiffuser.envs import Array, Family, Task
from metadiffuser.envs.shared.symmetry import Symmetry
from metadiffuser.errors import InputError
from metadiffuser.seeding import numpy_generator

BAND = 0.15  # of the gap between random and expert, that medium episodes may miss half way by
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of steps with uniform actions, that are tried
PILOTS = 3  # episodes that each share is tried with


class Choice(NamedTuple):
    """How an episode is acted.

    Attributes:
        checkpoint: whose policy.
        sampled: whether its actions are sampled instead of its mean's.
        uniform: share of the steps at which the action is uniform in [-1, 1] instead.
    """

    checkpoint: int
    sampled: bool
    uniform: float = 0.0

    @property
    def actions(self) -> str:
        """What the card says of it."""
        return ("sampled" if self.sampled else "mean") + (" disturbed by uniform ones" if self.uniform else "")


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
    return Choice(int(checkpoint), bool(sampled))


def disturbed(controller: Controller, shares: Array, actions: int, generator: np.random.Generator) -> Controller:
    """Return a controller whose actions are uniform in [-1, 1] at a share of the steps, drawn step by step.

    Args:
        controller: acts otherwise.
        shares: of each environment (B,).
        actions: A.
        generator: draws steps and actions.
    """

    def control(observations: Array) -> Floats:
        meant = controller(observations)
        slips = generator.random(len(shares)) < shares
        drawn = generator.uniform(-1.0, 1.0, (len(shares), actions)).astype(np.float32)
        return np.where(slips[:, None], drawn, meant)

    return control


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
        trained: list[Task] = self.tasks
        self._symmetries: list[Symmetry] = []
        if used[0].config["symmetries"]:
            trained, self._symmetries = standard_tasks(family, self.tasks)
        features = task_features(trained)[0]
        self._features = features[:, : features.shape[1] if used[0].conditioned else 0]
        self.deterministic = np.stack([shard.returns[:, list(shard.tasks).index(i)] for i, shard in self._shards()])

    def _shards(self) -> list[tuple[int, Trained]]:
        return [(task.index, self._home[task.index][0]) for task in self.tasks]

    def _policy(self, task: int, checkpoint: int) -> int:
        shard, start = self._home[task]
        return start + shard.index(checkpoint, task)

    def _run(self, name: str, choices: Sequence[Sequence[Choice]]) -> Mapping[int, Episodes]:
        """Run one episode for each of a task's choices, all tasks in one batch; tasks without any are left out."""
        generator = numpy_generator(self._seed, "collect_dataset", self.family.name, name)
        rows = [(row, choice) for row, several in enumerate(choices) for choice in several]
        owners = [row for row, _ in rows]
        controller = assign(
            self._policies,
            [self._policy(self.tasks[row].index, choice.checkpoint) for row, choice in rows],
            self._features[owners],
            np.array([choice.sampled for _, choice in rows]),
            generator,
        )
        if self._symmetries:
            controller = relabelled(controller, [self._symmetries[owner] for owner in owners])
        shares = np.array([choice.uniform for _, choice in rows])
        if shares.any():
            controller = disturbed(controller, shares, self.family.action_size, generator)
        result = rollout(self.family, [self.tasks[row] for row in owners], controller, generator, self._threads)
        return self._by_task(result, [len(several) for several in choices])

    def _by_task(self, result: Episodes, counts: Sequence[int]) -> Mapping[int, Episodes]:
        ends = np.cumsum(counts)
        return {
            task.index: Episodes(*(a[end - n : end] for a in (result.observations, result.actions, result.rewards)))
            for task, end, n in zip(self.tasks, ends, counts, strict=True)
            if n
        }

    def _repeated(self, role: str, choices: Sequence[Choice | None], stream: str | None = None) -> Collected:
        """Collect all episodes of a task with its one choice, if it has one."""
        episodes = self._run(stream or role, [[choice] * self.episodes if choice else [] for choice in choices])
        policies = {
            task: {
                "algorithm": "SAC",
                "role": role,
                "checkpoint": choice.checkpoint,
                "step": int(shard.steps[choice.checkpoint]),
                "actions": choice.actions,
                **({"uniform": choice.uniform} if choice.uniform else {}),
            }
            for (task, shard), choice in zip(self._shards(), choices, strict=True)
            if choice
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
        return self._repeated("expert", self._best())

    def _best(self) -> list[Choice]:
        return [Choice(int(returns.argmax()), False) for returns in self.deterministic]

    def medium(self, random: Collected, expert: Collected) -> Collected:
        """Collect episodes half way between the random and the expert ones.

        First of the checkpoint that seems nearest to half way. Seeming is not enough: it was one of many, each measured
        on an episode or two, and training may have passed half way between two checkpoints. So tasks whose episodes
        miss half way by more than ``BAND`` of the gap get episodes of a disturbed expert, if those are nearer.
        """
        count = self.deterministic.shape[1]
        pilot = self._run("pilot", [[Choice(checkpoint, True) for checkpoint in range(count)]] * len(self.tasks))
        choices = [
            pick_medium(
                deterministic,
                pilot[task.index].returns.astype(np.float64),
                random.mean_return(task.index),
                expert.mean_return(task.index),
            )
            for task, deterministic in zip(self.tasks, self.deterministic, strict=True)
        ]
        found = self._repeated("medium", choices)
        low, high = ({task.index: end.mean_return(task.index) for task in self.tasks} for end in (random, expert))
        middle = {index: (low[index] + high[index]) / 2 for index in low}
        off = [
            index
            for index in low
            if abs(found.mean_return(index) - middle[index]) > BAND * abs(high[index] - low[index])
        ]
        if not off:
            return found
        other = self._disturbed_expert(middle, off)
        nearer = [
            index
            for index in off
            if abs(other.mean_return(index) - middle[index]) < abs(found.mean_return(index) - middle[index])
        ]
        return Collected(
            {**found.episodes, **{index: other.episodes[index] for index in nearer}},
            {**found.policies, **{index: other.policies[index] for index in nearer}},
        )

    def _disturbed_expert(self, middle: Mapping[int, float], wanted: Sequence[int]) -> Collected:
        """Collect episodes of some tasks' experts, with uniform actions at the share of steps that is nearest."""
        best = dict(zip(middle, self._best(), strict=True))
        tried = [[best[index]._replace(uniform=share) for share in SHARES for _ in range(PILOTS)] for index in wanted]
        trials = dict(zip(wanted, tried, strict=True))
        pilot = self._run("medium/pilot", [trials.get(task.index, []) for task in self.tasks])
        choices: dict[int, Choice] = {}
        for index, episodes in pilot.items():
            means = episodes.returns.reshape(len(SHARES), PILOTS).mean(axis=1, dtype=np.float64)
            share = SHARES[int(np.abs(means - middle[index]).argmin())]
            choices[index] = best[index]._replace(uniform=share)
        return self._repeated("medium", [choices.get(task.index) for task in self.tasks], "medium/disturbed")

    def mixed(self) -> Collected:
        """Collect episodes of all checkpoints, spread evenly over training."""
        count = self.deterministic.shape[1]
        spread = np.linspace(0, count - 1, self.episodes).round().astype(int).tolist()
        episodes = self._run("mixed", [[Choice(checkpoint, True) for checkpoint in spread]] * len(self.tasks))
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


def collect(collector: Collector, qualities: Sequence[str]) -> FamilyDataset:
    """Return the datasets of a family's behaviour policies, of the wanted ``qualities``."""
    random, expert = collector.random(), collector.expert()
    collected: dict[str, Collected] = {}
    for quality in qualities:
        match quality:
            case "random":
                collected[quality] = random
            case "expert":
                collected[quality] = expert
            case "medium":
                collected[quality] = collector.medium(random, expert)
            case "mixed":
                collected[quality] = collector.mixed()
    anchors = anchors_of(collector.tasks, random, expert)
    return FamilyDataset(collected, collector.tasks, anchors, {"source": "generated"})
