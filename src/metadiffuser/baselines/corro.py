"""CORRO: a contrastive encoder with relabelled negatives, then FOCAL's actor-critic (Yuan and Lu, ICML 2022).

arXiv 2206.10442. Equations beside functions, and departures: docs/methods/corro.md.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from metadiffuser.baselines.shared.encoded import EncodedModel, EncodedParameters, EncoderSteps, fit_part, train_policy
from metadiffuser.baselines.shared.interface import MethodInfo, Records, Training
from metadiffuser.baselines.shared.latents import LatentAgent
from metadiffuser.config.schema import Context
from metadiffuser.context import corro as representation
from metadiffuser.context.corro import Relabeller
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData, draw_contexts, draw_transitions
from metadiffuser.seeding import torch_initialisation

# ---- Config ----

METHOD = MethodInfo(title="CORRO", colour="#63B3ED")
RELABELLED = 32  # transitions of each task that the relabeller is fitted to in a step


class Parameters(EncodedParameters):
    """Method ``corro``: an encoder trained by contrast with relabelled data, then an actor-critic."""

    encoder_steps: EncoderSteps = 4000


# ---- Networks ----


class Model(EncodedModel):
    """Encoder, and actor, cloned behaviour and twin critics of state and z; the relabeller is used only in training."""

    Config = Parameters


def make_relabeller(model: Model, training: Training) -> Relabeller:
    """Return an untrained relabeller; its weights come from the training's generator."""
    seed = int(torch.randint(2**62, (), generator=training.generator))
    config: Parameters = model.config
    with torch_initialisation(seed, "relabeller"):
        sizes = (model.sizes.observation, model.sizes.action, config.latent_size)
        return Relabeller(*sizes, config.hidden, len(training.tasks))


# ---- Loss ----


def relabelling_loss(model: Model, relabeller: Relabeller, data: TaskData, generator: torch.Generator) -> Tensor:
    """Return the relabeller's squared errors of rewards and changes of state, on transitions of some tasks."""
    tasks = torch.randint(data.rewards.shape[0], (model.config.task_batch,), generator=generator)
    return relabeller.losses(draw_transitions(data, tasks, RELABELLED, generator), tasks, model.normaliser)


def contrastive_loss(
    model: Model, relabeller: Relabeller, drawn_as: Context, data: TaskData, generator: torch.Generator
) -> Tensor:
    """Return CORRO's InfoNCE of contexts, drawn as section ``context`` says, of ``task_batch`` tasks."""

    def draw(tasks: Tensor) -> tuple[Tensor, Tensor]:
        return draw_contexts(data, tasks, drawn_as.context_length, generator, window=drawn_as.window)

    size = (model.config.task_batch, data.rewards.shape[0])
    return representation.contrastive_loss(model.encode, relabeller, model.normaliser, draw, *size, generator)


# ---- Train ----


def train(model: Model, training: Training) -> tuple[Model, Records]:
    """Train the relabeller, the encoder by contrast, then the actor-critic on its z."""
    relabeller = make_relabeller(model, training)
    reproduction = partial(relabelling_loss, model, relabeller)
    records = fit_part(relabeller, reproduction, model, training, "relabeller")
    relabeller.requires_grad_(False)
    contrast = partial(contrastive_loss, model, relabeller, training.context.config)
    records += fit_part(model.encoder, contrast, model, training, "encoder")
    return model, [*records, *train_policy(model, training, "corro")]


# ---- Adapt ----


def adapt(model: Model, warm_start: WarmStart, context: ContextModel, generator: torch.Generator) -> LatentAgent:
    """Encode the warm start with CORRO's own encoder; nothing is drawn."""
    return LatentAgent(partial(act, model), model.encode, warm_start, context.config)


# ---- Act ----


def act(model: Model, states: Tensor, latents: Tensor) -> Tensor:
    """Return the actor's deterministic actions (B, A) in states (B, S) under z (B, Z)."""
    actions: Tensor = model(states, latents)
    return actions
