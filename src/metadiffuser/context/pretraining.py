"""Encoders that learn by themselves, before the models do: FOCAL's and CORRO's (metadiffuser.md, section 1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from metadiffuser.context.corro import Relabeller, contrastive_loss
from metadiffuser.context.focal import distance_metric_loss
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.windows import TaskData, draw_contexts, draw_transitions
from metadiffuser.errors import InputError
from metadiffuser.seeding import torch_initialisation
from metadiffuser.training import fit_first

Record = dict[str, float]
Loss = Callable[[TaskData, torch.Generator], Tensor]


def train_encoder(
    model: ContextModel, training: TaskData, held_out: TaskData, generator: torch.Generator, checkpoint: Path
) -> list[Record]:
    """Train the encoder in place by its representation's own loss and freeze it; return the learning curve.

    Every part takes ``config.steps`` steps: FOCAL's encoder; CORRO's relabeller, then its encoder.

    Raises:
        InputError: less than two tasks to tell apart.
    """
    tasks = training.rewards.shape[0]
    if tasks < 2:
        raise InputError(f"tasks.train: {model.representation} tells tasks apart and needs two or more, got {tasks}")
    assert model.encoder is not None
    parts = []
    if model.representation == "corro":
        relabeller = _make_relabeller(model, tasks, generator)
        reproduction = partial(relabelling_loss, model, relabeller)
        parts.append(_fit(model, relabeller, reproduction, training, held_out, generator, checkpoint, "relabeller"))
        contrast = partial(contrast_loss, model, relabeller.requires_grad_(False))
    else:
        contrast = partial(metric_loss, model)
    parts.append(_fit(model, model.encoder, contrast, training, held_out, generator, checkpoint, "encoder"))
    model.encoder.requires_grad_(False)
    return [
        {name: value for record in records for name, value in record.items()} for records in zip(*parts, strict=True)
    ]


def _make_relabeller(model: ContextModel, tasks: int, generator: torch.Generator) -> Relabeller:
    """Return an untrained relabeller; its weights come from ``generator``."""
    config = model.config
    with torch_initialisation(int(torch.randint(2**62, (), generator=generator)), "relabeller"):
        return Relabeller(model.observation_size, model.action_size, config.latent_size, config.hidden, tasks)


def metric_loss(model: ContextModel, data: TaskData, generator: torch.Generator) -> Tensor:
    """Return FOCAL's loss of two contexts of each of ``task_batch`` tasks."""
    config = model.config
    tasks = torch.randint(data.rewards.shape[0], (config.task_batch,), generator=generator).repeat(2)
    contexts, mask = draw_contexts(data, tasks, config.context_length, generator, window=config.window)
    return distance_metric_loss(model.encode(contexts, mask), tasks)


def relabelling_loss(model: ContextModel, relabeller: Relabeller, data: TaskData, generator: torch.Generator) -> Tensor:
    """Return the relabeller's squared errors on ``target_batch`` transitions of each of ``task_batch`` tasks."""
    config = model.config
    tasks = torch.randint(data.rewards.shape[0], (config.task_batch,), generator=generator)
    rows = draw_transitions(data, tasks, config.target_batch, generator)
    return relabeller.losses(rows, tasks, model.normaliser)


def contrast_loss(model: ContextModel, relabeller: Relabeller, data: TaskData, generator: torch.Generator) -> Tensor:
    """Return CORRO's loss of contexts as the encoder will be given them."""
    config = model.config

    def draw(tasks: Tensor) -> tuple[Tensor, Tensor]:
        return draw_contexts(data, tasks, config.context_length, generator, window=config.window)

    size = (config.task_batch, data.rewards.shape[0])
    return contrastive_loss(model.encode, relabeller, model.normaliser, draw, *size, generator)


def _fit(
    model: ContextModel,
    module: nn.Module,
    loss_of: Loss,
    training: TaskData,
    held_out: TaskData,
    generator: torch.Generator,
    checkpoint: Path,
    name: str,
) -> list[Record]:
    """Minimise ``loss_of`` over the parameters of ``module``; return the records, named for this part."""
    config = model.config
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    seed = int(torch.randint(2**62, (), generator=generator))
    return fit_first(
        f"train_context ({name})",
        name,
        config.steps,
        module,
        optimiser,
        lambda: loss_of(training, generator),
        lambda: float(loss_of(held_out, torch.Generator().manual_seed(seed))),
        generator,
        checkpoint,
    )
