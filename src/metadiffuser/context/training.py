"""Training of a task representation with the generalised reward and dynamics models (metadiffuser.md, section 1)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from metadiffuser.checkpointing import TrainingState
from metadiffuser.context.hypotheses import squared_errors
from metadiffuser.context.predictions import predictions
from metadiffuser.context.pretraining import Record, train_encoder
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.value import ReturnsToGo, value_loss
from metadiffuser.data.windows import TaskData, draw_contexts, draw_transitions
from metadiffuser.training import Losses, fit

LATENTS = 256  # contexts encoded per training task, from which the z of a training sample is drawn
STANDARDISING_CONTEXTS = 64  # contexts per training task that set the scale of z, and whose mean z is the task's
KEPT_TRANSITIONS = 256  # transitions per training task that the errors which a model keeps are measured on
VALIDATION_CONTEXTS = 8  # contexts per task and target batch when errors are measured


def prediction_losses(model: ContextModel, latents: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the reward and dynamics losses of targets (B, M, 2S + A + 1) given z (B, Z).

    Both are means of ``config.loss`` in normalised units; their gradient flows into z.
    """
    rewards, changes, reward, change = predictions(model, latents, targets)
    if model.config.loss == "squared":
        return functional.mse_loss(rewards, reward), functional.mse_loss(changes, change)
    delta = model.config.huber_delta
    return huber(rewards, reward, delta), huber(changes, change, delta)


def huber(predicted: Tensor, wanted: Tensor, delta: float) -> Tensor:
    """Return the mean of an error's square, which from ``delta`` on goes on as its tangent: 2 delta |e| - delta^2.

    Errors at contacts are tens of times those elsewhere. Squared, they decide what is learned, although no z tells
    when a foot will touch the ground; the tangent gives every large error the same pull.
    """
    return 2 * functional.huber_loss(predicted, wanted, delta=delta)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, exp(log_variance)) || N(0, 1)), the mean over all entries (B, Z)."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).mean()


def encode_some(
    model: ContextModel, data: TaskData, tasks: Tensor, generator: torch.Generator, full: bool = True
) -> Tensor:
    """Return latents (B, Z) of one context drawn for each of ``tasks`` (B,), positions in ``data``."""
    config = model.config
    contexts, mask = draw_contexts(data, tasks, config.context_length, generator, full, config.window)
    return model.encode(contexts, mask, data.parameters[tasks])


@torch.no_grad()
def encode_tasks(
    model: ContextModel, data: TaskData, count: int, generator: torch.Generator, full: bool = True
) -> Tensor:
    """Return latents (N, count, Z) of ``count`` contexts drawn from each task's episodes."""
    tasks = torch.arange(data.rewards.shape[0]).repeat_interleave(count)
    return encode_some(model, data, tasks, generator, full).view(-1, count, model.latent_size)


def task_latents(model: ContextModel, data: TaskData, generator: torch.Generator) -> Tensor:
    """Return z (N, M, Z) of M contexts of each task, of any length, that training samples are conditioned on."""
    return encode_tasks(model, data, LATENTS, generator, full=False)


def draw_latents(latents: Tensor, tasks: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one of the M latents (N, M, Z) of each row's task; tasks (B,) -> (B, Z)."""
    return latents[tasks, torch.randint(latents.shape[1], tasks.shape, generator=generator)]


@torch.no_grad()
def keep_hypotheses(model: ContextModel, data: TaskData, generator: torch.Generator) -> None:
    """Give a trained model its training tasks' mean z, and its mean squared errors with them.

    Args:
        model: trained, its latents standardised.
        data: N training tasks.
        generator: draws contexts and transitions.
    """
    latents = encode_tasks(model, data, STANDARDISING_CONTEXTS, generator).mean(dim=1)
    tasks = torch.arange(len(latents))
    squares = squared_errors(model, latents[:, None], draw_transitions(data, tasks, KEPT_TRANSITIONS, generator))
    model.keep_tasks(latents, squares.mean(dim=(0, 1, 2)))


def train_context(model: ContextModel, data: TaskData, generator: torch.Generator, checkpoint: Path) -> list[Record]:
    """Train in place on N training tasks; return the learning curve.

    ``generalised`` trains encoder and models jointly. ``focal`` and ``corro`` train the encoder first, by a loss of
    their own, and the models on its frozen z; their curve has the first part's losses beside the second's, step by
    step. ``true_task`` has the models to train alone.

    Context and targets are drawn from the task independently of each other, so that z carries the task
    and not the window. A tenth of the tasks' episodes is held out for the curve's validation loss.

    Args:
        model: initialised module; its normaliser is fitted here.
        data: training tasks.
        generator: source of randomness.
        checkpoint: file to go on from if it exists, and to write now and then; those of the first part lie beside it.

    Raises:
        InputError: ``focal`` or ``corro``, and less than two tasks to tell apart.
    """
    model.normaliser.fit(data.observations, data.rewards)
    training, held_out = data.split_episodes()
    first: list[Record] = []
    if model.representation == "true_task":
        model.set_scale(data.parameters)
    elif model.representation != "generalised":
        first = train_encoder(model, training, held_out, generator, checkpoint)
        model.set_scale(encode_tasks(model, data, STANDARDISING_CONTEXTS, generator).flatten(0, 1))
    records = _train_models(model, training, held_out, generator, checkpoint)
    if model.representation == "generalised":
        model.standardise(encode_tasks(model, data, STANDARDISING_CONTEXTS, generator).flatten(0, 1))
    return [record | before for record, before in zip(records, first, strict=True)] if first else records


def _train_models(
    model: ContextModel, training: TaskData, held_out: TaskData, generator: torch.Generator, checkpoint: Path
) -> list[Record]:
    """Train the reward, dynamics and value models, and the encoder with them unless it is frozen.

    V is trained beside the others, on z as it is; its loss reaches no weights but its own.
    """
    config = model.config
    returns = ReturnsToGo.of(model, training)
    model.set_value_scale(returns.returns)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    tasks_count = training.rewards.shape[0]
    checked = torch.arange(tasks_count).repeat(VALIDATION_CONTEXTS)
    length = config.context_length
    contexts_, mask_ = draw_contexts(held_out, checked, length, generator, True, config.window)
    targets_ = draw_transitions(held_out, checked, config.target_batch, generator)

    def draw_losses() -> Losses:
        tasks = torch.randint(tasks_count, (config.task_batch,), generator=generator)
        contexts, mask = draw_contexts(training, tasks, length, generator, window=config.window)
        targets = draw_transitions(training, tasks, config.target_batch, generator)
        penalty = targets.new_zeros(())
        if model.variational:
            mean, log_variance = model.posterior(contexts, mask)
            latents = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator)
            penalty = divergence(mean, log_variance)
        else:
            latents = model.encode(contexts, mask, training.parameters[tasks])
        noise = config.latent_noise * torch.randn(latents.shape, generator=generator)
        reward, dynamics = prediction_losses(model, latents + noise, targets)
        value = value_loss(model, latents, *returns.draw(tasks, config.target_batch, generator))
        loss = reward + dynamics + config.kl_weight * penalty
        losses = {"loss": loss, "reward_loss": reward, "dynamics_loss": dynamics, "value_loss": value}
        return loss + value, losses | ({"divergence": penalty} if model.variational else {})

    def validate() -> float:
        latents = model.encode(contexts_, mask_, held_out.parameters[checked])
        reward, dynamics = prediction_losses(model, latents, targets_)
        return float(reward + dynamics)

    state = TrainingState({"model": model}, {"adam": optimiser}, {"data": generator})
    return fit("train_context", config.steps, draw_losses, validate, optimiser, state, checkpoint)
