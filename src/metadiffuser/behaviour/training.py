"""Training of behaviour policies for the tasks of a shard: one loop for shared and for separate networks.

Training tasks and unseen tasks are learnt by different agents, one after the other, with random streams of their own:
nothing of an unseen task reaches a policy that acts in training data. The training tasks have several teachers, which
act in turn, so that policies do not vary smoothly from task to task (deviation 8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metadiffuser.behaviour.policies import Policies, Trained, assign, rollout, with_features
from metadiffuser.behaviour.replay import Batch, Replay
from metadiffuser.behaviour.sac import SoftActorCritic
from metadiffuser.checkpointing import TrainingState
from metadiffuser.config.schema import Behaviour
from metadiffuser.data.episodes import Floats
from metadiffuser.envs import Array, Family, Task, total_reward
from metadiffuser.envs.shared.symmetry import Symmetry, to_standard
from metadiffuser.progress import Progress
from metadiffuser.seeding import numpy_generator, torch_generator

ANNEALED = 0.4  # last part of training in which the step size falls linearly, towards steady policies
LOWEST_RATE = 0.02  # of the step size, at the end


def feature_span(vectors: Floats) -> tuple[Floats, Floats]:
    """Return the centre (F,) and scale (F,) that bring task vectors (N, F) to [-1, 1]."""
    low, high = vectors.min(axis=0), vectors.max(axis=0)
    return (high + low) / 2, np.where(high > low, (high - low) / 2, np.float32(1.0))


def standard_tasks(family: Family, tasks: Sequence[Task]) -> tuple[list[Task], list[Symmetry]]:
    """Return the tasks that ``tasks`` are up to the family's symmetries, and the symmetry that leads to each.

    Without symmetries these are the tasks themselves, and no symmetry.
    """
    if not family.symmetries:
        return list(tasks), []
    found = [to_standard(family.symmetries, task.vector) for task in tasks]
    return [t.with_vector(symmetry.tasks @ t.vector) for t, symmetry in zip(tasks, found, strict=True)], found


def deal(count: int, config: Behaviour, unseen: bool) -> list[list[int]]:
    """Return the positions of ``count`` tasks that each agent learns, one agent a list.

    Args:
        count: tasks of one kind in a shard.
        config: section ``behaviour``.
        unseen: whether they are unseen tasks, which have one agent; training tasks are dealt out to the teachers in
            turn, or learnt by every teacher. With ``per_task`` every task has an agent.
    """
    everything, conditioned = list(range(count)), config.sharing == "task_conditioned"
    agents = min((1 if unseen else config.teachers) if conditioned else count, count)
    if conditioned and config.teachers_learn == "all_tasks":
        return [everything] * agents
    return [everything[agent::agents] for agent in range(agents)]


def checkpoint_rounds(rounds: int, warmup: int, checkpoints: int) -> list[int]:
    """Return after which rounds a checkpoint is kept (C,): at the squares of even shares of training after warm-up.

    Agents learn fast at first. Where checkpoints were even, the first was an expert already on some families, and the
    way there had none.

    Args:
        rounds: of the whole training, at least as many as checkpoints.
        warmup: rounds without updates.
        checkpoints: C.
    """
    start = min(warmup, rounds - checkpoints)
    shares = np.square(np.arange(1, checkpoints + 1) / checkpoints)
    places = np.maximum(np.round(shares * (rounds - start)).astype(int), np.arange(1, checkpoints + 1))
    return [start + int(place) for place in places]


class Trainer:
    """Soft actor-critic over the environments of M agents, stepped together.

    Agent m's ``copies`` environments go through its group of tasks in turn, episode after episode: some tasks for a
    task-conditioned agent, or one task. With ``config.symmetries`` tasks are what they are up to the robot's
    symmetries (deviation 29).

    Args:
        family: the family.
        tasks: at least one.
        groups: positions of the tasks that each agent learns. Every task is in one group or in all; agents that have
            learnt the same tasks act on them in turn.
        config: section ``behaviour``.
        seed: root seed.
        names: of the seed streams, such as stage, family and shard.
        device: where networks live.
    """

    def __init__(
        self,
        family: Family,
        tasks: Sequence[Task],
        groups: Sequence[Sequence[int]],
        config: Behaviour,
        seed: int,
        names: Sequence[str],
        device: str,
    ):
        self.family, self.config = family, config
        self.tasks = standard_tasks(family, tasks)[0] if config.symmetries else list(tasks)
        self.groups = [list(group) for group in groups]
        able = [[m for m, group in enumerate(groups) if index in group] for index in range(len(tasks))]
        self.agents = [agents[index % len(agents)] for index, agents in enumerate(able)]
        kept = len(self.tasks[0].vector) if config.sharing == "task_conditioned" else 0
        self.features = np.stack([task.vector for task in self.tasks]).astype(np.float32)[:, :kept]
        spans = [feature_span(self.features[group]) for group in self.groups]
        centre, scale = (np.stack(parts) for parts in zip(*spans, strict=True))
        self._seed, self._names = seed, tuple(names)
        self._noise = torch_generator(seed, *names, "noise", device=device)
        self._environment = numpy_generator(seed, *names, "environment")
        members, size, actions = len(self.groups), family.observation_size, family.action_size
        initial = torch_generator(seed, *names, "networks", device=device)
        self.agent = SoftActorCritic(config, members, size + kept, actions, initial)
        self.rounds = math.ceil(config.steps / config.copies)  # steps of every environment
        self.warmup = math.ceil(config.warmup_steps / config.copies)
        capacity = min(config.replay_capacity, self.rounds * config.copies)
        self.replay = Replay(members, capacity, size, centre, scale, actions)
        self.marks = checkpoint_rounds(self.rounds, self.warmup, config.checkpoints)
        self.returns = np.zeros((config.checkpoints, len(self.tasks)))
        self.snapshots = {
            name: np.zeros((config.checkpoints, *value.shape), np.float32) for name, value in self._current().items()
        }
        self._sums = np.zeros((2, 2))  # critic loss and entropy since the last checkpoint: sum, count
        self._records: list[dict[str, float]] = []

    def _state(self) -> TrainingState:
        arrays = {"returns": self.returns, "sums": self._sums}
        arrays |= {f"replay/{name}": value for name, value in self.replay.arrays.items()}
        arrays |= {f"snapshot/{name}": value for name, value in self.snapshots.items()}
        return TrainingState(
            {"agent": self.agent},
            {},
            {"noise": self._noise, "environment": self._environment},
            arrays,
        )

    def _current(self) -> dict[str, Floats]:
        arrays = {"centre": self.replay.centre[:, None], "scale": self.replay.scale[:, None]}
        for number, (weight, bias) in enumerate(self.agent.actor.layers):
            arrays |= {f"weight{number}": weight.cpu().numpy(), f"bias{number}": bias.cpu().numpy()}
        return arrays

    def policies(self) -> Policies:
        """Return the M policies as they are."""
        device = self.agent.actor.flat.device
        centre, scale = (torch.from_numpy(array[:, None]) for array in (self.replay.centre, self.replay.scale))
        return Policies(self.agent.actor.layers, centre.to(device), scale.to(device))

    def train(self, checkpoint: Path | None = None) -> tuple[Trained, list[dict[str, float]]]:
        """Train to the end, going on from ``checkpoint`` if it exists; return policies and learning curve.

        Resuming starts at an episode's beginning, which needs no state of the physics, and ends with the
        same bits as an uninterrupted run. The end is kept in ``checkpoint``, too.
        """
        state = self._state()
        done, self._records, _ = state.load(checkpoint) if checkpoint else (0, [], {})
        with Progress(f"behaviour {self.family.name}", self.rounds, done) as progress:
            while done < self.rounds:
                done = self._episode(done, progress)
                if checkpoint and (done == self.rounds or state.due()):
                    state.save(checkpoint, done, self._records)
        return self._trained(), self._records

    def _episode(self, start: int, progress: Progress) -> int:
        """Run all environments for one episode from round ``start``, learning as they go; return the next round."""
        members, copies = len(self.groups), self.config.copies
        number = start // self.family.episode_length
        drawn = [group[(number * copies + copy) % len(group)] for group in self.groups for copy in range(copies)]
        features = self.features[drawn]
        simulator = self.family.simulator([self.tasks[index] for index in drawn], self.config.threads)
        inputs = with_features(simulator.reset(self._environment), features).reshape(members, copies, -1)
        end = min(start + self.family.episode_length, self.rounds)
        for current in range(start, end):
            shape = (members, copies, self.family.action_size)
            if current < self.warmup:
                actions = self._environment.uniform(-1.0, 1.0, shape).astype(np.float32)
            else:
                actions = self.policies().act(inputs, self._environment.standard_normal(shape, np.float32))
            observations, terms = simulator.step(actions.reshape(members * copies, -1).astype(np.float64))
            successors = with_features(observations, features).reshape(inputs.shape)
            rewards = total_reward(terms).astype(np.float32).reshape(members, copies)
            up = self._healthy(observations)
            self.replay.add(inputs, actions, rewards, up.reshape(rewards.shape).astype(np.float32), successors)
            inputs = successors
            if not up.all():
                inputs = with_features(simulator.reset(self._environment, ~up), features).reshape(inputs.shape)
            self._learn(current)
            while len(self._records) < len(self.marks) and self.marks[len(self._records)] <= current + 1:
                self._checkpoint(len(self._records))
            progress.advance(1, **({"return": self._records[-1]["return"]} if self._records else {}))
        return end

    def _healthy(self, observations: Array) -> NDArray[np.bool_]:
        """Return which copies go on (B,); a fallen robot starts anew, since lying teaches nothing about walking."""
        if self.family.healthy is None or not self.config.terminate_when_unhealthy:
            return np.ones(len(observations), bool)
        return self.family.healthy(observations)

    def _learn(self, current: int) -> None:
        """Make the gradient updates that are due after round ``current``."""
        rate = self.config.copies * self.config.updates_per_step
        first, last = (math.floor(max(current + ahead - self.warmup, 0) * rate) for ahead in (0, 1))
        if first == last:
            return
        left = min(1.0, (1.0 - current / self.rounds) / ANNEALED)
        step_size = self.config.learning_rate * (LOWEST_RATE + (1.0 - LOWEST_RATE) * left)
        batches = self.replay.sample(last - first, self.config.batch_size, self._noise)
        noise = self._draw(last - first, batches[0])
        turns = [(index + 1) % self.config.actor_interval == 0 for index in range(first, last)]
        actor_noise = iter(self._draw(sum(turns), batches[0]))
        losses, entropies = [], []
        for batch, drawn, turn in zip(batches, noise, turns, strict=True):
            loss, entropy = self.agent.update(batch, drawn, next(actor_noise) if turn else None, step_size)
            losses.append(loss)
            if entropy is not None:
                entropies.append(entropy)
        for row, values in enumerate((losses, entropies)):
            if values:
                self._sums[row] += torch.stack(values).mean(dim=1).sum().item(), len(values)

    def _draw(self, updates: int, batch: Batch) -> Tensor:
        """Draw standard normal noise (updates, M, B, A) for the actions of batches like ``batch``."""
        return torch.randn((updates, *batch.actions.shape), generator=self._noise, device=self._noise.device)

    def _checkpoint(self, number: int) -> None:
        """Keep the policies of checkpoint ``number`` and measure them on all tasks, in one batch."""
        for name, value in self._current().items():
            self.snapshots[name][number] = value
        episodes, count = self.config.evaluation_episodes, len(self.tasks)
        generator = numpy_generator(self._seed, *self._names, "evaluation", number)
        controller = assign(
            self.policies(),
            np.repeat(self.agents, episodes).tolist(),
            np.repeat(self.features, episodes, axis=0),
            np.zeros(count * episodes, bool),
            generator,
        )
        tasks = [task for task in self.tasks for _ in range(episodes)]
        result = rollout(self.family, tasks, controller, generator, self.config.threads)
        self.returns[number] = result.returns.reshape(count, episodes).mean(axis=1)
        loss, entropy = self._sums[:, 0] / np.maximum(self._sums[:, 1], 1.0)
        self._sums[:] = 0.0
        self._records.append(
            {
                "step": self.marks[number] * self.config.copies,
                "return": float(self.returns[number].mean()),
                "return_min": float(self.returns[number].min()),
                "critic_loss": float(loss),
                "entropy": float(entropy),
            }
        )

    def _trained(self) -> Trained:
        stacks = {name: torch.from_numpy(value).flatten(0, 1) for name, value in self.snapshots.items()}
        layers = [(stacks[f"weight{n}"], stacks[f"bias{n}"]) for n in range(len(self.agent.actor.layers))]
        return Trained(
            family=self.family.name,
            config=self.config.model_dump(),
            tasks=[task.index for task in self.tasks],
            agents=self.agents,
            steps=[mark * self.config.copies for mark in self.marks],
            returns=self.returns,
            policies=Policies(layers, stacks["centre"], stacks["scale"]),
        )


def train_shard(
    family: Family,
    tasks: Sequence[Task],
    config: Behaviour,
    seed: int,
    names: Sequence[str],
    device: str,
    folder: Path | None = None,
) -> tuple[Trained, list[dict[str, float]]]:
    """Train the agents of a shard's training tasks, then those of its unseen ones.

    Args:
        family: the family.
        tasks: the shard's tasks.
        config: section ``behaviour``.
        seed: root seed.
        names: of the seed streams, such as stage, family and shard.
        device: where networks live.
        folder: for checkpoints to go on from.

    Returns:
        The policies, and the learning curve over all of the shard's tasks.
    """
    parts, curves = [], []
    for kind in ("train", "test"):
        chosen = [task for task in tasks if task.split == kind]
        if chosen:
            groups = deal(len(chosen), config, kind == "test")
            trainer = Trainer(family, chosen, groups, config, seed, (*names, kind), device)
            trained, records = trainer.train(folder / f"{kind}.safetensors" if folder else None)
            parts.append(trained)
            curves.append(records)
    if not parts:
        return Trained(family.name, config.model_dump(), [], [], [], np.zeros((0, 0)), None), []
    whole = Trained.join(parts)
    losses = [
        {name: float(np.mean([record[name] for record in several])) for name in ("critic_loss", "entropy")}
        for several in zip(*curves, strict=True)
    ]
    curve = [
        {"step": step, "return": float(returns.mean()), "return_min": float(returns.min()), **loss}
        for step, returns, loss in zip(whole.steps, whole.returns, losses, strict=True)
    ]
    return whole, curve
