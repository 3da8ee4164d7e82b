"""The value beyond a plan's horizon: V(s, z), the discounted return to go of the data's policies (ours).

A plan is short, and what its last state is good for is not in its H rewards. V is learned on the episodes that the
other models are trained on, of all qualities, and so is the value of acting as the data do, on average over the
policies that come by such a state. Targets are returns of whole episodes: there is no bootstrapping that could
overestimate actions which the data do not hold. An episode's end counts as its end: rewards are centred, so what would
have followed counts as average.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from metadiffuser.context.representation import ContextModel
from metadiffuser.data.windows import TaskData


@dataclass(frozen=True)
class ReturnsToGo:
    """States of N tasks with the discounted return that followed them.

    Attributes:
        states: s_t (N, E, T, S), in the environment's units.
        returns: sum_k gamma^k r_{t+k} to the end of the episode (N, E, T), in normalised rewards.
    """

    states: Tensor
    returns: Tensor

    @classmethod
    def of(cls, model: ContextModel, data: TaskData) -> ReturnsToGo:
        """Return those of all episodes in ``data``, with the model's normaliser and discount."""
        rewards = model.normaliser.reward(data.rewards)
        return cls(data.observations[:, :, :-1], discounted(rewards, model.config.value_discount))

    def draw(self, tasks: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw ``count`` states of each row's task (B,); return them (B, count, S) and their returns (B, count)."""
        episodes, steps = self.returns.shape[1:]
        shape = (len(tasks), count)
        episode = torch.randint(episodes, shape, generator=generator)
        step = torch.randint(steps, shape, generator=generator)
        return self.states[tasks[:, None], episode, step], self.returns[tasks[:, None], episode, step]


def discounted(rewards: Tensor, discount: float) -> Tensor:
    """Return G_t = r_t + gamma * G_{t+1} (..., T) of rewards (..., T), with G_T = 0."""
    returns = rewards.clone()
    for step in range(rewards.shape[-1] - 2, -1, -1):
        returns[..., step] += discount * returns[..., step + 1]
    return returns


def value_loss(model: ContextModel, latents: Tensor, states: Tensor, returns: Tensor) -> Tensor:
    """Return V's mean squared error, in units of the returns' variance; no gradient flows into z.

    Args:
        model: whose V it is.
        latents: z (B, Z).
        states: s (B, M, S), in the environment's units.
        returns: discounted returns to go (B, M), in normalised rewards.
    """
    repeated = latents.detach()[:, None].expand(-1, states.shape[1], -1)
    predicted = model.predict_values(model.normaliser.state(states), repeated)
    return functional.mse_loss(predicted / model.value_std, returns / model.value_std)
