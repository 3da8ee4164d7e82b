"""Training of the conditional diffusion model, the context encoder frozen (metadiffuser.md, section 2)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from metadiffuser.context.training import draw_latents
from metadiffuser.data.windows import TaskData, draw_segments
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.training import Losses, fit_average

VALIDATION_SEGMENTS = 256


def diffusion_loss(
    model: DiffusionModel,
    clean: Tensor,
    mask: Tensor,
    latents: Tensor,
    has_context: Tensor,
    steps: Tensor,
    noise: Tensor,
) -> Tensor:
    """Return the weighted denoising error.

    The first state is given and does not count; the first action counts ``first_action_weight`` times.

    Args:
        model: the diffusion model.
        clean: segments (B, H, S + A).
        mask: places inside the episode (B, H).
        latents: z (B, Z).
        has_context: False (B,) where the null condition takes the place of z.
        steps: denoising steps k (B,), in 1..T.
        noise: standard normal (B, H, S + A).
    """
    network, size = model.network, model.observation_size
    noisy = model.add_noise(clean, steps, noise)
    condition = network.task_condition(latents, has_context) + network.step_condition(steps)
    target = clean if model.config.prediction_type == "x0" else noise
    weights = torch.ones_like(clean[0])
    weights[0, :size] = 0.0
    weights[0, size:] = model.config.first_action_weight
    weights = weights * mask[..., None]
    errors = (network(noisy, condition) - target).square()
    return (weights * errors).sum() / weights.sum()


def train_diffusion(
    model: DiffusionModel,
    data: TaskData,
    latents: Tensor,
    generator: torch.Generator,
    checkpoint: Path,
    device: str = "cpu",
) -> tuple[DiffusionModel, list[dict[str, float]]]:
    """Train in place; return the averaged model, which is what is evaluated, and the learning curve.

    Args:
        model: initialised; its normaliser is the context model's.
        data: training tasks.
        latents: z (N, M, Z) of M contexts of each task, from the frozen encoder.
        generator: source of randomness.
        checkpoint: file to go on from if it exists, and to write now and then.
        device: where the networks are trained; batches are drawn on the CPU.
    """
    config = model.config
    model.set_range(data.observations)
    training, held_out = (model.rows(part) for part in data.split_episodes())
    model.to(device)

    def draw(rows: Tensor, count: int) -> tuple[Tensor, ...]:
        tasks, clean, mask = draw_segments(rows, config.horizon, count, generator)
        clean = model.relative(clean.to(device))
        chosen = draw_latents(latents, tasks, generator)
        if config.latent_noise:
            chosen = chosen + config.latent_noise * torch.randn(chosen.shape, generator=generator)
        has_context = torch.rand(count, generator=generator) >= config.condition_dropout
        steps = torch.randint(1, config.denoising_steps + 1, (count,), generator=generator)
        drawn = clean, mask, chosen, has_context, steps, torch.randn(clean.shape, generator=generator)
        return tuple(part.to(device) for part in drawn)

    validation = draw(held_out, VALIDATION_SEGMENTS)

    def draw_losses() -> Losses:
        loss = diffusion_loss(model, *draw(training, config.batch_size))
        return loss, {"loss": loss}

    def validate(averaged: DiffusionModel) -> float:
        return float(diffusion_loss(averaged, *validation))

    rest = config.ema_decay, config.learning_rate, config.steps, draw_losses, validate, generator, checkpoint
    return fit_average("train_diffusion", model, *rest)
