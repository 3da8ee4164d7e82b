"""A behaviour-regularised actor-critic for offline data (BRAC: Wu, Tucker and Nachum 2019, arXiv 1911.11361).

Actor pi, cloned behaviour policy b and twin critics see the state and z. b is cloned first, and pi begins as b. The
penalty is KL(pi || b), only in the actor's loss (BRAC-p), and its weight alpha follows the divergence, so that
KL(pi || b) is delta in the mean::

    b:     L = -log b(a | s, z)
    Q_j:   y = r + gamma min_j Q'_j(s', a'),  a' ~ pi(s', z);    L = sum_j (Q_j(s, a) - y)^2
    pi:    L = alpha KL(pi || b)(s) - min_j Q_j(s, a),  a ~ pi(s, z)
    alpha: L = log alpha (delta - KL(pi || b)(s))

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
from metadiffuser.training import Losses

SPREAD = -2.0  # least log standard deviation of b: a smaller one weighs where experts are certain, and little is learnt
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


def gaussian(outputs: Tensor, least: float = LOG_STD[0]) -> tuple[Tensor, Tensor]:
    """Return mean and bounded log standard deviation (..., A) of a policy's outputs (..., 2A)."""
    mean, log_std = outputs.chunk(2, dim=-1)
    return mean, log_std.clamp(least, LOG_STD[1])


def divergence(outputs: Tensor, others: Tensor) -> Tensor:
    """Return KL(p || q) (...) of the squashed Gaussians p, of the actor, and q, of b, with outputs (..., 2A).

    sum_i log(sigma_q / sigma_p) + (sigma_p^2 + (mu_p - mu_q)^2) / (2 sigma_q^2) - 1/2
    """
    (mean, log_std), (mean_, log_std_) = gaussian(outputs), gaussian(others, SPREAD)
    ratio = ((2 * log_std).exp() + (mean - mean_).square()) / (2 * (2 * log_std_).exp())
    return (log_std_ - log_std + ratio - 0.5).sum(dim=-1)


def cloning_loss(outputs: Tensor, actions: Tensor) -> Tensor:
    """Return -log density of actions (..., A) under b's outputs (..., 2A), up to a constant, mean over the batch.

    The density is that of u = atanh(a); the Jacobian does not depend on the parameters.
    """
    mean, log_std = gaussian(outputs, SPREAD)
    raw = torch.atanh(actions.clamp(-EDGE, EDGE))
    return (0.5 * ((raw - mean) * (-log_std).exp()).square() + log_std).sum(dim=-1).mean()


class ActorCritic(nn.Module):
    """pi, b, twin critics with their slowly following targets, and log alpha.

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
        self.log_strength = nn.Parameter(torch.zeros(()))

    def trained(self) -> list[nn.Parameter]:
        """Return what the optimiser works on once b is cloned: one flat tensor a network, and log alpha."""
        return [self.actor.flat, self.critics.flat, self.log_strength]

    def cloning_loss(self, inputs: Tensor, actions: Tensor) -> Tensor:
        """Return the loss of b on inputs (B, I) and actions (B, A)."""
        return cloning_loss(self.behaviour(inputs[None])[0], actions)

    @torch.no_grad()
    def begin(self) -> None:
        """Let the actor begin as b."""
        self.actor.flat.copy_(self.behaviour.flat)

    def act(self, inputs: Tensor) -> Tensor:
        """Return the deterministic actions (B, A) for inputs (B, I)."""
        return squashed_mean(self.actor(inputs[None], frozen=True)[0])

    def values(self, critics: Perceptrons, inputs: Tensor, actions: Tensor, frozen: bool = False) -> Tensor:
        """Return both critics' values (2, B) of inputs (B, I) and actions (B, A)."""
        pairs = torch.cat([inputs, actions], dim=-1).expand(2, -1, -1)
        values: Tensor = critics(pairs, frozen=frozen)
        return values[..., 0]

    def critic_loss(self, batch: Batch, noise: Tensor, discount: float) -> Tensor:
        """Return the squared distance of both critics to their target, mean over the batch.

        Episodes only ever end by their time limit, which is no property of the task, so the target always looks ahead.

        Args:
            batch: transitions.
            noise: standard normal (B, A), which draws the next actions.
            discount: gamma.
        """
        with torch.no_grad():
            actions, _ = squashed_sample(self.actor(batch.successors[None], frozen=True)[0], noise)
            goal = batch.rewards + discount * self.values(self.targets, batch.successors, actions).amin(dim=0)
        return (self.values(self.critics, batch.inputs, batch.actions) - goal).square().mean(dim=1).sum()

    def actor_losses(self, inputs: Tensor, noise: Tensor, target: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the losses of pi and of log alpha, and KL(pi || b), each a mean over inputs (B, I).

        Critics and b pass no gradient, nor does alpha in pi's loss.

        Args:
            inputs: state and z.
            noise: standard normal (B, A), which draws the actions.
            target: delta, nats.
        """
        outputs = self.actor(inputs[None])[0]
        actions, _ = squashed_sample(outputs, noise)
        value = self.values(self.critics, inputs, actions, frozen=True).amin(dim=0).mean()
        apart = divergence(outputs, self.behaviour(inputs[None], frozen=True)[0]).mean()
        loss = self.log_strength.detach().exp() * apart - value
        return loss, self.log_strength * (target - apart.detach()), apart

    def losses(self, batch: Batch, noise: Tensor, target: float, discount: float) -> Losses:
        """Return the sum of the losses of critics, actor and log alpha, and what the learning curve shows of them.

        Each of the three has the gradient of its own loss: the others pass none to it.

        Args:
            batch: transitions.
            noise: standard normal (2, B, A), for the target's and for the actor's actions.
            target: delta, nats that the actor may lie away from b.
            discount: gamma.
        """
        critic = self.critic_loss(batch, noise[0], discount)
        actor, strength, apart = self.actor_losses(batch.inputs, noise[1], target)
        return critic + actor + strength, {"loss": critic, "actor_loss": actor, "divergence": apart}

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """Move the target critics towards the critics by ``rate``."""
        self.targets.flat.lerp_(self.critics.flat, rate)
