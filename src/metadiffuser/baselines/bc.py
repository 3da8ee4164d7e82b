"""Behaviour cloning with z: the expert's actions regressed on state and task representation, a floor for planners.

What it lacks of MetaDiffuser is the plan: encoder, data and contexts are the same (docs/methods/bc.md).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from metadiffuser.baselines.shared.interface import BaselineModel, MethodInfo, Records, Sizes, Training
from metadiffuser.baselines.shared.latents import LatentAgent
from metadiffuser.checkpointing import TrainingState
from metadiffuser.config.schema import MethodParameters, Widths
from metadiffuser.context.encoder import mlp
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import draw_latents
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData, draw_transitions
from metadiffuser.training import Losses, fit

# ---- Config ----

METHOD = MethodInfo(title="Behaviour cloning with z", colour="#0D9488", uses_context=True)
VALIDATION_TRANSITIONS = 1024


class Parameters(MethodParameters):
    """Method ``bc``: behaviour cloning of a policy of state and z."""

    hidden: Widths = Field([256, 256], description="hidden layer widths of the policy")


# ---- Networks ----


class Model(BaselineModel):
    """pi(s, z): a perceptron whose output tanh keeps in [-1, 1].

    Args:
        sizes: of the family and the shared encoder.
        config: section ``baseline.bc``.
    """

    Config = Parameters

    def __init__(self, sizes: Sizes, config: Parameters):
        super().__init__(sizes, config)
        self.network = mlp([sizes.observation + sizes.latent, *config.hidden, sizes.action])

    def forward(self, states: Tensor, latents: Tensor) -> Tensor:
        """Return actions (B, A) for states (B, S), in the environment's units, and z (B, Z)."""
        local = self.normaliser.local(self.normaliser.state(states))
        return torch.tanh(self.network(torch.cat([local, latents], dim=-1)))


# ---- Loss ----


def cloning_loss(model: Model, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
    """Return the mean squared error of actions (B, A) predicted from states (B, S) and z (B, Z)."""
    return functional.mse_loss(model(states, latents), actions)


# ---- Train ----


def train(model: Model, training: Training) -> tuple[Model, Records]:
    """Clone the episodes of ``qualities``; z is of contexts of any episode of the same task."""
    config: Parameters = model.config
    generator = training.generator
    latents = training.latents()
    fitting, held_out = training.pool(config.qualities).split_episodes()
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)

    def draw(part: TaskData, count: int) -> tuple[Tensor, Tensor, Tensor]:
        tasks = torch.randint(len(part.rewards), (count,), generator=generator)
        rows = draw_transitions(part, tasks, 1, generator)[:, 0]
        states, actions = rows[:, : model.sizes.observation], rows[:, model.sizes.observation :]
        return states, actions[:, : model.sizes.action], draw_latents(latents, tasks, generator)

    validation = draw(held_out, VALIDATION_TRANSITIONS)

    def draw_losses() -> Losses:
        loss = cloning_loss(model, *draw(fitting, config.batch_size))
        return loss, {"loss": loss}

    def validate() -> float:
        return float(cloning_loss(model, *validation))

    state = TrainingState({"model": model}, {"adam": optimiser}, {"data": generator})
    return model, fit("train_baseline bc", config.steps, draw_losses, validate, optimiser, state, training.checkpoint)


# ---- Adapt ----


def adapt(model: Model, warm_start: WarmStart, context: ContextModel, generator: torch.Generator) -> LatentAgent:
    """Encode the warm start with the shared encoder; nothing is drawn."""
    return LatentAgent(lambda states, latents: act(model, states, latents), context.encode, warm_start, context.config)


# ---- Act ----


def act(model: Model, states: Tensor, latents: Tensor) -> Tensor:
    """Return the actions (B, A) executed in states (B, S) under z (B, Z): the prediction itself."""
    actions: Tensor = model(states, latents)
    return actions
