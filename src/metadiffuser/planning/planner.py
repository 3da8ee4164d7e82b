"""The planner: a batch of plans by guided denoising (method section 3).

For k = T..1, with s_0 clamped to the observed state:

    x0      = mix(model(x_k, k, null), model(x_k, k, z), omega)
    mean    = clean_weight * x0 + noisy_weight * x_k
    x_{k-1} = mean + variance * (alpha * g) + temperature * noise_scale * noise

The guide's gradient g is taken at x0, since the reward and dynamics models know clean segments only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from metadiffuser.config import Planning
from metadiffuser.context.representation import ContextModel
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.diffusion.schedule import reverse_steps
from metadiffuser.planning.conditions import mix
from metadiffuser.planning.guide import dual_gradient


@dataclass(frozen=True)
class Request:
    """What B plans are made for.

    Attributes:
        states: observed states (B, S), in the environment's units.
        latents: z (B, Z).
        known: whether z is to be used (B,); where False the null condition takes its place.
        return_scale: alpha of each plan (B,).
        dynamics_scale: alpha * lambda of each plan (B,).
    """

    states: Tensor
    latents: Tensor
    known: Tensor
    return_scale: Tensor
    dynamics_scale: Tensor


@dataclass(frozen=True)
class Plan:
    """B plans of H steps.

    Attributes:
        segments: (B, H, S + A), normalised states and actions; travelled coordinates count from the first state.
        states: (B, H, S), in the environment's units.
        actions: (B, H, A), in [-1, 1].
    """

    segments: Tensor
    states: Tensor
    actions: Tensor


class Planner:
    """Makes plans with a diffusion model, guided by a context model's reward and dynamics models.

    Args:
        diffusion: the conditional diffusion model (its averaged weights).
        context: the context model whose z it was trained with.
        config: sampler, omega, temperature, guide.
    """

    def __init__(self, diffusion: DiffusionModel, context: ContextModel, config: Planning):
        self.diffusion = diffusion
        self.context = context
        self.config = config
        self.steps = reverse_steps(diffusion.config.denoising_steps, config.sampler, config.sampling_steps)
        told = torch.tensor([step.step for step in self.steps], device=diffusion.rates.device)
        with torch.inference_mode():
            self._step_conditions = diffusion.network.step_condition(told)

    def draw_noise(self, size: int, generator: torch.Generator) -> Tensor:
        """Return the noise (steps + 1, B, H, S + A) of a plan: the start, then one for each step."""
        shape = (len(self.steps) + 1, size, self.diffusion.config.horizon, self.diffusion.low.numel())
        return torch.randn(shape, generator=generator).to(self.diffusion.low.device)

    @torch.inference_mode()
    def plan(self, request: Request, noise: Tensor) -> Plan:
        """Return plans for ``request``; each row depends on its own request and noise alone.

        Args:
            request: what the plans are for.
            noise: of ``draw_noise``.
        """
        diffusion, config = self.diffusion, self.config
        size = diffusion.observation_size
        origin = diffusion.normaliser.origin(request.states)
        first = diffusion.normaliser.state(request.states - origin)
        predict = self._predictor(request)
        scale = (request.return_scale, request.dynamics_scale)
        guided = any(bool(part.any()) for part in scale)
        x = noise[0].clone()
        x[:, 0, :size] = first
        for index, step in enumerate(self.steps):
            clean = diffusion.clean(predict(x, index), x, step)
            clean[:, 0, :size] = first
            last = index == len(self.steps) - 1
            x = step.clean_weight * clean + step.noisy_weight * x
            if guided and index < len(self.steps) - config.unguided_steps:
                x = x + step.variance * self._gradient(clean, request)
            if not last:
                x = x + config.temperature * step.noise_scale * noise[index + 1]
            x[:, 0, :size] = first
        x = torch.minimum(torch.maximum(x, diffusion.low), diffusion.high)
        x[:, 0, :size] = first
        states = diffusion.normaliser.raw_state(x[..., :size]) + origin[:, None]
        return Plan(x, states, x[..., size:])

    def _gradient(self, clean: Tensor, request: Request) -> Tensor:
        with torch.inference_mode(False):
            parts = (clean, request.latents, request.return_scale, request.dynamics_scale)
            return dual_gradient(self.context, *(part.clone() for part in parts))

    def _predictor(self, request: Request) -> Callable[[Tensor, int], Tensor]:
        """Return (x, step index) -> mixed prediction, with both branches in one forward pass where both are needed."""
        network, weight = self.diffusion.network, self.config.guidance_weight
        known = request.known if weight > 0 else torch.zeros_like(request.known)
        conditional = network.task_condition(request.latents, known)
        if weight in (0.0, 1.0) or not bool(known.any()):
            return lambda x, index: cast(Tensor, network(x, conditional + self._step_conditions[index]))
        both = torch.cat([network.task_condition(request.latents, torch.zeros_like(known)), conditional])

        def predict(x: Tensor, index: int) -> Tensor:
            unconditional, with_task = network(x.repeat(2, 1, 1), both + self._step_conditions[index]).chunk(2)
            return mix(unconditional, with_task, weight)

        return predict
