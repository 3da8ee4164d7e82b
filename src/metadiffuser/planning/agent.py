"""The planner as an agent for B parallel episodes: contexts in, actions out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metadiffuser.data.episodes import transition_rows
from metadiffuser.data.warm_start import gathered_steps
from metadiffuser.planning.planner import Plan, Planner, Request

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Instructions:
    """What each of B episodes is to be played with.

    Attributes:
        contexts: warm-start transitions (B, K, 2S + A + 1).
        mask: which of them count (B, K).
        online: whether z comes from the agent's own transitions so far (B,), as in zero-shot.
        return_scale: alpha (B,).
        dynamics_scale: alpha * lambda (B,).
        parameters: the task's parameters (B, F), which only the representation ``true_task`` is shown.
    """

    contexts: Tensor
    mask: Tensor
    online: Tensor
    return_scale: Tensor
    dynamics_scale: Tensor
    parameters: Tensor

    @classmethod
    def join(cls, parts: list[Instructions]) -> Instructions:
        """Return the instructions of all ``parts`` as one batch."""
        names = cls.__dataclass_fields__
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def __len__(self) -> int:
        return len(self.online)


class PlanningAgent:
    """Plans, executes the first actions, plans again; every ``actions_per_plan`` steps (method section 3).

    Args:
        planner: makes the plans.
        instructions: contexts and guide of each episode.
        generator: source of the sampling noise.
        blocks: equal blocks of episodes that are played with the same noise, so that they compare in pairs.
    """

    def __init__(self, planner: Planner, instructions: Instructions, generator: torch.Generator, blocks: int = 1):
        self.planner = planner
        self.instructions = instructions
        self.blocks = blocks
        self.plan: Plan | None = None
        self._generator = generator
        self._gathered: list[Floats] = []
        self._executed = 0
        told = instructions.mask.any(dim=1)
        self.known = told & ~instructions.online
        self._learning = instructions.online | (told & planner.config.online_context)
        with torch.inference_mode():
            encoded = planner.context.encode(instructions.contexts, instructions.mask, instructions.parameters)
            self.latents = encoded * self.known[:, None]  # nothing known: the average training task

    def act(self, observations: Floats) -> Floats:
        """Return actions (B, A) for observations (B, S)."""
        if self.plan is None or self._executed >= self.planner.config.actions_per_plan:
            self._update_latents()
            states = torch.from_numpy(np.asarray(observations, np.float32)).to(self.latents.device)
            told = self.instructions
            request = Request(states, self.latents, self.known, told.return_scale, told.dynamics_scale)
            noise = self.planner.draw_noise(len(states) // self.blocks, self._generator)
            self.plan = self.planner.plan(request, noise.repeat(1, 1, self.blocks, 1, 1))
            self._executed = 0
        action = self.plan.actions[:, self._executed].cpu().numpy()
        self._executed += 1
        return action

    def observe(self, observations: Floats, actions: Floats, rewards: Floats, successors: Floats) -> None:
        """Remember one transition of each episode: (B, S), (B, A), (B,), (B, S)."""
        if bool(self._learning.any()):
            self._gathered.append(transition_rows(observations, actions, rewards, successors))

    def _update_latents(self) -> None:
        """Encode what the episodes have gathered: up to K transitions, drawn as contexts in training are.

        Zero-shot episodes have nothing else; with ``online_context`` the others' are added to their warm-start's.
        """
        if not self._gathered:
            return
        told, learning = self.instructions, self._learning
        config = self.planner.context.config
        chosen = gathered_steps(len(self._gathered), config.context_length, config.window)
        rows = np.stack([self._gathered[index] for index in chosen], axis=1)
        contexts = torch.from_numpy(rows).to(self.latents.device)[learning]
        mask = torch.ones(contexts.shape[:2], dtype=torch.bool, device=contexts.device)
        if self.planner.config.online_context:
            warm = told.mask[learning] & ~told.online[learning, None]
            contexts, mask = torch.cat([told.contexts[learning], contexts], 1), torch.cat([warm, mask], 1)
        with torch.inference_mode():
            self.latents = self.latents.clone()
            self.latents[learning] = self.planner.context.encode(contexts, mask, told.parameters[learning])
        self.known = self.known | learning
