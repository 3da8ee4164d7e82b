"""The one evaluation loop: cells, tasks and episodes as one batch through an agent (metadiffuser.md, section 4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from metadiffuser.data.agent import Agent
from metadiffuser.data.episodes import Floats
from metadiffuser.envs import Family, Simulator, Task, total_reward
from metadiffuser.progress import Progress


class Observer(Protocol):
    """Measures something while episodes are played, so that not every step has to be kept."""

    def decided(self, step: int) -> None:
        """The agent has chosen its actions of ``step``."""
        ...

    def stepped(self, step: int, observations: Floats, rewards: Floats) -> None:
        """``step`` was executed, led to ``observations`` (B, S) and paid ``rewards`` (B,)."""
        ...


class Environments(Protocol):
    """B episodes that are stepped together."""

    def reset(self) -> Floats:
        """Start all episodes; return observations (B, S)."""
        ...

    def step(self, actions: Floats) -> tuple[Floats, Floats]:
        """Apply actions (B, A); return observations (B, S) and rewards (B,)."""
        ...


class BatchedEnvs:
    """Simulators of several blocks of episodes that one agent plays together.

    Every block starts from the same initial states, so cells are compared on equal terms.

    Args:
        family: the environment family.
        tasks: the task of each episode of a block.
        blocks: number of blocks.
        generators: makes a new generator of initial states for each block.
        threads: CPU threads of the physics.
    """

    def __init__(
        self,
        family: Family,
        tasks: Sequence[Task],
        blocks: int,
        generators: Callable[[], np.random.Generator],
        threads: int,
    ):
        self._generators = generators
        self._simulators: list[Simulator] = [family.simulator(tasks, threads) for _ in range(blocks)]
        self.size = blocks * len(tasks)

    @property
    def positions(self) -> Floats:
        """qpos (B, Q)."""
        return np.concatenate([simulator.positions for simulator in self._simulators]).astype(np.float32)

    def reset(self) -> Floats:
        """Start all episodes; return observations (B, S)."""
        starts = [simulator.reset(self._generators()) for simulator in self._simulators]
        return np.concatenate(starts).astype(np.float32)

    def step(self, actions: Floats) -> tuple[Floats, Floats]:
        """Return observations (B, S) and rewards (B,)."""
        observations, rewards = [], []
        parts = np.split(np.asarray(actions, float), len(self._simulators))
        for simulator, part in zip(self._simulators, parts, strict=True):
            observation, terms = simulator.step(part)
            observations.append(observation)
            rewards.append(total_reward(terms))
        return np.concatenate(observations).astype(np.float32), np.concatenate(rewards).astype(np.float32)


@dataclass(frozen=True)
class Recording:
    """What B episodes of T steps paid, and what they cost.

    Attributes:
        rewards: (B, T).
        decision_seconds: time spent in the agent.
    """

    rewards: Floats
    decision_seconds: float


def play(agent: Agent, envs: Environments, steps: int, label: str, observers: Sequence[Observer] = ()) -> Recording:
    """Play ``steps`` steps of every episode in ``envs`` with ``agent``.

    Args:
        agent: acts for all episodes at once.
        envs: the environments.
        steps: T.
        label: shown with the progress.
        observers: called at every decision and at every step.
    """
    observations = envs.reset()
    paid = []
    spent = 0.0
    with Progress(label, steps) as progress:
        for step in range(steps):
            before = time.perf_counter()
            actions = agent.act(observations)
            spent += time.perf_counter() - before
            for observer in observers:
                observer.decided(step)
            successors, rewards = envs.step(actions)
            agent.observe(observations, actions, rewards, successors)
            for observer in observers:
                observer.stepped(step, successors, rewards)
            observations = successors
            paid.append(rewards)
            progress.advance(reward=float(rewards.mean()))
    return Recording(np.stack(paid, axis=1), spent)
