"""MACAW: a policy meta-learned by advantage weighting (Mitchell et al., ICML 2021, arXiv 2008.06043).

Value function and policy are trained so that one gradient step on one episode of a task makes them good at that task.
Equations beside functions, and departures: docs/methods/macaw.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from metadiffuser.baselines.shared.inner_step import InnerStep, Layers
from metadiffuser.baselines.shared.interface import BaselineModel, MethodInfo, Records, Sizes, Training
from metadiffuser.baselines.shared.networks import Perceptrons
from metadiffuser.behaviour.networks import perceptron, unflatten
from metadiffuser.checkpointing import TrainingState
from metadiffuser.config import schema
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.agent import Agent
from metadiffuser.data.episodes import Floats, row_sizes, transition_rows
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData
from metadiffuser.training import Losses, fit

# ---- Config ----

METHOD = MethodInfo(
    title="MACAW",
    colour="#B7791F",
    calibrated={"adaptation_steps": (1, 2, 4, 8), "adaptation_rate": (1.0, 0.3, 3.0, 0.1)},
)
HEAD = 32  # hidden width of the advantage head
SIGMA = 0.2  # standard deviation of the policy around its mean, which is what acts
LARGEST_WEIGHT = 20.0  # of a transition in the policy's loss
READAPTATIONS = 20  # times a zero-shot episode adapts, evenly spread over its steps
VALIDATION_TASKS = 16


class Parameters(schema.MethodParameters):
    """Method ``macaw``: value function and policy meta-learned for one inner gradient step."""

    steps: schema.GradientSteps = 5000
    batch_size: schema.BatchSize = 32
    learning_rate: schema.LearningRate = 0.002
    task_batch: schema.Count = Field(16, description="tasks in one gradient step; each has batch_size samples")
    hidden: schema.Widths = Field([128, 128, 128], description="hidden layer widths of value function and policy")
    discount: schema.Fraction = Field(0.99, description="gamma of the returns")
    inner_rate: schema.Rate = Field(0.02, description="initial step size of the inner step, which is learned")
    head_weight: schema.Positive = Field(0.1, description="initial weight of the head's loss, which is learned")
    temperature: schema.Positive = Field(0.1, description="T of the weights exp(A / T), in units of normalised rewards")
    adaptation_steps: Annotated[int, Field(ge=1, le=100)] = Field(1, description="inner steps at evaluation")
    adaptation_rate: schema.Positive = Field(1.0, description="factor of the learned step sizes at evaluation")


# ---- Networks ----


class Model(BaselineModel):
    """V(s), pi(s) and the advantage head A(h, a) on pi's last hidden features h, with their inner steps.

    Args:
        sizes: of the family.
        config: section ``baseline.macaw``.
    """

    Config = Parameters

    def __init__(self, sizes: Sizes, config: Parameters):
        super().__init__(sizes, config)
        # As a layer's weights, from the global generator, which the caller seeds.
        weights = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        self.value = Perceptrons(1, [sizes.observation, *config.hidden, 1], weights)
        self.policy = Perceptrons(1, [sizes.observation, *config.hidden, sizes.action], weights)
        self.head = Perceptrons(1, [config.hidden[-1] + sizes.action, HEAD, 1], weights)
        self.depth = len(config.hidden) + 1  # layers of the policy; in copies the head's follow
        # Learned like the weights: how the inner step is taken, and the weight of the head's loss.
        meta = meta_copies(self, 1)
        self.value_step = InnerStep(meta.value, config.inner_rate)
        self.policy_step = InnerStep(meta.policy, config.inner_rate)
        self.log_head_weight = nn.Parameter(torch.tensor(math.log(config.head_weight)))

    def inputs(self, states: Tensor) -> Tensor:
        """Return what the networks see of states (..., S), in the environment's units."""
        return self.normaliser.local(self.normaliser.state(states))


@dataclass(frozen=True)
class Copies:
    """Value function and policy with head, of one task each in M tasks.

    Attributes:
        value: weight (M, in, out) and bias (M, 1, out) of every layer.
        policy: of the policy, then of the head.
    """

    value: Layers
    policy: Layers

    def leaves(self) -> Copies:
        """Return the same values as the beginning of a graph, also those of a model that is not trained any more."""

        def detached(layers: Layers) -> Layers:
            return [(w.detach().requires_grad_(), b.detach().requires_grad_()) for w, b in layers]

        return Copies(detached(self.value), detached(self.policy))


def meta_copies(model: Model, members: int) -> Copies:
    """Return M copies of the meta-parameters, through which gradients flow back to them."""

    def expand(network: Perceptrons) -> Layers:
        layers = unflatten(network.flat, network.members, network.sizes)
        return [(w.expand(members, -1, -1), b.expand(members, -1, -1)) for w, b in layers]

    return Copies(expand(model.value), expand(model.policy) + expand(model.head))


def means_and_features(model: Model, policy: Layers, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the policy's means (M, B, A) in (-1, 1) and last hidden features (M, B, F) of inputs (M, B, S)."""
    *_, features, outputs = perceptron(policy[: model.depth], inputs)
    return torch.tanh(outputs), features


# ---- Loss ----


@dataclass(frozen=True)
class Batch:
    """Transitions of M tasks.

    Attributes:
        inputs: what the networks see of the states (M, B, S).
        actions: (M, B, A).
        returns: discounted mean of the normalised rewards to come (M, B).
        mask: 1 where a transition counts, else 0 (M, B).
    """

    inputs: Tensor
    actions: Tensor
    returns: Tensor
    mask: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of values (M, B) over the transitions that count (M,); zero where none does."""
        return (self.mask * values).sum(dim=1) / self.mask.sum(dim=1).clamp_min(1)


def returns_to_go(rewards: Tensor, mask: Tensor, discount: float) -> Tensor:
    """Return sum_k gamma^k r_{t+k} / sum_k gamma^k (..., T), over the steps of mask (..., T) from t on.

    A mean, and not the sum, so that a return means the same at every step of an episode and of its beginning.
    """
    steps = torch.arange(rewards.shape[-1])
    ahead = steps[:, None] - steps  # [later, earlier]
    weights = torch.where(ahead >= 0, discount ** ahead.clamp_min(0), 0.0)
    return (mask * rewards) @ weights / (mask @ weights).clamp_min(1e-6)


def value_loss(copies: Copies, batch: Batch) -> Tensor:
    """Return || V(s) - R ||^2 of each task (M,)."""
    return batch.mean((perceptron(copies.value, batch.inputs)[-1][..., 0] - batch.returns).square())


def advantages(copies: Copies, batch: Batch) -> Tensor:
    """Return R - V(s) (M, B), which passes no gradient to the value function."""
    return batch.returns - perceptron(copies.value, batch.inputs)[-1][..., 0].detach()


def policy_losses(model: Model, copies: Copies, batch: Batch, advantage: Tensor) -> tuple[Tensor, Tensor]:
    """Return -exp((R - V(s)) / T) log pi(a | s), up to a constant, and || A(h, a) - (R - V(s)) ||^2 of each task (M,).

    The exponential is no larger than ``LARGEST_WEIGHT``.
    """
    means, features = means_and_features(model, copies.policy, batch.inputs)
    weights = (advantage / model.config.temperature).clamp_max(math.log(LARGEST_WEIGHT)).exp()
    weighted = weights * (batch.actions - means).square().sum(dim=-1) / (2 * SIGMA**2)
    head = copies.policy[model.depth :]
    predicted = perceptron(head, torch.cat([features, batch.actions], dim=-1))[-1][..., 0]
    return batch.mean(weighted), batch.mean((predicted - advantage).square())


def inner_step(model: Model, copies: Copies, batch: Batch, create_graph: bool, factor: float = 1.0) -> Copies:
    """Return the copies after one step on each task's batch: first the value function, then the policy by it.

    Tasks do not mix: a copy's gradient is that of its own task's loss. ``factor`` scales the learned step sizes.
    """
    value = model.value_step(copies.value, value_loss(copies, batch).sum(), create_graph, factor)
    moved = Copies(value, copies.policy)
    weighted, head = policy_losses(model, moved, batch, advantages(moved, batch))
    loss = (weighted + model.log_head_weight.exp() * head).sum()
    return Copies(value, model.policy_step(copies.policy, loss, create_graph, factor))


def meta_loss(model: Model, inner: Batch, outer: Batch) -> tuple[Tensor, Tensor]:
    """Return the value's and the policy's loss of ``outer`` after one step on ``inner``, mean over the tasks."""
    moved = inner_step(model, meta_copies(model, len(inner.mask)), inner, create_graph=True)
    weighted, _ = policy_losses(model, moved, outer, advantages(moved, outer))
    return value_loss(moved, outer).mean(), weighted.mean()


# ---- Train ----


def draw_inner(model: Model, data: TaskData, tasks: Tensor, generator: torch.Generator) -> Batch:
    """Draw one episode of each task (M,), as warm-start data are at play; every other time only its beginning."""
    episodes, length = data.rewards.shape[1:]
    episode = torch.randint(episodes, tasks.shape, generator=generator)
    ends = torch.randint(1, 2 * length, tasks.shape, generator=generator)
    mask = (torch.arange(length) < ends[:, None]).float()
    return batch_of(model, data.transitions[tasks, episode], mask)


def draw_outer(
    model: Model, data: TaskData, returns: Tensor, tasks: Tensor, count: int, generator: torch.Generator
) -> Batch:
    """Draw ``count`` transitions of each task (M,), with their returns of (N, E, T)."""
    episodes, length = returns.shape[1:]
    shape = (len(tasks), count)
    index = (
        tasks[:, None],
        torch.randint(episodes, shape, generator=generator),
        torch.randint(length, shape, generator=generator),
    )
    states = data.observations[index]
    return Batch(model.inputs(states), data.actions[index], returns[index], torch.ones(shape))


def batch_of(model: Model, transitions: Tensor, mask: Tensor) -> Batch:
    """Return transitions (M, T, 2S + A + 1) in the order of time, of which mask (M, T) counts, as a batch."""
    parts = row_sizes(model.sizes.observation, model.sizes.action)
    states, actions, rewards, _ = transitions.split(parts, dim=-1)
    normalised = model.normaliser.reward(rewards[..., 0])
    return Batch(model.inputs(states), actions, returns_to_go(normalised, mask, model.config.discount), mask)


def train(model: Model, training: Training) -> tuple[Model, Records]:
    """Meta-train: the step is taken on an episode of any warm start's quality, its result judged by ``qualities``."""
    config: Parameters = model.config
    generator = training.generator
    inner, inner_held_out = training.contexts().split_episodes()
    outer, outer_held_out = training.pool(config.qualities).split_episodes()
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)

    def prepare(data: TaskData) -> Tensor:
        rewards = model.normaliser.reward(data.rewards)
        return returns_to_go(rewards, torch.ones_like(rewards), config.discount)

    returns, returns_held_out = prepare(outer), prepare(outer_held_out)
    tasks_count = len(training.tasks)
    checked = torch.arange(min(tasks_count, VALIDATION_TASKS))
    validation = (
        draw_inner(model, inner_held_out, checked, generator),
        draw_outer(model, outer_held_out, returns_held_out, checked, config.batch_size, generator),
    )

    def draw_losses() -> Losses:
        tasks = torch.randint(tasks_count, (config.task_batch,), generator=generator)
        batches = (
            draw_inner(model, inner, tasks, generator),
            draw_outer(model, outer, returns, tasks, config.batch_size, generator),
        )
        value, policy = meta_loss(model, *batches)
        return value + policy, {"loss": policy, "value_loss": value}

    @torch.enable_grad()
    def validate() -> float:
        return float(meta_loss(model, *validation)[1].detach())

    state = TrainingState({"model": model}, {"adam": optimiser}, {"data": generator})
    label = "train_baseline macaw"
    return model, fit(label, config.steps, draw_losses, validate, optimiser, state, training.checkpoint)


# ---- Adapt ----


def adapted(model: Model, transitions: Tensor, mask: Tensor) -> Layers:
    """Return the policies of B episodes after ``adaptation_steps`` steps on transitions (B, T, 2S + A + 1).

    Rows of which mask (B, T) counts nothing get the meta-policy. The model stays as it is.
    """
    batch = batch_of(model, transitions, mask)
    copies = meta_copies(model, len(mask))
    config: Parameters = model.config
    for _ in range(config.adaptation_steps):
        copies = inner_step(model, copies.leaves(), batch, create_graph=False, factor=config.adaptation_rate)
    return [(weight.detach(), bias.detach()) for weight, bias in copies.policy]


class AdaptedAgent(Agent):
    """One adapted policy for each of B parallel episodes.

    Zero-shot episodes start with the meta-policy; ``READAPTATIONS`` times an episode it adapts again, to all
    transitions of the episode so far.

    Args:
        model: of meta-parameters.
        warm_start: data of each episode's task.
    """

    def __init__(self, model: Model, warm_start: WarmStart):
        self._model = model
        self._online = ~warm_start.has_context
        self._interval = max(1, model.sizes.episode // READAPTATIONS)
        self._gathered: list[Floats] = []
        length = warm_start.transitions.shape[1]
        mask = warm_start.has_context[:, None].expand(-1, length).float()
        self.policies = adapted(model, warm_start.transitions, mask)

    def act(self, observations: Floats) -> Floats:
        """Return actions (B, A) for observations (B, S)."""
        if self._gathered and len(self._gathered) % self._interval == 0:
            self._adapt_online()
        return act(self._model, self.policies, torch.from_numpy(np.asarray(observations, np.float32))).numpy()

    def observe(self, observations: Floats, actions: Floats, rewards: Floats, successors: Floats) -> None:
        """Remember one transition of each zero-shot episode."""
        if bool(self._online.any()):
            self._gathered.append(transition_rows(observations, actions, rewards, successors)[self._online.numpy()])

    def _adapt_online(self) -> None:
        transitions = torch.from_numpy(np.stack(self._gathered, axis=1))
        moved = adapted(self._model, transitions, torch.ones(transitions.shape[:2]))
        for layer, own in zip(self.policies, moved, strict=True):
            for all_rows, rows in zip(layer, own, strict=True):
                all_rows[self._online] = rows


def adapt(model: Model, warm_start: WarmStart, context: ContextModel, generator: torch.Generator) -> AdaptedAgent:
    """Take the inner step on the whole warm-start episode; nothing is drawn, and there is no z."""
    return AdaptedAgent(model, warm_start)


# ---- Act ----


@torch.no_grad()
def act(model: Model, policies: Layers, states: Tensor) -> Tensor:
    """Return the means (B, A) of B policies in states (B, S), each row in its own."""
    means, _ = means_and_features(model, policies, model.inputs(states)[:, None])
    return means[:, 0]
