"""What is measured of plans while they are executed: running sums, and full plans of a few episodes only.

A plan is compared with what happens after the decision it was made for. A plan that stays in force for several
steps (``planning.actions_per_plan``) counts once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from metadiffuser.context.representation import ContextModel
from metadiffuser.data.episodes import Floats
from metadiffuser.evaluation.rollout import BatchedEnvs
from metadiffuser.planning.agent import PlanningAgent
from metadiffuser.planning.planner import Plan

Sums = NDArray[np.float64]


def steps_ahead(horizon: int) -> list[int]:
    """Return the steps after a decision at which plans are compared with what happened: 1, 5 and H - 1."""
    return sorted({1, min(5, horizon - 1), horizon - 1})


class NewPlanDetector:
    """Tells a plan that was just made from one that is still in force."""

    def __init__(self, agent: PlanningAgent):
        self._agent = agent
        self._last: Plan | None = None

    def plan(self) -> Plan | None:
        """Return the agent's plan if it is a new one."""
        plan = self._agent.plan
        if plan is None or plan is self._last:
            return None
        self._last = plan
        return plan


class PlanErrors:
    """Mean squared differences of planned and executed states, by episode and steps ahead.

    Args:
        agent: whose plans are watched.
        ahead: steps after the decision, each below H.
        scale: standard deviation of each state coordinate (S,), which makes errors comparable.
    """

    def __init__(self, agent: PlanningAgent, ahead: Sequence[int], scale: Floats):
        self._fresh, self._ahead, self._scale = NewPlanDetector(agent), list(ahead), scale
        self._expected: dict[int, list[tuple[int, Floats]]] = {}
        self._sums: dict[int, Sums] = {}
        self._counts: dict[int, int] = {}

    def decided(self, step: int) -> None:
        """Keep the states that a new plan expects at the steps that are compared."""
        plan = self._fresh.plan()
        if plan is not None:
            chosen = plan.states[:, self._ahead].cpu().numpy()
            for column, ahead in enumerate(self._ahead):
                self._expected.setdefault(step + ahead, []).append((ahead, chosen[:, column]))

    def stepped(self, step: int, observations: Floats, rewards: Floats) -> None:
        """Compare ``observations`` (B, S) with what earlier plans expected of them."""
        for ahead, expected in self._expected.pop(step + 1, ()):
            squares = np.square((expected - observations) / self._scale, dtype=np.float64).mean(axis=1)
            self._sums[ahead] = self._sums.get(ahead, 0.0) + squares
            self._counts[ahead] = self._counts.get(ahead, 0) + 1

    def mean_squares(self) -> dict[int, Sums]:
        """Return {steps ahead: mean squared error (B,)} in normalised units.

        Decisions too near the episode's end are left out, and with them steps ahead that no decision reaches.
        """
        return {ahead: total / self._counts[ahead] for ahead, total in sorted(self._sums.items())}


class PredictedReturns:
    """What the reward model promises of a plan's H steps, against what the next H steps paid.

    Args:
        agent: whose plans are watched.
        model: its reward model and normaliser; its z is the agent's.
        horizon: H.
        steps: T; plans that reach beyond the episode's end are left out.
    """

    def __init__(self, agent: PlanningAgent, model: ContextModel, horizon: int, steps: int):
        self._agent, self._fresh, self._model = agent, NewPlanDetector(agent), model
        self._horizon, self._steps = horizon, steps
        self._paid: Sums | float = 0.0
        self._paid_before: dict[int, Sums | float] = {}
        self._predicted: Sums | float = 0.0
        self._received: Sums | float = 0.0
        self._count = 0

    @torch.inference_mode()
    def decided(self, step: int) -> None:
        """Add up the rewards that the model predicts for the state-action pairs of a new plan."""
        plan = self._fresh.plan()
        if plan is None or step + self._horizon > self._steps:
            return
        model = self._model
        states, actions = plan.segments.split([model.observation_size, model.action_size], dim=-1)
        latents = self._agent.latents[:, None].expand(-1, self._horizon, -1)
        rewards = model.normaliser.raw_reward(model.predict_rewards(states, actions, latents))
        self._predicted = self._predicted + rewards.sum(dim=1, dtype=torch.float64).cpu().numpy()
        self._paid_before[step + self._horizon] = self._paid
        self._count += 1

    def stepped(self, step: int, observations: Floats, rewards: Floats) -> None:
        """Note what was paid, and close the plans that end here."""
        self._paid = self._paid + rewards.astype(np.float64)
        if step + 1 in self._paid_before:
            self._received = self._received + (self._paid - self._paid_before.pop(step + 1))

    def means(self) -> tuple[Sums, Sums] | None:
        """Return the means over plans of (predicted, received) return of H steps, each (B,), in units of reward.

        None if no plan ends within the episode.
        """
        if self._count == 0:
            return None
        return np.asarray(self._predicted / self._count), np.asarray(self._received / self._count)


class Film:
    """Positions and plans of the episodes that are shown, step by step.

    Args:
        agent: whose plans are watched.
        envs: the environments, not yet reset.
        rows: the episodes shown, of B.
    """

    def __init__(self, agent: PlanningAgent, envs: BatchedEnvs, rows: Sequence[int]):
        self._agent, self._envs, self._rows = agent, envs, list(rows)
        self._fresh, self._made = NewPlanDetector(agent), 0
        self.positions: list[Floats] = []
        self.plans: list[Floats] = []
        self.made: list[int] = []

    def decided(self, step: int) -> None:
        """Keep where the episodes are, the plan in force there and when it was made."""
        if self._fresh.plan() is not None:
            self._made = step
        assert self._agent.plan is not None
        self.positions.append(self._envs.positions[self._rows])
        self.plans.append(self._agent.plan.states[self._rows].cpu().numpy())
        self.made.append(self._made)

    def stepped(self, step: int, observations: Floats, rewards: Floats) -> None:
        """Keep where the episodes are in the end; ``decided`` keeps the steps before."""
        self._last = self._envs.positions[self._rows]

    def arrays(self) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Return positions (R, T + 1, Q), plans in force (R, T, H, S), and when each was made (T,)."""
        positions = np.stack([*self.positions, self._last], axis=1)
        return positions, np.stack(self.plans, axis=1), np.array(self.made)
