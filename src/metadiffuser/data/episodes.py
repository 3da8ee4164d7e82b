"""Episodes of one task as a batch of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Episodes:
    """E episodes of T steps; episodes of these families never end early, so all have one length.

    Attributes:
        observations: (E, T + 1, S).
        actions: (E, T, A), in [-1, 1].
        rewards: (E, T).
        parameters: what distinguishes the task (F,), as ``Task.vector``; empty where it is not needed.
    """

    observations: Floats
    actions: Floats
    rewards: Floats
    parameters: Floats = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        episodes, steps = self.rewards.shape
        if self.observations.shape[:2] != (episodes, steps + 1) or self.actions.shape[:2] != (episodes, steps):
            raise ValueError(
                f"expected observations (E, T + 1, S), actions (E, T, A) and rewards (E, T), got "
                f"{self.observations.shape}, {self.actions.shape}, {self.rewards.shape}"
            )

    def __repr__(self) -> str:
        episodes, steps = self.rewards.shape
        return f"Episodes(E={episodes}, T={steps}, S={self.observations.shape[2]}, A={self.actions.shape[2]})"

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def returns(self) -> Floats:
        """Undiscounted return of each episode (E,)."""
        return self.rewards.sum(axis=1, dtype=np.float64).astype(np.float32)

    def transitions(self) -> Floats:
        """Return all transitions (E, T, 2S + A + 1) in the context layout (s, a, r, s')."""
        return transition_rows(self.observations[:, :-1], self.actions, self.rewards, self.observations[:, 1:])

    def select(self, rows: NDArray[np.integer[Any]]) -> Episodes:
        """Return the episodes at ``rows``, a copy of them."""
        return Episodes(self.observations[rows], self.actions[rows], self.rewards[rows], self.parameters)

    @classmethod
    def join(cls, parts: Sequence[Episodes]) -> Episodes:
        """Return the episodes of all ``parts``, which are of one task, as one batch."""
        return cls(
            np.concatenate([part.observations for part in parts]),
            np.concatenate([part.actions for part in parts]),
            np.concatenate([part.rewards for part in parts]),
            parts[0].parameters,
        )


def transition_rows(observations: Floats, actions: Floats, rewards: Floats, successors: Floats) -> Floats:
    """Return transitions (..., 2S + A + 1) as s, a, r, s': the one layout of contexts, in training and at test time.

    Args:
        observations: s (..., S).
        actions: a (..., A).
        rewards: r (...).
        successors: s' (..., S).
    """
    parts = [observations, actions, rewards[..., None], successors]
    return np.concatenate(parts, axis=-1, dtype=np.float32)


def row_sizes(observation_size: int, action_size: int) -> list[int]:
    """Return the widths of s, a, r and s' in a transition's row, by which ``Tensor.split`` takes it apart."""
    return [observation_size, action_size, 1, observation_size]
