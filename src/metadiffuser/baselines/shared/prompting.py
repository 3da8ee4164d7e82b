"""Windows, prompts, training and play of decision transformers with a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from metadiffuser.baselines.shared.interface import Records, Training
from metadiffuser.baselines.shared.transformer import PromptedModel, Steps
from metadiffuser.checkpointing import TrainingState
from metadiffuser.data.agent import Agent
from metadiffuser.data.episodes import Floats, transition_rows
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData
from metadiffuser.training import Losses, fit

WEIGHT_DECAY = 1e-4  # as published
CLIP = 0.25  # most norm of a gradient, as in Decision Transformer
INCOMPLETE = 0.2  # share of training prompts with steps missing, which zero-shot episodes begin with (ours)
REACH = 0.9  # quantile of a task's episode returns that counts as within reach (ours)
TARGET_WEIGHT = 0.01  # loss weight of the target, small lest the actions wait for it (ours)
VALIDATION_WINDOWS = 256

Policy = Callable[[Steps, Steps], Tensor]


@dataclass(frozen=True)
class Sequences:
    """E episodes of each of N tasks as steps; attributes as in ``Steps``, with (N, E, T) in place of (B, L)."""

    returns: Tensor
    states: Tensor
    actions: Tensor
    latents: Tensor

    @classmethod
    def of(cls, data: TaskData, latents: Tensor) -> Sequences:
        """Return the episodes of ``data`` with latents (N, E, T, Z)."""
        return cls(returns_to_go(data.rewards), data.observations[:, :, :-1], data.actions, latents)

    def take(self, tasks: Tensor, episodes: Tensor, starts: Tensor, length: int) -> Steps:
        """Return ``length`` steps from ``starts`` (B,) on of the rows' episodes (B,) of tasks (B,)."""
        times = starts[:, None] + torch.arange(length)
        place = (tasks[:, None], episodes[:, None], times)
        mask = torch.ones_like(times, dtype=torch.bool)
        return Steps(self.returns[place], self.states[place], self.actions[place], times, self.latents[place], mask)


def no_latents(data: TaskData) -> Tensor:
    """Return latents (N, E, T, 0): nothing is given with the states."""
    return data.rewards.new_zeros((*data.rewards.shape, 0))


def returns_to_go(rewards: Tensor) -> Tensor:
    """Return R̂ (..., T): of rewards (..., T), the sum of each and all later ones."""
    return rewards.flip(-1).cumsum(-1).flip(-1)


def draw_windows(data: Sequences, tasks: Tensor, length: int, generator: torch.Generator) -> Steps:
    """Draw ``length`` steps of a random episode of each row's task (B,), as they stand before an agent at play.

    The last step is uniform; a window that would begin before the episode begins with it. So the first steps are seen
    as often as an agent meets them with a short history, and no place is empty.
    """
    _, episodes, steps = data.returns.shape
    episode = torch.randint(episodes, tasks.shape, generator=generator)
    start = torch.randint(1 - length, steps - length + 1, tasks.shape, generator=generator).clamp_min(0)
    return data.take(tasks, episode, start, length)


def hide_steps(prompt: Steps, generator: torch.Generator) -> Steps:
    """Forget some of the prompts: of a share of them the last 0 to P - 1 steps remain."""
    size, length = prompt.mask.shape
    incomplete = torch.rand(size, 1, generator=generator) < INCOMPLETE
    left = torch.randint(length, (size, 1), generator=generator)
    mask = torch.arange(length) >= length - torch.where(incomplete, left, length)
    return Steps(prompt.returns, prompt.states, prompt.actions, prompt.times, prompt.latents, mask)


def prompted_loss(model: PromptedModel, prompt: Steps, window: Steps, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean squared errors of all actions of a window, and of the normalised targets (B,) of the tasks."""
    actions, predicted = model(prompt, window)
    return functional.mse_loss(actions, window.actions), functional.mse_loss(predicted, targets)


def fit_returns(model: PromptedModel, contexts: TaskData, data: TaskData) -> Tensor:
    """Fit the scales of returns-to-go and of targets in place; return the normalised targets (N,) of the tasks.

    Returns-to-go are scaled by episodes of all qualities. An agent that errs has more left of its target with every
    step than any expert ever had: in units of the experts' deviation that would be far from all that was trained on.
    """
    returns, targets = returns_to_go(contexts.rewards), data.rewards.sum(dim=-1).quantile(REACH, dim=1)
    for name, values in (("return", returns), ("target", targets)):
        getattr(model, f"{name}_mean").copy_(values.mean())
        getattr(model, f"{name}_std").copy_(values.std(correction=0).clamp_min(1e-3))
    return (targets - model.target_mean) / model.target_std


def train_prompted(
    model: PromptedModel,
    training: Training,
    data: TaskData,
    describe: Callable[[TaskData], Tensor],
    prompts_of: Callable[[Tensor], Steps],
    steps_of: Callable[[Sequences, Tensor], Steps],
    label: str,
) -> Records:
    """Train the transformer in place; return the learning curve.

    Args:
        model: all its parameters that need a gradient are trained.
        training: generator and checkpoint.
        data: episodes imitated.
        describe: episodes -> what is given with their states (N, E, T, Z).
        prompts_of: tasks (B,) -> prompts of them.
        steps_of: episodes imitated, tasks (B,) -> windows of them.
        label: shown with the progress.
    """
    generator, config = training.generator, model.config
    within_reach = fit_returns(model, training.contexts(), data)
    fitting, held_out = (Sequences.of(part, describe(part)) for part in data.split_episodes())
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)

    def draw(part: Sequences, count: int) -> tuple[Steps, Steps, Tensor]:
        tasks = torch.randint(len(within_reach), (count,), generator=generator)
        prompts = hide_steps(prompts_of(tasks), generator)
        return prompts, steps_of(part, tasks), within_reach[tasks]

    validation = draw(held_out, VALIDATION_WINDOWS)

    def draw_losses() -> Losses:
        action, target = prompted_loss(model, *draw(fitting, config.batch_size))
        return action + TARGET_WEIGHT * target, {"loss": action, "target_loss": target}

    def validate() -> float:
        return float(prompted_loss(model, *validation)[0])

    state = TrainingState({"model": model}, {"adam": optimiser}, {"data": generator})
    records = fit(label, config.steps, draw_losses, validate, optimiser, state, training.checkpoint, clip=CLIP)
    model.requires_grad_(False)  # linear maps round otherwise with it, and a loaded model has none
    return records


class PromptedAgent(Agent):
    """Acts by a prompted transformer for B parallel episodes: one forward pass a step for all of them.

    The first return-to-go is what the model promises of the prompt's task; rewards are subtracted from it. The prompt
    is a segment of the warm start. Zero-shot episodes begin without one; then it is a segment of the episode itself,
    and the target follows it.

    Args:
        model: the transformer.
        policy: prompt and history, the present state last -> actions (B, A).
        warm_start: data of each episode's task.
        starts: first step (B,) of the segment of the warm start that is the prompt.
    """

    def __init__(self, model: PromptedModel, policy: Policy, warm_start: WarmStart, starts: Tensor):
        size, episode = len(warm_start), model.sizes.episode
        self.model, self._policy, self.step = model, policy, 0
        self.transitions = torch.zeros(size, episode, warm_start.transitions.shape[-1])
        self.latents = torch.zeros(size, episode, model.latent)
        self._online = ~warm_start.has_context
        with torch.inference_mode():
            mask = warm_start.has_context[:, None].repeat(1, model.prompt)
            returns = returns_to_go(warm_start.transitions[..., self._reward])
            self.prompt = self._segment(warm_start.transitions, starts, mask, returns)
            self.targets = model.targets(self.prompt)

    def act(self, observations: Floats) -> Floats:
        """Return actions (B, A) for observations (B, S)."""
        with torch.inference_mode():
            now = self.step
            self.transitions[:, now, : self.model.sizes.observation] = torch.from_numpy(np.asarray(observations))
            self.latents[:, now] = self.describe()
            if now and bool(self._online.any()):
                self._prompt_with_own_steps()
            times = torch.arange(max(0, now + 1 - self.model.window), now + 1).repeat(len(self.targets), 1)
            mask = torch.ones_like(times, dtype=torch.bool)
            history = self._steps(self.transitions, self.latents, self._own_returns(), times, mask)
            return self._policy(self.prompt, history).numpy()

    def observe(self, observations: Floats, actions: Floats, rewards: Floats, successors: Floats) -> None:
        """Remember one transition of each episode."""
        rows = transition_rows(observations, actions, rewards, successors)
        self.transitions[:, self.step] = torch.from_numpy(rows)
        self.step += 1

    def describe(self) -> Tensor:
        """Return what is given with the present state (B, Z)."""
        return self.latents[:, self.step]

    def own_segment(self) -> Tensor:
        """Return the first step (B,) of the prompt within the episodes themselves: the last P steps are the default."""
        return torch.full((len(self.targets),), max(0, self.step - self.model.prompt))

    def _prompt_with_own_steps(self) -> None:
        online, empty = self._online, max(0, self.model.prompt - self.step)
        mask = torch.arange(self.model.prompt) >= empty  # the last places, as in training
        starts, mask = self.own_segment() - empty, mask.repeat(len(online), 1)
        own = self._segment(self.transitions, starts, mask, self._own_returns())
        for mine, new in zip(vars(self.prompt).values(), vars(own).values(), strict=True):
            mine[online] = new[online]
        self.targets[online] = self.model.targets(Steps(*(mine[online] for mine in vars(self.prompt).values())))

    def _own_returns(self) -> Tensor:
        """Return-to-go (B, T) of the episodes so far: what is left of the target before each step."""
        rewards = self.transitions[..., self._reward]
        return self.targets[:, None] - (rewards.cumsum(dim=1) - rewards)

    def _segment(self, transitions: Tensor, starts: Tensor, mask: Tensor, returns: Tensor) -> Steps:
        times = (starts[:, None] + torch.arange(self.model.prompt)).clamp_min(0)
        return self._steps(transitions, transitions.new_zeros((*transitions.shape[:2], 0)), returns, times, mask)

    def _steps(self, transitions: Tensor, latents: Tensor, returns: Tensor, times: Tensor, mask: Tensor) -> Steps:
        rows = torch.arange(len(times))[:, None]
        sizes = self.model.sizes
        states, actions = transitions[rows, times].split(
            [sizes.observation, sizes.action, 1 + sizes.observation], dim=-1
        )[:2]
        return Steps(returns[rows, times], states, actions, times, latents[rows, times], mask)

    @property
    def _reward(self) -> int:
        return self.model.sizes.observation + self.model.sizes.action
