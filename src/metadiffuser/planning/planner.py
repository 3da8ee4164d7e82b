"""The planner: a batch of plans by guided denoising (metadiffuser.md, section 3).

For k = T..1, with s_0 clamped to the observed state:

    x0      = mix(model(x_k, k, null), model(x_k, k, z), omega)
    mean    = clean_weight * x0 + noisy_weight * x_k  [+ earlier_weight * x0 of the step before]
    x_{k-1} = mean + variance * g + temperature * noise_scale * noise

The guide's gradient g is taken at x0, since the reward and dynamics models know clean segments only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metadiffuser.config.schema import Planning
from metadiffuser.context.objective import objective
from metadiffuser.context.representation import ContextModel
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.diffusion.schedule import reverse_steps
from metadiffuser.errors import InputError
from metadiffuser.planning.conditions import mixed_predictor
from metadiffuser.planning.guide import DualGuide


@dataclass(frozen=True)
class Request:
    """What B plans are made for.

    Attributes:
        states: observed states (B, S), in the environment's units.
        latents: z (B, Z).
        has_context: whether z is to be used (B,); where False the null condition takes its place.
        return_scale: alpha of each plan (B,).
        dynamics_scale: alpha * lambda of each plan (B,).
    """

    states: Tensor
    latents: Tensor
    has_context: Tensor
    return_scale: Tensor
    dynamics_scale: Tensor

    def repeat(self, times: int) -> Request:
        """Return a request for ``times`` plans of each row (times * B), all rows once before any row twice."""
        names = self.__dataclass_fields__
        return self if times == 1 else Request(*(torch.cat([getattr(self, name)] * times) for name in names))


@dataclass(frozen=True)
class Plan:
    """B plans of H steps.

    Attributes:
        segments: (B, H, S + A), normalised states and actions; unbounded coordinates count from the first state.
        states: (B, H, S), in the environment's units.
        actions: (B, H, A), in [-1, 1].
    """

    segments: Tensor
    states: Tensor
    actions: Tensor


class Planner:
    """Makes plans with a diffusion model, guided by a context model's reward, dynamics and value models.

    Args:
        diffusion: the conditional diffusion model (its averaged weights).
        context: the context model whose z it was trained with.
        config: sampler, omega, temperature, guide. Planners over the same models with other values cost little.

    Raises:
        InputError: more actions are to be executed than a plan has.
    """

    def __init__(self, diffusion: DiffusionModel, context: ContextModel, config: Planning):
        horizon, total = diffusion.config.horizon, diffusion.config.denoising_steps
        if config.actions_per_plan > horizon:
            raise InputError(
                f"planning.actions_per_plan is {config.actions_per_plan}, but a plan has {horizon} actions; lower it, "
                "or raise diffusion.horizon and train again"
            )
        self.diffusion = diffusion
        self.context = context
        self.config = config
        self.steps = reverse_steps(total, config.sampler, config.sampling_steps)
        self._guide = DualGuide(context, config.value_scale)
        numbers = torch.tensor([step.step for step in self.steps], device=diffusion.alphas_cumprod.device)
        with torch.inference_mode():
            self._step_conditions = diffusion.network.step_condition(numbers)

    def draw_noise(self, size: int, generator: torch.Generator) -> Tensor:
        """Return the noise (steps + 1, candidates, B, H, S + A) of B plans: the start, then one for each step."""
        segment = (self.diffusion.config.horizon, self.diffusion.low.numel())
        shape = (len(self.steps) + 1, self.config.candidates, size, *segment)
        return torch.randn(shape, generator=generator, dtype=torch.float32).to(self.diffusion.low.device)

    @torch.inference_mode()
    def plan(self, request: Request, noise: Tensor) -> Plan:
        """Return plans for ``request``; each row depends only on its own request and noise.

        Args:
            request: what the plans are for.
            noise: of ``draw_noise``.
        """
        count = noise.shape[1]
        segments = self._denoise(request.repeat(count), noise.flatten(1, 2))
        if count > 1:
            segments = self._best(segments, request.repeat(count), count)
        normaliser, size = self.diffusion.normaliser, self.diffusion.observation_size
        states = normaliser.denormalise_state(segments[..., :size]) + normaliser.origin(request.states)[:, None]
        return Plan(segments, states, segments[..., size:])

    def _denoise(self, request: Request, noise: Tensor) -> Tensor:
        """Return segments (B, H, S + A) for ``request`` from noise (steps + 1, B, H, S + A)."""
        diffusion, config = self.diffusion, self.config
        size = diffusion.observation_size
        first = diffusion.normaliser.state(request.states - diffusion.normaliser.origin(request.states))
        predict = mixed_predictor(diffusion.network, request.latents, request.has_context, config.guidance_weight)
        guided = bool(request.return_scale.any()) or bool(request.dynamics_scale.any())
        gradient = self._guide.prepare(request.latents, request.return_scale, request.dynamics_scale)
        x = noise[0].clone()
        x[:, 0, :size] = first
        earlier = x
        for index, step in enumerate(self.steps):
            clean = diffusion.clean(predict(x, self._step_conditions[index]), x, step)
            clean[:, 0, :size] = first
            x = step.clean_weight * clean + step.noisy_weight * x
            if step.earlier_weight:
                x = x + step.earlier_weight * earlier
            if guided and index < len(self.steps) - config.unguided_steps:
                x = x + step.variance * gradient(clean)
            if step.noise_scale:
                x = x + config.temperature * step.noise_scale * noise[index + 1]
            x[:, 0, :size] = first
            earlier = clean
        x = torch.minimum(torch.maximum(x, diffusion.low), diffusion.high)
        x[:, 0, :size] = first
        return x

    def _best(self, segments: Tensor, request: Request, count: int) -> Tensor:
        """Return of ``count`` candidates (count * B, H, S + A) the one (B, H, S + A) that the guide prefers.

        Of equally good candidates (all of them, if both scales are zero) it is the first.
        """
        scales = (request.return_scale, request.dynamics_scale)
        scores = objective(self.context, segments, request.latents, *scales, value_scale=self.config.value_scale)
        chosen = scores.view(count, -1).argmax(dim=0)
        return segments.unflatten(0, (count, -1))[chosen, torch.arange(len(chosen), device=chosen.device)]
