"""Methods with an encoder of their own: it is trained first, by the method's loss, then the actor-critic on its z.

FOCAL trains both side by side, but passes no gradient of the actor-critic to the encoder; training the encoder first
gives the actor-critic a z that stands still (docs/methods/focal.md). CORRO trains in this order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from metadiffuser.baselines.shared.actor_critic import ActorCritic, Batch
from metadiffuser.baselines.shared.interface import BaselineModel, Records, Sizes, Training
from metadiffuser.checkpointing import TrainingState
from metadiffuser.config.schema import Count, EncoderWidth, Fraction, MethodParameters, Rate, Scale, Widths
from metadiffuser.context.encoder import ContextEncoder
from metadiffuser.context.representation import SMALLEST_DEVIATION
from metadiffuser.context.training import LATENTS, draw_latents
from metadiffuser.data.episodes import row_sizes
from metadiffuser.data.windows import TaskData, draw_contexts, draw_transitions
from metadiffuser.errors import InputError
from metadiffuser.training import Losses, fit, fit_first

VALIDATION_TRANSITIONS = 1024

EncoderLoss = Callable[[TaskData, torch.Generator], Tensor]
EncoderSteps = Annotated[Count, Field(description="gradient steps of the encoder, before those of the actor-critic")]


class EncodedParameters(MethodParameters):
    """An encoder of its own, then a behaviour-regularised actor-critic of state and z."""

    least_tasks: ClassVar[int] = 2

    encoder_steps: EncoderSteps = 10000
    task_batch: Count = Field(16, description="tasks in one gradient step of the encoder")
    latent_size: Count = Field(16, description="Z of the method's own encoder")
    encoder_width: EncoderWidth = Field(64, description="features of a transition in the encoder")
    hidden: Widths = Field([128, 128], description="hidden layer widths of actor and critics")
    discount: Fraction = Field(0.99, description="gamma")
    target_rate: Rate = Field(0.005, description="tau: Polyak averaging rate of the target critics")
    target_divergence: Scale = Field(0.05, description="delta: KL(pi || b) that the actor is held to, in nats")


class EncodedModel(BaselineModel):
    """An encoder and an actor-critic that sees the state and its z.

    Args:
        sizes: of the family.
        config: the method's section.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, sizes: Sizes, config: EncodedParameters):
        super().__init__(sizes, config)
        observation, action, latent = sizes.observation, sizes.action, config.latent_size
        self.encoder = ContextEncoder(observation, action, latent, config.encoder_width)
        self.register_buffer("latent_mean", torch.zeros(latent))
        self.register_buffer("latent_std", torch.ones(latent))
        # As a layer's weights, from the global generator, which the caller seeds.
        weights = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        self.policy = ActorCritic(observation + latent, action, config.hidden, weights)

    def encode(self, contexts: Tensor, mask: Tensor) -> Tensor:
        """Return z (B, Z) of contexts (B, K, 2S + A + 1) with mask (B, K), standardised over the training tasks."""
        return (self.encoder(contexts, mask, self.normaliser) - self.latent_mean) / self.latent_std

    def inputs(self, states: Tensor, latents: Tensor) -> Tensor:
        """Return what the actor-critic sees (B, I) of states (B, S), in the environment's units, and z (B, Z)."""
        return torch.cat([self.normaliser.local(self.normaliser.state(states)), latents], dim=-1)

    def forward(self, states: Tensor, latents: Tensor) -> Tensor:
        """Return the deterministic actions (B, A) in states (B, S), in the environment's units, under z (B, Z)."""
        return self.policy.act(self.inputs(states, latents))


def fit_part(module: nn.Module, loss_of: EncoderLoss, model: EncodedModel, training: Training, name: str) -> Records:
    """Minimise ``loss_of`` over the parameters of ``module`` on the episodes that contexts come from.

    Args:
        module: the encoder, or what it is trained with.
        loss_of: (episodes, generator) -> loss.
        model: whose configuration says how long.
        training: episodes and generator; the part has a checkpoint of its own beside the run's.
        name: of the part, in the learning curve.

    Raises:
        InputError: there are fewer than two tasks to distinguish.
    """
    config: EncodedParameters = model.config
    if len(training.tasks) < 2:
        raise InputError(
            f"the family's task list has {len(training.tasks)} training task with data; encoders that distinguish "
            "tasks need two or more (draw or import more, or take the method out of baselines)"
        )
    fitting, held_out = training.contexts().split_episodes()
    generator = training.generator
    optimiser = torch.optim.Adam(module.parameters(), lr=config.learning_rate, fused=True)
    seed = int(torch.randint(2**62, (), generator=generator))
    return fit_first(
        f"train_baseline {name}",
        name,
        config.encoder_steps,
        module,
        optimiser,
        lambda: loss_of(fitting, generator),
        lambda: float(loss_of(held_out, torch.Generator().manual_seed(seed))),
        generator,
        training.checkpoint,
    )


@torch.no_grad()
def standardise_latents(model: EncodedModel, training: Training) -> Tensor:
    """Standardise the frozen encoder's z over the training tasks; return z (N, M, Z) of M contexts of each."""
    data, drawn_as = training.contexts(), training.context.config
    tasks = torch.arange(len(training.tasks)).repeat_interleave(LATENTS)
    contexts, mask = draw_contexts(data, tasks, drawn_as.context_length, training.generator, window=drawn_as.window)
    raw = model.encoder(contexts, mask, model.normaliser)
    model.latent_mean.copy_(raw.mean(0))
    model.latent_std.copy_(raw.std(0).clamp_min(SMALLEST_DEVIATION))
    return ((raw - model.latent_mean) / model.latent_std).view(len(training.tasks), LATENTS, -1)


def train_policy(model: EncodedModel, training: Training, name: str) -> Records:
    """Clone b, then train the actor-critic, both on the episodes of ``qualities``; return the learning curve.

    The encoder is frozen. Both take as many steps.
    """
    config: EncodedParameters = model.config
    generator, policy = training.generator, model.policy
    model.encoder.requires_grad_(False)
    latents = standardise_latents(model, training)
    fitting, held_out = training.pool(config.qualities).split_episodes()
    parts = row_sizes(model.sizes.observation, model.sizes.action)

    def draw(part: TaskData, count: int) -> Batch:
        tasks = torch.randint(part.rewards.shape[0], (count,), generator=generator)
        state, action, reward, successor = draw_transitions(part, tasks, 1, generator)[:, 0].split(parts, dim=-1)
        z = draw_latents(latents, tasks, generator)
        rewards = model.normaliser.reward(reward[:, 0])
        return Batch(model.inputs(state, z), action, rewards, model.inputs(successor, z))

    def draw_noise(count: int) -> Tensor:
        return torch.randn(2, count, model.sizes.action, generator=generator)

    checked, noise = draw(held_out, VALIDATION_TRANSITIONS), draw_noise(VALIDATION_TRANSITIONS)

    def clone(batch: Batch) -> Tensor:
        return policy.cloning_loss(batch.inputs, batch.actions)

    first = fit_first(
        f"train_baseline {name}, behaviour",
        "behaviour",
        config.steps,
        policy.behaviour,
        torch.optim.Adam(policy.behaviour.parameters(), lr=config.learning_rate, fused=True),
        lambda: clone(draw(fitting, config.batch_size)),
        lambda: float(clone(checked)),
        generator,
        training.checkpoint,
    )
    policy.begin()
    optimiser = torch.optim.Adam(policy.trained(), lr=config.learning_rate, fused=True)

    def draw_losses() -> Losses:
        batch, drawn = draw(fitting, config.batch_size), draw_noise(config.batch_size)
        return policy.losses(batch, drawn, config.target_divergence, config.discount)

    def validate() -> float:
        return float(policy.critic_loss(checked, noise[0], config.discount))

    state = TrainingState({"policy": policy}, {"adam": optimiser}, {"data": generator})
    second = fit(
        f"train_baseline {name}",
        config.steps,
        draw_losses,
        validate,
        optimiser,
        state,
        training.checkpoint,
        after_step=lambda: policy.follow(config.target_rate),
    )
    return [record | cloned for record, cloned in zip(second, first, strict=True)]
