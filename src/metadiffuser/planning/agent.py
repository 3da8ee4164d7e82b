"""The planner as an agent for B parallel episodes: warm-start data in, actions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metadiffuser.context.hypotheses import Belief
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.agent import Agent
from metadiffuser.data.episodes import Floats, transition_rows
from metadiffuser.data.warm_start import WarmStart, gathered_steps
from metadiffuser.planning.planner import Plan, Planner, Request


@dataclass(frozen=True)
class AgentInputs:
    """What the planner is given of each of B episodes.

    Attributes:
        warm_start: the data that z was made of.
        latents: z (B, Z) at the start, which the guide's models see; zero, the average training task, without data.
        has_context: whether the denoiser is conditioned on z from the start (B,); otherwise on the null condition.
        online: whether z comes from the episode's own transitions so far (B,), as in zero-shot.
        return_scale: alpha (B,).
        dynamics_scale: alpha * lambda (B,).
    """

    warm_start: WarmStart
    latents: Tensor
    has_context: Tensor
    online: Tensor
    return_scale: Tensor
    dynamics_scale: Tensor

    @classmethod
    def join(cls, parts: Sequence[AgentInputs]) -> AgentInputs:
        """Return the inputs of all ``parts`` as one batch."""
        names = [name for name in cls.__dataclass_fields__ if name != "warm_start"]
        joined = (torch.cat([getattr(part, name) for part in parts]) for name in names)
        return cls(WarmStart.join([part.warm_start for part in parts]), *joined)

    def __len__(self) -> int:
        return len(self.online)


@torch.inference_mode()
def encode_warm_start(model: ContextModel, warm_start: WarmStart) -> Tensor:
    """Return z (B, Z) of warm-start data; zero, the average training task, in rows without a context."""
    given = warm_start.to(model.latent_mean.device)
    return model.encode(*given.contexts(model.config.context_length), given.parameters) * given.has_context[:, None]


class PlanningAgent(Agent):
    """Plans, executes the first actions, plans again; every ``actions_per_plan`` steps (metadiffuser.md, section 3).

    Args:
        planner: makes the plans.
        inputs: z, guide and warm-start data of each episode.
        generator: source of the sampling noise.
        blocks: equal blocks of episodes that are played with the same noise, so that they compare in pairs.
    """

    def __init__(self, planner: Planner, inputs: AgentInputs, generator: torch.Generator, blocks: int = 1):
        self.planner = planner
        self.inputs = inputs
        self.blocks = blocks
        self.plan: Plan | None = None
        self.latents = inputs.latents
        self.has_context = inputs.has_context
        self._generator = generator
        self._gathered: list[Floats] = []
        self._executed = 0
        warm = inputs.has_context & inputs.warm_start.has_context
        self._learning = inputs.online | (warm & planner.config.online_context)
        self._belief: Belief | None = None
        if planner.config.zero_shot == "hypotheses" and bool(inputs.online.any()):
            self._belief = Belief(planner.context, planner.config.hypotheses, int(inputs.online.sum()))

    def act(self, observations: Floats) -> Floats:
        """Return actions (B, A) for observations (B, S)."""
        if self.plan is None or self._executed >= self.planner.config.actions_per_plan:
            self._update_latents()
            states = torch.from_numpy(np.asarray(observations, np.float32)).to(self.latents.device)
            scales = self.inputs.return_scale, self.inputs.dynamics_scale
            request = Request(states, self.latents, self.has_context, *scales)
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
            if self._belief is not None and self._guessing():
                rows = torch.from_numpy(self._gathered[-1]).to(self.latents.device)
                self._belief.observe(rows[self.inputs.online])

    def _update_latents(self) -> None:
        """Take the episodes' own transitions into account."""
        if self._gathered:
            self._encode()
        if self._belief is not None and self._guessing():
            online, steps = self.inputs.online, self.planner.config.refinement_steps
            self.latents = self.latents.clone()
            self.latents[online] = self._belief.latents(self.latents[online] if self._gathered else None, steps)

    def _guessing(self) -> bool:
        """Return whether the episodes' own transitions do not fill a context yet."""
        return len(self._gathered) < self.planner.context.config.context_length

    def _encode(self) -> None:
        """Encode what the episodes have gathered: up to K transitions, drawn as contexts in training are.

        Zero-shot episodes have nothing else; with ``online_context`` the others' are added to their warm-start's.
        """
        learning, warm_start = self._learning, self.inputs.warm_start
        config = self.planner.context.config
        chosen = gathered_steps(len(self._gathered), config.context_length, config.window)
        rows = np.stack([self._gathered[index] for index in chosen], axis=1)
        contexts = torch.from_numpy(rows).to(self.latents.device)[learning]
        mask = torch.ones(contexts.shape[:2], dtype=torch.bool, device=contexts.device)
        if self.planner.config.online_context:
            warm, warm_mask = (part[learning] for part in warm_start.contexts(config.context_length))
            contexts, mask = torch.cat([warm, contexts], 1), torch.cat([warm_mask, mask], 1)
        with torch.inference_mode():
            self.latents = self.latents.clone()
            self.latents[learning] = self.planner.context.encode(contexts, mask, warm_start.parameters[learning])
        self.has_context = self.has_context | learning
