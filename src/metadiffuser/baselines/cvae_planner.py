"""CVAE-Planner: the planner with a conditional VAE over trajectory segments in place of the diffusion model.

A baseline of the paper, without public code (docs/methods/cvae_planner.md). Segments, conditions, null condition, dual
guide and replanning are the planner's; only the model that generates the plan differs.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from metadiffuser.baselines.shared.interface import BaselineModel, MethodInfo, Records, Sizes, Training
from metadiffuser.baselines.shared.latents import LatentAgent
from metadiffuser.config import schema
from metadiffuser.context import objective as worth
from metadiffuser.context.encoder import mlp
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import draw_latents
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData, draw_segments
from metadiffuser.training import Losses, fit_average

# ---- Config ----

METHOD = MethodInfo(
    title="CVAE-Planner",
    colour="#C53078",
    uses_context=True,
    calibrated={
        "return_scale": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
        "dynamics_scale": (0.0, 0.1, 1.0, 10.0),
        "guide_steps": (1, 5, 20),
        "temperature": (0.0, 0.5, 1.0),
    },
)
EMBEDDING = 64  # features of the embedded task, as in the denoiser
LOG_VARIANCE = (-10.0, 4.0)  # bounds of the code's
VALIDATION_SEGMENTS = 256


class Parameters(schema.MethodParameters):
    """Method ``cvae_planner``: the planner with a conditional VAE over segments in place of the diffusion model."""

    steps: schema.GradientSteps = 30000
    batch_size: schema.BatchSize = 128
    horizon: schema.Horizon = Field(16, description="H, as the planner's")
    code_size: schema.Count = Field(8, description="entries of the VAE's code of a segment")
    hidden: schema.Widths = Field(
        [256, 256], description="hidden layer widths of the VAE's encoder and, reversed, decoder"
    )
    divergence_weight: schema.Scale = Field(0.01, description="beta: weight of the KL divergence in the loss")
    ema_decay: schema.Fraction = Field(0.995, description="decay of the averaged weights, as the planner's")
    condition_dropout: schema.Fraction = Field(
        0.25, description="p, probability of the null condition, as the planner's"
    )
    first_action_weight: schema.Scale = Field(10.0, description="loss weight of the first action, as the planner's")
    temperature: schema.Scale = Field(0.5, description="scale of the code that a plan is decoded from")
    return_scale: schema.Scale = Field(1.0, description="alpha: step along the gradient of the predicted return")
    dynamics_scale: schema.Scale = Field(
        0.1, description="alpha * lambda: step along the gradient of dynamics consistency"
    )
    guide_steps: schema.Natural = Field(5, description="gradient steps of the guide on a plan")


# ---- Networks ----


class Model(BaselineModel):
    """q(u | x, s_0, z) and p(x | u, s_0, z) of segments x (H, S + A) and codes u, with prior N(0, 1).

    Args:
        sizes: of the family and the shared encoder.
        config: section ``baseline.cvae_planner``.
    """

    Config = Parameters

    def __init__(self, sizes: Sizes, config: Parameters):
        super().__init__(sizes, config)
        entries = config.horizon * (sizes.observation + sizes.action)
        condition = sizes.observation + EMBEDDING
        self.embed_task = nn.Sequential(nn.Linear(sizes.latent, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING))
        self.null = nn.Parameter(torch.zeros(EMBEDDING))
        self.encoder = mlp([entries + condition, *config.hidden, 2 * config.code_size])
        self.decoder = mlp([config.code_size + condition, *config.hidden[::-1], entries])

    def condition(self, first: Tensor, latents: Tensor, has_context: Tensor) -> Tensor:
        """Return the condition of both networks: s_0 (B, S), normalised, and z (B, Z) or the null condition."""
        return torch.cat([first, torch.where(has_context[:, None], self.embed_task(latents), self.null)], dim=-1)

    def encode(self, segments: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (B, U) of the code of segments (B, H, S + A)."""
        mean, log_variance = self.encoder(torch.cat([segments.flatten(1), condition], dim=-1)).chunk(2, dim=-1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def decode(self, codes: Tensor, condition: Tensor) -> Tensor:
        """Return the mean segments (B, H, S + A) of codes (B, U); they begin in s_0."""
        size = self.sizes.observation
        decoded = self.decoder(torch.cat([codes, condition], dim=-1))
        segments = decoded.view(len(codes), self.config.horizon, -1)
        first = torch.cat([condition[:, :size], segments[:, 0, size:]], dim=-1)
        return torch.cat([first[:, None], segments[:, 1:]], dim=1)

    def normalise(self, segments: Tensor) -> Tensor:
        """Normalise the states of segments (B, H, S + A); unbounded coordinates count from a segment's first state."""
        states, actions = segments.split([self.sizes.observation, self.sizes.action], dim=-1)
        return torch.cat([self.normaliser.state(states - self.normaliser.origin(states[:, :1])), actions], dim=-1)


# ---- Loss ----


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)) (B,) of codes (B, U): 1/2 sum_i mean^2 + variance - log variance - 1."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(dim=-1)


def reconstruction(model: Model, decoded: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
    """Return the weighted mean squared error of segments (B, H, S + A), by the denoiser's weights.

    Places outside of the episode, of mask (B, H), do not count; the first action does so ``first_action_weight`` times.
    The first state is given.
    """
    size = model.sizes.observation
    weights = mask[..., None].float().expand_as(segments).clone()
    weights[:, 0, :size] = 0.0
    weights[:, 0, size:] *= model.config.first_action_weight
    return (weights * (decoded - segments).square()).sum() / weights.sum()


def negative_bound(
    model: Model, segments: Tensor, mask: Tensor, latents: Tensor, has_context: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Return reconstruction error and divergence, whose weighted sum bounds -log p(x | s_0, z) from above.

    Args:
        model: the VAE.
        segments: (B, H, S + A).
        mask: places inside the episode (B, H).
        latents: z (B, Z).
        has_context: False (B,) where the null condition takes the place of z.
        noise: standard normal (B, U), which draws the code.
    """
    condition = model.condition(segments[:, 0, : model.sizes.observation], latents, has_context)
    mean, log_variance = model.encode(segments * mask[..., None], condition)
    decoded = model.decode(mean + (0.5 * log_variance).exp() * noise, condition)
    return reconstruction(model, decoded, segments, mask), divergence(mean, log_variance).mean()


# ---- Train ----


def rows(data: TaskData) -> Tensor:
    """Return (state, action) of every stored state (N, E, T + 1, S + A); the last action is zero."""
    return torch.cat([data.observations, pad(data.actions, (0, 0, 0, 1))], dim=-1)


def train(model: Model, training: Training) -> tuple[Model, Records]:
    """Train on segments of ``qualities`` as the denoiser is; return the averaged model."""
    config: Parameters = model.config
    generator = training.generator
    latents = training.latents()
    fitting, held_out = (rows(part) for part in training.pool(config.qualities).split_episodes())

    def draw(part: Tensor, count: int) -> tuple[Tensor, ...]:
        tasks, segments, mask = draw_segments(part, config.horizon, count, generator)
        has_context = torch.rand(count, generator=generator) >= config.condition_dropout
        noise = torch.randn(count, config.code_size, generator=generator)
        return model.normalise(segments), mask, draw_latents(latents, tasks, generator), has_context, noise

    validation = draw(held_out, VALIDATION_SEGMENTS)

    def draw_losses() -> Losses:
        error, kl = negative_bound(model, *draw(fitting, config.batch_size))
        loss = error + config.divergence_weight * kl
        return loss, {"loss": loss, "reconstruction": error, "divergence": kl}

    def validate(averaged: Model) -> float:
        error, kl = negative_bound(averaged, *validation)
        return float(error + config.divergence_weight * kl)

    rest = config.ema_decay, config.learning_rate, config.steps, draw_losses, validate, generator, training.checkpoint
    return fit_average("train_baseline cvae_planner", model, *rest)


# ---- Adapt ----


class Agent(LatentAgent):
    """Plans again at every step, with the null condition where there is no context, as the planner does."""

    def __init__(self, model: Model, warm_start: WarmStart, context: ContextModel, generator: torch.Generator):
        super().__init__(self._act, context.encode, warm_start, context.config)
        self._model, self._context, self._generator = model, context, generator
        self._has_context = warm_start.has_context

    def _act(self, states: Tensor, latents: Tensor) -> Tensor:
        has_context = self._has_context | bool(self._gathered)
        # One code for all rows, so that a row is played the same by itself and in a batch.
        noise = torch.randn(1, self._model.config.code_size, generator=self._generator)
        return act(self._model, self._context, states, latents, has_context, noise)


def adapt(model: Model, warm_start: WarmStart, context: ContextModel, generator: torch.Generator) -> Agent:
    """Encode the warm start with the shared encoder; ``generator`` draws the codes of plans."""
    return Agent(model, warm_start, context, generator)


# ---- Act ----


def objective(model: Model, context: ContextModel, plans: Tensor, latents: Tensor) -> Tensor:
    """Return what the planner's guide climbs too (B,), at the method's own scales.

    Args:
        model: for its scales alpha and alpha lambda.
        context: reward and dynamics models.
        plans: (B, H, S + A), normalised.
        latents: z (B, Z).
    """
    config: Parameters = model.config
    scales = (plans.new_full((len(plans),), scale) for scale in (config.return_scale, config.dynamics_scale))
    return worth.objective(context, plans, latents, *scales)


def plan(
    model: Model, context: ContextModel, states: Tensor, latents: Tensor, has_context: Tensor, noise: Tensor
) -> Tensor:
    """Return guided plans (B, H, S + A), normalised, for states (B, S) in the environment's units.

    The gradient of ``objective`` is taken back through the decoder, and the code follows it: plans stay what the
    decoder can say, as the denoiser keeps a guided plan near the data.

    Args:
        model: the VAE.
        context: reward and dynamics models of the guide.
        states: observed.
        latents: z (B, Z).
        has_context: where z is to be used (B,).
        noise: standard normal (B, U) or (1, U), which draws the code.
    """
    config: Parameters = model.config
    first = model.normaliser.state(states - model.normaliser.origin(states))
    condition = model.condition(first, latents, has_context)
    codes = (config.temperature * noise).expand(len(states), -1)
    guided = config.return_scale > 0 or config.dynamics_scale > 0
    for _ in range(config.guide_steps if guided else 0):
        codes = codes.detach().requires_grad_()
        (step,) = torch.autograd.grad(objective(model, context, model.decode(codes, condition), latents).sum(), codes)
        codes = (codes + step).detach()
    return model.decode(codes, condition).detach()


def act(
    model: Model, context: ContextModel, states: Tensor, latents: Tensor, has_context: Tensor, noise: Tensor
) -> Tensor:
    """Return the plans' first actions (B, A); arguments as for ``plan``."""
    with torch.inference_mode(False), torch.enable_grad():
        parts = (states, latents, has_context, noise)
        plans = plan(model, context, *(part.clone() for part in parts))
    return plans[:, 0, model.sizes.observation :].clamp(-1, 1)
