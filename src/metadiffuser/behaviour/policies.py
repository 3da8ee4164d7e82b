"""Stored policies, many at once, and the rollout of a batch of environments in which each follows one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from metadiffuser.artifacts import read_tensors, write_tensors
from metadiffuser.behaviour.networks import perceptron, squashed_mean, squashed_sample
from metadiffuser.data.episodes import Episodes, Floats
from metadiffuser.envs import Array, Family, Task, total_reward
from metadiffuser.envs.shared.symmetry import Symmetry
from metadiffuser.errors import InputError

Controller = Callable[[Array], Floats]  # observations (B, S) -> actions (B, A)


@dataclass(frozen=True)
class Policies:
    """P tanh-Gaussian policies of one architecture.

    Attributes:
        layers: weight (P, in, out) and bias (P, 1, out) of each layer.
        centre: subtracted from inputs (P, 1, I).
        scale: what inputs are then divided by (P, 1, I).
    """

    layers: Sequence[tuple[Tensor, Tensor]]
    centre: Tensor
    scale: Tensor

    def __repr__(self) -> str:
        return f"Policies(P={len(self)}, I={self.centre.shape[-1]}, A={self.layers[-1][1].shape[-1] // 2})"

    def __len__(self) -> int:
        return len(self.centre)

    @torch.inference_mode()
    def act(self, inputs: Floats, noise: Floats | None = None) -> Floats:
        """Return actions (P, G, A) for inputs (P, G, I): the mean's without noise, else sampled (P, G, A)."""
        device = self.centre.device
        outputs = perceptron(self.layers, (torch.from_numpy(inputs).to(device) - self.centre) / self.scale)[-1]
        if noise is None:
            actions = squashed_mean(outputs)
        else:
            actions = squashed_sample(outputs, torch.from_numpy(noise).to(device))[0]
        return actions.cpu().numpy()

    def select(self, indices: Sequence[int]) -> Policies:
        """Return the policies at ``indices``."""
        chosen = torch.as_tensor(indices, device=self.centre.device)
        layers = [(weight[chosen], bias[chosen]) for weight, bias in self.layers]
        return Policies(layers, self.centre[chosen], self.scale[chosen])

    @classmethod
    def join(cls, parts: Sequence[Policies], groups: int = 1) -> Policies:
        """Return the policies of all ``parts`` in one stack.

        Args:
            parts: at least one.
            groups: equal groups that every part consists of; the first groups of all parts come first.
        """

        def joined(arrays: Sequence[Tensor]) -> Tensor:
            return torch.cat([array.unflatten(0, (groups, -1)) for array in arrays], dim=1).flatten(0, 1)

        layers = [
            (joined([part.layers[i][0] for part in parts]), joined([part.layers[i][1] for part in parts]))
            for i in range(len(parts[0].layers))
        ]
        return cls(layers, joined([part.centre for part in parts]), joined([part.scale for part in parts]))


@dataclass(frozen=True)
class Trained:
    """What behaviour training leaves of one shard: the policies of M agents at C checkpoints for N tasks.

    Attributes:
        family: key of the family.
        config: section ``behaviour`` as it was, JSON-serialisable.
        tasks: indices of the N tasks.
        agents: which of the M agents learnt each task (N,).
        steps: environment steps of an agent at each checkpoint (C,).
        returns: deterministic mean return (C, N).
        policies: C * M policies, checkpoint by checkpoint; None for a shard without tasks.
    """

    family: str
    config: Mapping[str, Any]
    tasks: Sequence[int]
    agents: Sequence[int]
    steps: Sequence[int]
    returns: Array
    policies: Policies | None

    @property
    def conditioned(self) -> bool:
        """Whether policies take the task's vector as input, after the observation."""
        return bool(self.config["sharing"] == "task_conditioned")

    def agent(self, task: int) -> int:
        """Return which agent learnt ``task`` (its index)."""
        return self.agents[list(self.tasks).index(task)]

    def index(self, checkpoint: int, task: int) -> int:
        """Return the position among ``policies`` of the one for ``task`` (its index) at ``checkpoint``."""
        return checkpoint * (max(self.agents) + 1) + self.agent(task)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Return the agents of all ``parts`` as one shard, those of the first part first.

        Parts have one configuration and different tasks, at least one each.
        """
        first = parts[0]
        starts = np.cumsum([0, *(max(part.agents) + 1 for part in parts[:-1])]).tolist()
        stacks = [part.policies for part in parts if part.policies is not None]
        return cls(
            family=first.family,
            config=first.config,
            tasks=[task for part in parts for task in part.tasks],
            agents=[start + agent for part, start in zip(parts, starts, strict=True) for agent in part.agents],
            steps=first.steps,
            returns=np.concatenate([part.returns for part in parts], axis=1),
            policies=Policies.join(stacks, groups=len(first.steps)),
        )

    def write(self, path: Path) -> None:
        """Write the shard as one safetensors file: ``weight0``, ``bias0``, ... (C, M, ...), ``centre``, ``scale``."""
        tensors: dict[str, Tensor] = {}
        if self.policies is not None:
            stacked = {"centre": self.policies.centre, "scale": self.policies.scale}
            for number, (weight, bias) in enumerate(self.policies.layers):
                stacked |= {f"weight{number}": weight, f"bias{number}": bias}
            tensors = {name: value.view(len(self.steps), -1, *value.shape[1:]) for name, value in stacked.items()}
        header = {
            "family": self.family,
            "config": dict(self.config),
            "tasks": list(self.tasks),
            "agents": list(self.agents),
            "steps": list(self.steps),
            "returns": self.returns.tolist(),
        }
        write_tensors(path, tensors, header)

    @classmethod
    def read(cls, path: Path, device: str = "cpu") -> Self:
        """Read what ``write`` wrote. Raises ``InputError`` if it is missing or damaged."""
        tensors, header = read_tensors(path, device)
        try:
            returns = np.asarray(header.pop("returns"), float).reshape(len(header["steps"]), len(header["tasks"]))
            if not header["tasks"]:
                return cls(**header, returns=returns, policies=None)
            flat = {name: value.flatten(0, 1) for name, value in tensors.items()}
            count = sum(name.startswith("weight") for name in flat)
            layers = [(flat[f"weight{number}"], flat[f"bias{number}"]) for number in range(count)]
            return cls(**header, returns=returns, policies=Policies(layers, flat["centre"], flat["scale"]))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{path}: not a file of policies ({error!r}); run train_behaviour again") from None


def with_features(observations: Array, features: Floats) -> Floats:
    """Return policy inputs (..., S + F): observations (..., S), then the task vector (..., F), F = 0 without one."""
    return np.concatenate([observations, features], axis=-1, dtype=np.float32)


def assign(
    policies: Policies,
    which: Sequence[int],
    features: Floats,
    stochastic: np.ndarray[Any, np.dtype[np.bool_]],
    generator: np.random.Generator,
) -> Controller:
    """Return a controller for B environments, the b-th following policy ``which[b]``.

    Environments of one policy are its batch; batches are padded to the longest, so that a step is one pass.

    Args:
        policies: P policies.
        which: policy of each environment (B,).
        features: task vector of each environment (B, F).
        stochastic: where actions are sampled instead of the mean's (B,).
        generator: draws the noise.
    """
    used, row = np.unique(np.asarray(which), return_inverse=True)
    chosen = policies.select(used.tolist())
    column = np.zeros(len(row), int)
    for number in range(len(used)):
        members = np.flatnonzero(row == number)
        column[members] = np.arange(len(members))
    longest = int(column.max()) + 1
    actions = chosen.layers[-1][1].shape[-1] // 2
    inputs = np.zeros((len(used), longest, chosen.centre.shape[-1]), np.float32)
    noise = np.zeros((len(used), longest, actions), np.float32)

    def control(observations: Array) -> Floats:
        inputs[row, column] = with_features(observations, features)
        means = chosen.act(inputs)[row, column]
        if not stochastic.any():
            return means
        noise[row, column] = generator.standard_normal((len(row), actions), np.float32)
        return np.where(stochastic[:, None], chosen.act(inputs, noise)[row, column], means)

    return control


def relabelled(controller: Controller, symmetries: Sequence[Symmetry]) -> Controller:
    """Return a controller that sees the b-th environment through ``symmetries[b]``, and acts back through it."""
    forth = np.stack([symmetry.observations for symmetry in symmetries])
    back = np.stack([symmetry.actions.T for symmetry in symmetries]).astype(np.float32)

    def control(observations: Array) -> Floats:
        actions = controller(np.einsum("bij,bj->bi", forth, observations))
        return np.einsum("bij,bj->bi", back, actions)

    return control


def uniform(actions: int, generator: np.random.Generator) -> Controller:
    """Return a controller that draws actions uniformly from [-1, 1]."""
    return lambda observations: generator.uniform(-1.0, 1.0, (len(observations), actions)).astype(np.float32)


def rollout(
    family: Family, tasks: Sequence[Task], controller: Controller, generator: np.random.Generator, threads: int
) -> Episodes:
    """Run one episode in each of B environments, all stepped together; the b-th has task ``tasks[b]``."""
    simulator = family.simulator(tasks, threads)
    size, steps = len(tasks), family.episode_length
    observations = np.zeros((size, steps + 1, family.observation_size), np.float32)
    actions = np.zeros((size, steps, family.action_size), np.float32)
    rewards = np.zeros((size, steps), np.float32)
    state = simulator.reset(generator)
    observations[:, 0] = state
    for step in range(steps):
        actions[:, step] = controller(state)
        state, terms = simulator.step(actions[:, step].astype(np.float64))
        observations[:, step + 1] = state
        rewards[:, step] = total_reward(terms)
    return Episodes(observations, actions, rewards)
