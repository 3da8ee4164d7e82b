"""From stored policies to anchors and to episodes of four qualities.

| quality | policy |
|---|---|
| random | uniform actions |
| expert | the task's best checkpoint by deterministic return |
| medium | the checkpoint that lands nearest to half way between random and expert |
| mixed | checkpoints with uniform actions at a share of the steps, spread evenly in return (module ``mixing``) |

Actions are sampled from the stochastic policies. Anchors are mean returns of uniform actions and of the expert that
acts by its mean, in episodes of their own. Where no checkpoint lands near half way, medium is the expert, disturbed by
uniform actions (deviation 8).

All tasks x episodes of one quality run as one batch of environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from metadiffuser.behaviour.gains import left_out, usable_tasks
from metadiffuser.behaviour.mixing import ROUNDS, Choice, Mixture, first_choices, targets
from metadiffuser.behaviour.policies import Controller, Policies, Trained, assign, relabelled, rollout, uniform
from metadiffuser.behaviour.training import standard_tasks
from metadiffuser.behaviour.transfer import Transfer, transfer_by_teacher
from metadiffuser.data.dataset import Anchors, Collected, FamilyDataset
from metadiffuser.data.episodes import Episodes, Floats
from metadiffuser.envs import Array, Family, Task
from metadiffuser.envs.shared.symmetry import Symmetry
from metadiffuser.errors import InputError
from metadiffuser.seeding import numpy_generator

FINALISTS = 5  # checkpoints of a task, best as training measured them, that are measured again to choose the expert
BAND = 0.15  # of the gap between random and expert, that medium episodes may miss half way by
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of steps with uniform actions, that are tried
PILOTS = 3  # episodes that each share is tried with


def pick_medium(returns: Array, random: float, expert: float) -> Choice:
    """Return the earliest checkpoint whose return is nearest to (random + expert) / 2.

    Args:
        returns: of each checkpoint's stochastic policy (C,).
        random: return of uniform actions.
        expert: return of the expert.
    """
    return Choice(int(np.abs(returns - (random + expert) / 2).argmin()))


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
        anchor_episodes: episodes per task and anchor.
        seed: root seed.
        threads: of the physics.

    Raises:
        InputError: the shards do not cover the tasks exactly once.
    """

    def __init__(
        self,
        family: Family,
        tasks: Sequence[Task],
        shards: Sequence[Trained],
        episodes: int,
        anchor_episodes: int,
        seed: int,
        threads: int,
    ):
        self.family, self.tasks, self.episodes, self.anchor_episodes = family, list(tasks), episodes, anchor_episodes
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
        vectors = np.stack([task.vector for task in trained]).astype(np.float32)
        self._features = vectors[:, : vectors.shape[1] if used[0].conditioned else 0]
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
                "agent": shard.agent(task),
                "checkpoint": choice.checkpoint,
                "step": int(shard.steps[choice.checkpoint]),
                "actions": choice.actions,
                **({"uniform": choice.uniform} if choice.uniform else {}),
            }
            for (task, shard), choice in zip(self._shards(), choices, strict=True)
            if choice
        }
        return Collected(episodes, policies)

    def _uniform(self, name: str, count: int) -> Mapping[int, Episodes]:
        """Run ``count`` episodes of uniform actions on every task."""
        generator = numpy_generator(self._seed, "collect_dataset", self.family.name, name)
        tasks = [task for task in self.tasks for _ in range(count)]
        result = rollout(self.family, tasks, uniform(self.family.action_size, generator), generator, self._threads)
        return self._by_task(result, [count] * len(self.tasks))

    @cached_property
    def experts(self) -> list[Choice]:
        """The best checkpoint of each task, to act by its mean.

        Training measures every checkpoint on an episode or two, and the best of many such measurements is one that was
        lucky. So the best ``FINALISTS`` are measured again, on ``anchor_episodes`` each.
        """
        finalists = [np.argsort(-returns, kind="stable")[:FINALISTS].tolist() for returns in self.deterministic]
        played = self._run(
            "finalists",
            [[Choice(c, sampled=False) for c in several for _ in range(self.anchor_episodes)] for several in finalists],
        )
        means = [played[task.index].returns.reshape(-1, self.anchor_episodes).mean(axis=1) for task in self.tasks]
        return [
            Choice(several[int(mean.argmax())], sampled=False) for several, mean in zip(finalists, means, strict=True)
        ]

    def anchors(self) -> Anchors:
        """Return the mean returns of uniform actions and of the deterministic expert, in episodes of their own."""
        played = {
            "random": self._uniform("anchors/random", self.anchor_episodes),
            "expert": self._run("anchors/expert", [[choice] * self.anchor_episodes for choice in self.experts]),
        }
        return {
            task.index: {
                name: float(episodes[task.index].returns.mean(dtype=np.float64)) for name, episodes in played.items()
            }
            for task in self.tasks
        }

    def transfer(self, kept: Sequence[Task]) -> Transfer:
        """Return what the experts of ``kept`` tasks earn when they are given other tasks' parameters."""
        rows = [row for row, task in enumerate(self.tasks) if task in kept]
        homes = [self._home[self.tasks[row].index] for row in rows]
        return transfer_by_teacher(
            self.family,
            [self.tasks[row] for row in rows],
            self._policies,
            [self._policy(self.tasks[row].index, self.experts[row].checkpoint) for row in rows],
            self._features[rows],
            [(start, shard.agent(self.tasks[row].index)) for row, (shard, start) in zip(rows, homes, strict=True)],
            numpy_generator(self._seed, "collect_dataset", self.family.name, "transfer"),
            self._threads,
            [self._symmetries[row] for row in rows] if self._symmetries else (),
        )

    def collect(self, quality: str, anchors: Anchors) -> Collected:
        """Collect the episodes of one quality: ``random``, ``expert``, ``medium`` or ``mixed``."""
        match quality:
            case "random":
                return self.random()
            case "expert":
                return self.expert()
            case "medium":
                return self.medium(anchors)
            case "mixed":
                return self.mixed(anchors)
        raise ValueError(f"expected random, expert, medium or mixed, got {quality}")

    def random(self) -> Collected:
        """Collect episodes of uniform actions."""
        episodes = self._uniform("random", self.episodes)
        return Collected(episodes, {index: {"algorithm": "uniform", "role": "random"} for index in episodes})

    def expert(self) -> Collected:
        """Collect episodes of each task's best checkpoint, its actions sampled."""
        return self._repeated("expert", [choice._replace(sampled=True) for choice in self.experts])

    def medium(self, anchors: Anchors) -> Collected:
        """Collect episodes half way between the anchors.

        First of the checkpoint that seems nearest to half way. Seeming is not enough: it was one of many, each measured
        on one episode, and training may have passed half way between two checkpoints. So tasks whose episodes
        miss half way by more than ``BAND`` of the gap get episodes of a disturbed expert, if those are nearer.
        """
        count = self.deterministic.shape[1]
        pilot = self._run("pilot", [[Choice(checkpoint) for checkpoint in range(count)]] * len(self.tasks))
        choices = [
            pick_medium(pilot[task.index].returns.astype(np.float64), **anchors[task.index]) for task in self.tasks
        ]
        found = self._repeated("medium", choices)
        middle = {
            task.index: (anchors[task.index]["random"] + anchors[task.index]["expert"]) / 2 for task in self.tasks
        }
        off = [
            index
            for index in middle
            if abs(found.mean_return(index) - middle[index])
            > BAND * abs(anchors[index]["expert"] - anchors[index]["random"])
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
        best = dict(zip(middle, self.experts, strict=True))
        tried = [
            [Choice(best[index].checkpoint, True, share) for share in SHARES for _ in range(PILOTS)] for index in wanted
        ]
        trials = dict(zip(wanted, tried, strict=True))
        pilot = self._run("medium/pilot", [trials.get(task.index, []) for task in self.tasks])
        choices: dict[int, Choice] = {}
        for index, episodes in pilot.items():
            means = episodes.returns.reshape(len(SHARES), PILOTS).mean(axis=1, dtype=np.float64)
            share = SHARES[int(np.abs(means - middle[index]).argmin())]
            choices[index] = Choice(best[index].checkpoint, True, share)
        return self._repeated("medium", [choices.get(task.index) for task in self.tasks], "medium/disturbed")

    def mixed(self, anchors: Anchors) -> Collected:
        """Collect episodes spread evenly in return between the anchors, in random order (module ``mixing``)."""
        generator = numpy_generator(self._seed, "collect_dataset", self.family.name, "mixed")
        count = self.deterministic.shape[1]
        mixtures = [Mixture(targets(**anchors[task.index], count=self.episodes), count) for task in self.tasks]
        proposals = [first_choices(count, self.episodes)] * len(self.tasks)
        for number in range(ROUNDS):
            if not any(proposals):
                break
            played = self._run(f"mixed/{number}", proposals)
            for task, mixture, choices in zip(self.tasks, mixtures, proposals, strict=True):
                if choices:
                    mixture.add(choices, played[task.index])
            proposals = [mixture.proposals(generator) for mixture in mixtures]
        episodes: dict[int, Episodes] = {}
        policies: dict[int, Mapping[str, Any]] = {}
        for (index, shard), mixture in zip(self._shards(), mixtures, strict=True):
            episodes[index], choices = mixture.shuffled(generator)
            policies[index] = {
                "algorithm": "SAC",
                "role": "mixed",
                "agent": shard.agent(index),
                "checkpoints": [choice.checkpoint for choice in choices],
                "steps": [int(shard.steps[choice.checkpoint]) for choice in choices],
                "actions": "sampled",
                "uniform": [choice.uniform for choice in choices],
            }
        return Collected(episodes, policies)


def collect(collector: Collector, qualities: Sequence[str], least_gain: float) -> FamilyDataset:
    """Return the datasets of a family's behaviour policies, without tasks on which the expert gains too little.

    Args:
        collector: runs the policies.
        qualities: of the datasets wanted.
        least_gain: of the training tasks' median gain, below which a task is left out.

    Raises:
        InputError: no training task or no unseen task is left.
    """
    anchors = collector.anchors()
    kept = usable_tasks(collector.family, collector.tasks, anchors, least_gain)
    collected = {quality: collector.collect(quality, anchors) for quality in qualities}
    omitted = left_out(collector.tasks, kept, anchors)
    origin = {"source": "generated", "least_gain": least_gain, "tasks_left_out": omitted}
    origin |= {"transfer": collector.transfer(kept)}
    return FamilyDataset(collected, kept, anchors, origin)
