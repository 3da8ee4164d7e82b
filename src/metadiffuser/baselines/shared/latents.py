"""Conditioning on z at play: warm-start data and an episode's own transitions as contexts of an encoder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from metadiffuser.config.schema import Context
from metadiffuser.data.agent import Agent
from metadiffuser.data.episodes import Floats, transition_rows
from metadiffuser.data.warm_start import WarmStart, gathered_steps

Encode = Callable[[Tensor, Tensor], Tensor]
Policy = Callable[[Tensor, Tensor], Tensor]


class LatentAgent(Agent):
    """Acts by a policy of state and z, for B parallel episodes.

    z comes from the warm start; in zero-shot episodes it is zero, the average training task, until there are
    transitions of the episode itself to encode, as in the planner (docs/deviations.md, 17).

    Args:
        policy: observations (B, S), latents (B, Z) -> actions (B, A).
        encode: contexts (B, K, 2S + A + 1), mask (B, K) -> z (B, Z), standardised.
        warm_start: data of each episode's task.
        drawn_as: how contexts are drawn, and how many transitions they have.
    """

    def __init__(self, policy: Policy, encode: Encode, warm_start: WarmStart, drawn_as: Context):
        self._policy, self._encode, self._drawn_as = policy, encode, drawn_as
        self._online = ~warm_start.has_context
        self._gathered: list[Floats] = []
        with torch.inference_mode():
            self.latents = encode(*warm_start.contexts(drawn_as.context_length)) * warm_start.has_context[:, None]

    def act(self, observations: Floats) -> Floats:
        """Return actions (B, A) for observations (B, S)."""
        with torch.inference_mode():
            self._update_latents()
            states = torch.from_numpy(np.asarray(observations, np.float32))
            return self._policy(states, self.latents).numpy()

    def observe(self, observations: Floats, actions: Floats, rewards: Floats, successors: Floats) -> None:
        """Remember one transition of each zero-shot episode."""
        if bool(self._online.any()):
            self._gathered.append(transition_rows(observations, actions, rewards, successors)[self._online.numpy()])

    def _update_latents(self) -> None:
        """Encode what the zero-shot episodes have gathered: up to K transitions, drawn as contexts in training are."""
        if not self._gathered:
            return
        chosen = gathered_steps(len(self._gathered), self._drawn_as.context_length, self._drawn_as.window)
        contexts = torch.from_numpy(np.stack([self._gathered[index] for index in chosen], axis=1))
        self.latents[self._online] = self._encode(contexts, torch.ones(contexts.shape[:2], dtype=torch.bool))
