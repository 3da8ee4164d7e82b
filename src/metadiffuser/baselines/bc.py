"""Behaviour cloning with z: a Gaussian policy of state and task representation, fitted to the actions in the data.

What it lacks of MetaDiffuser is the plan: encoder, data and contexts are the same (docs/methods/bc.md).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from metadiffuser.baselines.shared.interface import BaselineModel, MethodInfo, Records, Sizes, Training
from metadiffuser.baselines.shared.latents import LatentAgent
from metadiffuser.config.schema import Fraction, GradientSteps, MethodParameters, Scale, Widths
from metadiffuser.context.encoder import mlp
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import draw_latents
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData, draw_transitions
from metadiffuser.training import Losses, fit_average

# ---- Config ----

METHOD = MethodInfo(
    title="Behaviour cloning with z",
    colour="#0D9488",
    uses_context=True,
    calibrated={"temperature": (0.0, 0.3, 1.0)},
)
LOG_DEVIATION = (-5.0, 0.5)  # bounds of the logarithm of an action's standard deviation
VALIDATION_TRANSITIONS = 1024


class Parameters(MethodParameters):
    """Method ``bc``: behaviour cloning of a policy of state and z."""

    steps: GradientSteps = 12000
    hidden: Widths = Field([256, 256], description="hidden layer widths of the policy")
    ema_decay: Fraction = Field(0.995, description="decay of the averaged weights, as the planner's")
    temperature: Scale = Field(0.0, description="scale of the noise of executed actions; 0 executes their mean")


# ---- Networks ----


class Model(BaselineModel):
    """pi(a | s, z): a Gaussian whose mean tanh keeps in [-1, 1], and whose deviation depends on s and z.

    Args:
        sizes: of the family and the shared encoder.
        config: section ``baseline.bc``.
    """

    Config = Parameters

    def __init__(self, sizes: Sizes, config: Parameters):
        super().__init__(sizes, config)
        self.network = mlp([sizes.observation + sizes.latent, *config.hidden, 2 * sizes.action])

    def forward(self, states: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log deviation (B, A) of actions in states (B, S), in the environment's units, under z."""
        local = self.normaliser.local(self.normaliser.state(states))
        mean, log_deviation = self.network(torch.cat([local, latents], dim=-1)).chunk(2, dim=-1)
        return torch.tanh(mean), log_deviation.clamp(*LOG_DEVIATION)


# ---- Loss ----


def cloning_loss(model: Model, states: Tensor, actions: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Return two losses of actions (B, A) in states (B, S) under z (B, Z), each a mean over all entries.

    The mean is fitted by its squared error, so that rare large errors of uncertain states count in full. The deviation
    is fitted by the Gaussian's negative log-likelihood, less its constant, around that mean, which it leaves as it is.
    """
    mean, log_deviation = model(states, latents)
    squared = functional.mse_loss(mean, actions, reduction="none")
    likelihood = log_deviation + 0.5 * squared.detach() * (-2.0 * log_deviation).exp()
    return squared.mean(), likelihood.mean()


# ---- Train ----


def train(model: Model, training: Training) -> tuple[Model, Records]:
    """Clone the episodes of ``qualities``; z is of contexts of any episode of the same task; return the average."""
    config: Parameters = model.config
    generator = training.generator
    latents = training.latents()
    fitting, held_out = training.pool(config.qualities).split_episodes()

    def draw(part: TaskData, count: int) -> tuple[Tensor, Tensor, Tensor]:
        tasks = torch.randint(len(part.rewards), (count,), generator=generator)
        rows = draw_transitions(part, tasks, 1, generator)[:, 0]
        states, actions = rows[:, : model.sizes.observation], rows[:, model.sizes.observation :]
        return states, actions[:, : model.sizes.action], draw_latents(latents, tasks, generator)

    validation = draw(held_out, VALIDATION_TRANSITIONS)

    def draw_losses() -> Losses:
        error, likelihood = cloning_loss(model, *draw(fitting, config.batch_size))
        loss = error + likelihood
        return loss, {"loss": loss, "error": error}

    def validate(averaged: Model) -> float:
        return float(sum(cloning_loss(averaged, *validation)))

    rest = config.ema_decay, config.learning_rate, config.steps, draw_losses, validate, generator, training.checkpoint
    return fit_average("train_baseline bc", model, *rest)


# ---- Adapt ----


def adapt(model: Model, warm_start: WarmStart, context: ContextModel, generator: torch.Generator) -> LatentAgent:
    """Encode the warm start with the shared encoder; ``generator`` draws the noise of actions."""

    def policy(states: Tensor, latents: Tensor) -> Tensor:
        # One noise for all rows, so that a row is played the same by itself and in a batch.
        return act(model, states, latents, torch.randn(1, model.sizes.action, generator=generator))

    return LatentAgent(policy, context.encode, warm_start, context.config)


# ---- Act ----


def act(model: Model, states: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    """Return the actions (B, A) executed in states (B, S) under z (B, Z), for standard normal ``noise`` (1, A)."""
    mean, log_deviation = model(states, latents)
    actions: Tensor = mean + model.config.temperature * log_deviation.exp() * noise
    return actions.clamp(-1.0, 1.0)
