"""Training of the context encoder with the generalised reward and dynamics models (method section 2.1)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from metadiffuser.checkpointing import TrainingState
from metadiffuser.config import Context
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.windows import TaskData, draw_contexts, draw_transitions
from metadiffuser.training import fit

HELD_OUT = 0.1  # share of each task's episodes kept for the validation loss
STANDARDISING_CONTEXTS = 64  # contexts per training task that set the scale of z
VALIDATION_CONTEXTS = 8  # contexts per task and target batch when errors are measured


def prediction_losses(
    model: ContextModel, contexts: Tensor, mask: Tensor, targets: Tensor, noise: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return the reward and dynamics losses of targets (B, M, 2S + A + 1) given z of contexts (B, K, 2S + A + 1).

    Both are mean squared errors in normalised units; their gradient flows into the encoder.
    """
    latents = model.encode(contexts, mask) + noise
    latents = latents[:, None].expand(-1, targets.shape[1], -1)
    state, action, reward, successor = targets.split(model.encoder.sizes, dim=-1)
    state_, reward_ = model.normaliser.state(state), model.normaliser.reward(reward[..., 0])
    change = model.normaliser.delta(successor - state)
    reward_loss = functional.mse_loss(model.predict_rewards(state_, action, latents), reward_)
    dynamics_loss = functional.mse_loss(model.predict_changes(state_, action, latents), change)
    return reward_loss, dynamics_loss


def validation_batch(model: ContextModel, data: TaskData, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw contexts, masks and targets of every task in ``data``, for measuring errors."""
    tasks = torch.arange(data.rewards.shape[0]).repeat(VALIDATION_CONTEXTS)
    contexts, mask = draw_contexts(data, tasks, model.config.context_length, generator, full=True)
    return contexts, mask, draw_transitions(data, tasks, model.config.target_batch, generator)


@torch.no_grad()
def prediction_errors(model: ContextModel, data: TaskData, generator: torch.Generator) -> tuple[float, float]:
    """Return root mean squared errors of rewards and of changes of state over all tasks, in normalised units."""
    reward, dynamics = prediction_losses(model, *validation_batch(model, data, generator))
    return float(reward.sqrt()), float(dynamics.sqrt())


@torch.no_grad()
def encode_tasks(
    model: ContextModel, data: TaskData, count: int, generator: torch.Generator, full: bool = True
) -> Tensor:
    """Return latents (N, count, Z) of ``count`` contexts drawn from each task's episodes."""
    tasks = torch.arange(data.rewards.shape[0]).repeat_interleave(count)
    contexts, mask = draw_contexts(data, tasks, model.config.context_length, generator, full)
    return model.encode(contexts, mask).view(-1, count, model.latent_size)


def train_context(
    model: ContextModel, data: TaskData, generator: torch.Generator, checkpoint: Path
) -> list[dict[str, float]]:
    """Train in place on N training tasks; return the learning curve.

    Context and targets are drawn from different windows of the same task, so that z carries the task
    and not the window. A tenth of the tasks' episodes is held out for the curve's validation loss.

    Args:
        model: initialised module; its normaliser is fitted here.
        data: training tasks.
        generator: source of randomness.
        checkpoint: file to go on from if it exists, and to write now and then.
    """
    config: Context = model.config
    model.normaliser.fit(data.observations, data.rewards)
    training, held_out = data.split_episodes(HELD_OUT)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    validation = validation_batch(model, held_out, generator)

    def update() -> dict[str, Tensor]:
        tasks = torch.randint(data.rewards.shape[0], (config.task_batch,), generator=generator)
        contexts, mask = draw_contexts(training, tasks, config.context_length, generator)
        targets = draw_transitions(training, tasks, config.target_batch, generator)
        noise = config.latent_noise * torch.randn(len(tasks), config.latent_size, generator=generator)
        reward, dynamics = prediction_losses(model, contexts, mask, targets, noise)
        loss = reward + dynamics
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return {"loss": loss.detach(), "reward_loss": reward.detach(), "dynamics_loss": dynamics.detach()}

    def validate() -> float:
        reward, dynamics = prediction_losses(model, *validation)
        return float(reward + dynamics)

    state = TrainingState({"model": model}, {"adam": optimiser}, {"data": generator})
    records = fit("train_context", config.steps, update, validate, optimiser, state, checkpoint)
    model.standardise(encode_tasks(model, data, STANDARDISING_CONTEXTS, generator).flatten(0, 1))
    return records
