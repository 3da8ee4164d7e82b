"""The one evaluation loop: all cells, tasks and episodes as one batch through an agent (method section 4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metadiffuser.envs import Family, Simulator, Task, total_reward
from metadiffuser.progress import Progress

Floats = NDArray[np.float32]


class Agent(Protocol):
    """An agent for B parallel episodes; every method and baseline is one."""

    def act(self, observations: Floats) -> Floats:
        """Return actions (B, A) for observations (B, S)."""
        ...

    def observe(self, observations: Floats, actions: Floats, rewards: Floats, successors: Floats) -> None:
        """Take note of one transition of each episode."""
        ...


class Planned(Protocol):
    """Plans in force; all that the loop reads of them is their states (B, H, S)."""

    @property
    def states(self) -> Tensor:
        """Planned states (B, H, S), in the environment's units."""
        ...


class Group:
    """Simulators of several blocks of episodes that one agent plays together.

    Every block starts from the same initial states, so cells are compared on equal terms.

    Args:
        family: the environment family.
        tasks: the task of each episode of a block.
        blocks: number of blocks.
        generators: makes the generator of initial states, anew for each block.
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


@dataclass
class Recording:
    """What happened in B episodes of T steps.

    Attributes:
        rewards: (B, T).
        observations: (B, T + 1, S).
        positions: (B, T + 1, Q).
        plans: planned states (B, T, H, S) that were in force at each step, or None for an agent without plans.
        decision_seconds: time spent in the agent.
    """

    rewards: Floats
    observations: Floats
    positions: Floats
    plans: Floats | None
    decision_seconds: float


@dataclass
class _Log:
    rewards: list[Floats] = field(default_factory=list)
    observations: list[Floats] = field(default_factory=list)
    positions: list[Floats] = field(default_factory=list)
    plans: list[Floats] = field(default_factory=list)


def play(
    agent: Agent, group: Group, steps: int, label: str, plan_of: Callable[[Any], Planned | None] = lambda agent: None
) -> Recording:
    """Play ``steps`` steps of every episode in ``group`` with ``agent``.

    Args:
        agent: acts for all episodes at once.
        group: the environments.
        steps: T.
        label: shown with the progress.
        plan_of: returns the agent's plan in force, or None if it makes none.
    """
    log = _Log()
    observations = group.reset()
    log.observations.append(observations)
    log.positions.append(group.positions)
    spent = 0.0
    with Progress(label, steps) as progress:
        for _ in range(steps):
            before = time.perf_counter()
            actions = agent.act(observations)
            spent += time.perf_counter() - before
            plan = plan_of(agent)
            if plan is not None:
                log.plans.append(plan.states.cpu().numpy())
            successors, rewards = group.step(actions)
            agent.observe(observations, actions, rewards, successors)
            observations = successors
            log.observations.append(observations)
            log.positions.append(group.positions)
            log.rewards.append(rewards)
            progress.advance(reward=float(rewards.mean()))
    return Recording(
        np.stack(log.rewards, axis=1),
        np.stack(log.observations, axis=1),
        np.stack(log.positions, axis=1),
        np.stack(log.plans, axis=1) if log.plans else None,
        spent,
    )


def plan_errors(plans: Floats, observations: Floats, scale: Floats, ahead: Sequence[int]) -> dict[str, float]:
    """Return how far executed states are from planned ones, ``ahead`` steps after the decision.

    Args:
        plans: planned states (B, T, H, S); entry 0 of a plan is the state it was made in.
        observations: executed states (B, T + 1, S).
        scale: standard deviation of each state coordinate (S,), which makes errors comparable.
        ahead: steps after the decision, each below H.

    Returns:
        {steps ahead: root mean squared error in normalised units}; decisions too near the episode's end are left out.
    """
    steps = plans.shape[1]
    errors = {}
    for count in ahead:
        usable = steps + 1 - count
        if usable < 1:
            continue
        difference = (plans[:, :usable, count] - observations[:, count:]) / scale
        errors[str(count)] = float(np.sqrt(np.square(difference, dtype=np.float64).mean()))
    return errors
