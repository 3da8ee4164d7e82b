"""A behaviour-regularised actor-critic for offline data (BRAC: Wu, Tucker and Nachum 2019, arXiv 1911.11361).

Actor pi, cloned behaviour policy b and twin critics see the state and z. The penalty is KL(pi || b), in the actor's
loss and in the critics' target (BRAC-v)::

    b:   L = -log b(a | s, z)
    Q_j: y = r + gamma (min_j Q'_j(s', a') - alpha KL(pi || b)(s')),  a' ~ pi(s', z);    L = sum_j (Q_j(s, a) - y)^2
    pi:  L = alpha KL(pi || b)(s) - min_j Q_j(s, a),  a ~ pi(s, z)

pi and b are squashed Gaussians a = tanh(u). The KL does not change under a bijection, so it is that of the Gaussians of
u, in closed form; BRAC estimates it from samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metadiffuser.baselines.shared.networks import Perceptrons
from metadiffuser.behaviour.networks import LOG_STD, squashed_mean, squashed_sample

EDGE = 0.999  # actions are taken to be no larger than this when b's density of them is asked for


@dataclass(frozen=True)
class Batch:
    """Transitions of several tasks.

    Attributes:
        inputs: normalised state and z (B, I).
        actions: (B, A).
        rewards: normalised (B,).
        successors: normalised next state and z (B, I).
    """

    inputs: Tensor
    actions: Tensor
    rewards: Tensor
    successors: Tensor


def gaussian(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and bounded log standard deviation (..., A) of a policy's outputs (..., 2A)."""
    mean, log_std = outputs.chunk(2, dim=-1)
    return mean, log_std.clamp(*LOG_STD)


def divergence(outputs: Tensor, others: Tensor) -> Tensor:
    """Return KL(p || q) (...) of the squashed Gaussians p and q with outputs (..., 2A).

    sum_i log(sigma_q / sigma_p) + (sigma_p^2 + (mu_p - mu_q)^2) / (2 sigma_q^2) - 1/2
    """
    (mean, log_std), (mean_, log_std_) = gaussian(outputs), gaussian(others)
    ratio = ((2 * log_std).exp() + (mean - mean_).square()) / (2 * (2 * log_std_).exp())
    return (log_std_ - log_std + ratio - 0.5).sum(dim=-1)


def cloning_loss(outputs: Tensor, actions: Tensor) -> Tensor:
    """Return -log density of actions (..., A) under outputs (..., 2A), up to a constant, mean over the batch.

    The density is that of u = atanh(a); the Jacobian does not depend on the parameters.
    """
    mean, log_std = gaussian(outputs)
    raw = torch.atanh(actions.clamp(-EDGE, EDGE))
    return (0.5 * ((raw - mean) * (-log_std).exp()).square() + log_std).sum(dim=-1).mean()


class ActorCritic(nn.Module):
    """pi, b, twin critics and their slowly following targets.

    Args:
        inputs: I, entries of state and z.
        actions: A.
        hidden: layer widths of every network.
        generator: draws the initial weights.
    """

    def __init__(self, inputs: int, actions: int, hidden: Sequence[int], generator: torch.Generator):
        super().__init__()
        self.actor = Perceptrons(1, [inputs, *hidden, 2 * actions], generator)
        self.behaviour = Perceptrons(1, self.actor.sizes, generator)
        self.critics = Perceptrons(2, [inputs + actions, *hidden, 1], generator)
        self.targets = Perceptrons(2, self.critics.sizes, generator)
        self.targets.flat.requires_grad_(False).copy_(self.critics.flat.detach())

    def trained(self) -> list[nn.Parameter]:
        """Return what the optimiser works on: one flat tensor a network."""
        return [network.flat for network in (self.actor, self.behaviour, self.critics)]

    def act(self, inputs: Tensor) -> Tensor:
        """Return the deterministic actions (B, A) for inputs (B, I)."""
        return squashed_mean(self.actor(inputs[None], frozen=True)[0])

    def values(self, critics: Perceptrons, inputs: Tensor, actions: Tensor, frozen: bool = False) -> Tensor:
        """Return both critics' values (2, B) of inputs (B, I) and actions (B, A)."""
        pairs = torch.cat([inputs, actions], dim=-1).expand(2, -1, -1)
        values: Tensor = critics(pairs, frozen=frozen)
        return values[..., 0]

    def penalised_values(
        self, critics: Perceptrons, inputs: Tensor, noise: Tensor, strength: float, frozen: bool
    ) -> Tensor:
        """Return min_j Q_j(s, a) - alpha KL(pi || b)(s) (B,) for a ~ pi; critics and b pass no gradient.

        Args:
            critics: the critics or their targets.
            inputs: state and z (B, I).
            noise: standard normal (B, A), which draws a.
            strength: alpha.
            frozen: pass no gradient to the actor either.
        """
        outputs = self.actor(inputs[None], frozen=frozen)[0]
        actions, _ = squashed_sample(outputs, noise)
        value = self.values(critics, inputs, actions, frozen=True).amin(dim=0)
        return value - strength * divergence(outputs, self.behaviour(inputs[None], frozen=True)[0])

    def critic_loss(self, batch: Batch, noise: Tensor, strength: float, discount: float) -> Tensor:
        """Return the squared distance of both critics to the penalised target, mean over the batch.

        Episodes only ever end by their time limit, which is no property of the task, so the target always looks ahead.
        """
        with torch.no_grad():
            ahead = self.penalised_values(self.targets, batch.successors, noise, strength, frozen=True)
            goal = batch.rewards + discount * ahead
        return (self.values(self.critics, batch.inputs, batch.actions) - goal).square().mean(dim=1).sum()

    def backward(self, batch: Batch, noise: Tensor, strength: float, discount: float) -> dict[str, Tensor]:
        """Set the gradients of b, critics and actor to those of their own losses; return the losses.

        Args:
            batch: transitions.
            noise: standard normal (2, B, A), for the target's and for the actor's actions.
            strength: alpha.
            discount: gamma.
        """
        self.zero_grad()
        cloning = cloning_loss(self.behaviour(batch.inputs[None])[0], batch.actions)
        critic = self.critic_loss(batch, noise[0], strength, discount)
        actor = -self.penalised_values(self.critics, batch.inputs, noise[1], strength, frozen=False).mean()
        (cloning + critic + actor).backward()
        losses = {"loss": critic, "actor_loss": actor, "cloning_loss": cloning}
        return {name: loss.detach() for name, loss in losses.items()}

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """Move the target critics towards the critics by ``rate``."""
        self.targets.flat.lerp_(self.critics.flat, rate)
