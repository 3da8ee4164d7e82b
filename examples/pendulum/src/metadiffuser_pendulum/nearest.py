"""Nearest: the actions of stored transitions, weighted by how near their state and z are to the present ones.

Kernel regression with a learned metric: a memory of transitions is drawn from the data, and training finds one scale
for each entry of state and z, with which the weighted mean of stored actions predicts the actions of others.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from metadiffuser.baselines.shared.interface import BaselineModel, MethodInfo, Records, Sizes, Training
from metadiffuser.baselines.shared.latents import LatentAgent
from metadiffuser.checkpointing import TrainingState
from metadiffuser.config.schema import Count, MethodParameters
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import draw_latents
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData, draw_transitions
from metadiffuser.training import Losses, fit

# ---- Config ----

METHOD = MethodInfo(title="Nearest transitions", colour="#975A16", uses_context=True)
VALIDATION_TRANSITIONS = 1024


class Parameters(MethodParameters):
    """Method ``nearest``: kernel regression of actions on state and z."""

    memory: Count = Field(2048, description="transitions that are stored")


# ---- Networks ----


class Model(BaselineModel):
    """The stored transitions, and the scale of each entry of state and z.

    Args:
        sizes: of the family and the shared encoder.
        config: section ``baseline.nearest``.
    """

    Config = Parameters
    keys: Tensor
    actions: Tensor

    def __init__(self, sizes: Sizes, config: Parameters):
        super().__init__(sizes, config)
        width = sizes.observation + sizes.latent
        self.register_buffer("keys", torch.zeros(config.memory, width))
        self.register_buffer("actions", torch.zeros(config.memory, sizes.action))
        self.log_scale = nn.Parameter(torch.zeros(width))

    def key(self, states: Tensor, latents: Tensor) -> Tensor:
        """Return what is compared (B, S + Z) of states (B, S), in the environment's units, and z (B, Z)."""
        return torch.cat([self.normaliser.local(self.normaliser.state(states)), latents], dim=-1)

    def forward(self, states: Tensor, latents: Tensor) -> Tensor:
        """Return actions (B, A) for states (B, S) and z (B, Z): means of the stored ones, weighted by exp(-d^2)."""
        scale = self.log_scale.exp()
        distances = torch.cdist(self.key(states, latents) * scale, self.keys * scale)
        return torch.softmax(-distances.square(), dim=-1) @ self.actions


# ---- Loss ----


def regression_loss(model: Model, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
    """Return the mean squared error of actions (B, A) predicted from states (B, S) and z (B, Z)."""
    return functional.mse_loss(model(states, latents), actions)


# ---- Train ----


def train(model: Model, training: Training) -> tuple[Model, Records]:
    """Fill the memory from the episodes of ``qualities``, then fit the scales to other draws from them."""
    config: Parameters = model.config
    generator = training.generator
    latents = training.latents()
    fitting, held_out = training.pool(config.qualities).split_episodes()
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)

    def draw(part: TaskData, count: int) -> tuple[Tensor, Tensor, Tensor]:
        tasks = torch.randint(len(part.rewards), (count,), generator=generator)
        rows = draw_transitions(part, tasks, 1, generator)[:, 0]
        states, actions = rows[:, : model.sizes.observation], rows[:, model.sizes.observation :]
        return states, actions[:, : model.sizes.action], draw_latents(latents, tasks, generator)

    states, actions, drawn = draw(fitting, config.memory)
    model.keys.copy_(model.key(states, drawn))
    model.actions.copy_(actions)
    validation = draw(held_out, VALIDATION_TRANSITIONS)

    def draw_losses() -> Losses:
        loss = regression_loss(model, *draw(fitting, config.batch_size))
        return loss, {"loss": loss}

    def validate() -> float:
        return float(regression_loss(model, *validation))

    state = TrainingState({"model": model}, {"adam": optimiser}, {"data": generator})
    name, checkpoint = "train_baseline nearest", training.checkpoint
    return model, fit(name, config.steps, draw_losses, validate, optimiser, state, checkpoint)


# ---- Adapt ----


def adapt(model: Model, warm_start: WarmStart, context: ContextModel, generator: torch.Generator) -> LatentAgent:
    """Encode the warm start with the shared encoder; nothing is drawn."""
    return LatentAgent(lambda states, latents: act(model, states, latents), context.encode, warm_start, context.config)


# ---- Act ----


def act(model: Model, states: Tensor, latents: Tensor) -> Tensor:
    """Return the actions (B, A) executed in states (B, S) under z (B, Z): the prediction itself."""
    actions: Tensor = model(states, latents)
    return actions
