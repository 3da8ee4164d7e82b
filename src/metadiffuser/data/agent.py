"""What acts in an evaluation: the planner, every baseline and the random planner are agents."""

from __future__ import annotations

from typing import Protocol

from metadiffuser.data.episodes import Floats


class Agent(Protocol):
    """An agent for B parallel episodes."""

    def act(self, observations: Floats) -> Floats:
        """Return actions (B, A), in [-1, 1], for observations (B, S)."""
        ...

    def observe(self, observations: Floats, actions: Floats, rewards: Floats, successors: Floats) -> None:
        """Take note of one transition of each episode: (B, S), (B, A), (B,), (B, S)."""
        ...
