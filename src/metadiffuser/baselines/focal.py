"""FOCAL: a distance-metric encoder and a behaviour-regularised actor-critic (Li et al., ICLR 2021, arXiv 2010.01112).

Equations beside functions, and departures: docs/methods/focal.md.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from metadiffuser.baselines.shared.encoded import EncodedModel, EncodedParameters, fit_part, train_policy
from metadiffuser.baselines.shared.interface import MethodInfo, Records, Training
from metadiffuser.baselines.shared.latents import LatentAgent
from metadiffuser.config.schema import Context
from metadiffuser.context.focal import distance_metric_loss
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData, draw_contexts

# ---- Config ----

METHOD = MethodInfo(title="FOCAL", colour="#2B6CB0")
CONTEXTS = 2  # of each task in a step: the pair that is pulled together


class Parameters(EncodedParameters):
    """Method ``focal``: an encoder trained by distances between contexts, then an actor-critic."""


# ---- Networks ----


class Model(EncodedModel):
    """Encoder, and actor, cloned behaviour and twin critics of state and z."""

    Config = Parameters


# ---- Loss ----


def metric_loss(model: Model, drawn_as: Context, data: TaskData, generator: torch.Generator) -> Tensor:
    """Return FOCAL's distance loss of two contexts, drawn as section ``context`` says, of ``task_batch`` tasks."""
    drawn = torch.randint(data.rewards.shape[0], (model.config.task_batch,), generator=generator)
    tasks = drawn.repeat(CONTEXTS)
    contexts, mask = draw_contexts(data, tasks, drawn_as.context_length, generator, window=drawn_as.window)
    return distance_metric_loss(model.encode(contexts, mask), tasks)


# ---- Train ----


def train(model: Model, training: Training) -> tuple[Model, Records]:
    """Train the encoder by distances of contexts, then the actor-critic on its z."""
    loss = partial(metric_loss, model, training.context.config)
    first = fit_part(model.encoder, loss, model, training, "encoder")
    return model, [*first, *train_policy(model, training, "focal")]


# ---- Adapt ----


def adapt(model: Model, warm_start: WarmStart, context: ContextModel, generator: torch.Generator) -> LatentAgent:
    """Encode the warm start with FOCAL's own encoder; nothing is drawn."""
    return LatentAgent(partial(act, model), model.encode, warm_start, context.config)


# ---- Act ----


def act(model: Model, states: Tensor, latents: Tensor) -> Tensor:
    """Return the actor's deterministic actions (B, A) in states (B, S) under z (B, Z)."""
    actions: Tensor = model(states, latents)
    return actions
