"""Soft actor-critic (Haarnoja et al., 2018) for M agents at once.

Twin critics are 2M members of one network; losses are summed over members, so that no member's gradient
depends on another's and M agents in one batch learn exactly what each would learn alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metadiffuser.behaviour.networks import MemberMLP, squashed_sample
from metadiffuser.behaviour.replay import Batch
from metadiffuser.config import Behaviour

ENTROPY_PER_ACTION = 0.5  # of the automatic temperature: target entropy is minus this many nats an action dimension
INITIAL_TEMPERATURE = 0.1  # of an automatic temperature: one makes the first thousands of updates seek noise alone


class SoftActorCritic(nn.Module):
    """Actors, twin critics, target critics and temperatures of M agents, and their optimisers.

    Args:
        config: section ``behaviour`` of the parameters.
        members: M.
        inputs: I, size of an agent's input.
        actions: A.
        generator: draws the initial weights; its device is where networks live.
    """

    def __init__(self, config: Behaviour, members: int, inputs: int, actions: int, generator: torch.Generator):
        super().__init__()
        self.config = config
        self.members = members
        self.actor = MemberMLP(members, [inputs, *config.hidden, 2 * actions], generator)
        self.critics = MemberMLP(2 * members, [inputs + actions, *config.hidden, 1], generator)
        self.targets = MemberMLP(2 * members, self.critics.sizes, generator)
        self.targets.flat.copy_(self.critics.flat)
        start = INITIAL_TEMPERATURE if config.entropy == "automatic" else max(config.entropy, 1e-8)
        self.log_temperature = nn.Parameter(
            torch.full((members,), start, device=generator.device).log(), requires_grad=False
        )
        self.log_temperature.grad = torch.zeros_like(self.log_temperature)
        self.target_entropy = -ENTROPY_PER_ACTION * actions
        self.optimisers = {
            name: torch.optim.Adam([parameter], lr=config.learning_rate, fused=True)
            for name, parameter in (
                ("actor", self.actor.flat),
                ("critics", self.critics.flat),
                ("temperature", self.log_temperature),
            )
        }

    def set_learning_rate(self, rate: float) -> None:
        """Set Adam's step size of actor, critics and temperature."""
        for optimiser in self.optimisers.values():
            optimiser.param_groups[0]["lr"] = rate

    def values(self, critics: MemberMLP, inputs: Tensor, actions: Tensor, frozen: bool = False) -> Tensor:
        """Return both critics' values (2, M, B) of inputs (M, B, I) and actions (M, B, A), in one pass."""
        pairs = torch.cat([inputs, actions], dim=-1)
        twice = pairs.expand(2, *pairs.shape).reshape(-1, *pairs.shape[1:])
        values: Tensor = critics(twice, frozen=frozen)
        return values.view(2, *pairs.shape[:2])

    def critic_loss(self, batch: Batch, noise: Tensor) -> Tensor:
        """Return each member's critic loss (M,): squared distance of both critics to the soft target.

        y = r + gamma (min_j Q'_j(s', a') - alpha log pi(a'|s')), a' ~ pi(s'). Episodes only ever end by their
        time limit, which is no property of the task, so the target always looks ahead.
        """
        with torch.no_grad():
            actions, log_density = squashed_sample(self.actor(batch.successors, frozen=True), noise)
            ahead = self.values(self.targets, batch.successors, actions, frozen=True).amin(dim=0)
            ahead = ahead - self.log_temperature.exp()[:, None] * log_density
            goal = batch.rewards + self.config.discount * ahead
        return (self.values(self.critics, batch.inputs, batch.actions) - goal).square().mean(dim=2).sum(dim=0)

    def actor_loss(self, batch: Batch, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return each member's actor loss (M,), alpha log pi - min_j Q_j, and its policy's entropy (M,)."""
        actions, log_density = squashed_sample(self.actor(batch.inputs), noise)
        value = self.values(self.critics, batch.inputs, actions, frozen=True).amin(dim=0)
        loss = (self.log_temperature.exp()[:, None] * log_density - value).mean(dim=1)
        return loss, -log_density.detach().mean(dim=1)

    def update(self, batch: Batch, noise: Tensor, with_actor: bool) -> tuple[Tensor, Tensor | None]:
        """Make one gradient step of the critics, of the actor if asked, and move the target critics.

        Args:
            batch: transitions.
            noise: standard normal (2, M, B, A), for the critics' and for the actor's actions.
            with_actor: whether actor and temperature are updated too.

        Returns:
            Critic loss (M,) and entropy (M,), the latter None without an actor update.
        """
        self.critics.zero_gradient()
        critic_loss = self.critic_loss(batch, noise[0])
        critic_loss.sum().backward()
        self.optimisers["critics"].step()
        entropy = None
        if with_actor:
            self.actor.zero_gradient()
            actor_loss, entropy = self.actor_loss(batch, noise[1])
            actor_loss.sum().backward()
            self.optimisers["actor"].step()
            if self.config.entropy == "automatic":
                # d/d(log alpha) of alpha (H(pi) - H_target) at alpha's logarithm, as is usual
                self.log_temperature.grad = entropy - self.target_entropy
                self.optimisers["temperature"].step()
        self.targets.flat.lerp_(self.critics.flat, self.config.target_rate)
        return critic_loss.detach(), entropy
