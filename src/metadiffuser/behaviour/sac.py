"""Soft actor-critic (Haarnoja et al., 2018) for M agents at once.

Twin critics are 2M members of one network; losses are summed over members, so that no member's gradient
depends on another's and M agents in one batch learn exactly what each would learn alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metadiffuser.behaviour.adam import Adam
from metadiffuser.behaviour.networks import MemberMLP, squashed_sample, squashed_slope
from metadiffuser.behaviour.replay import Batch
from metadiffuser.config.schema import Behaviour

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
        self.target_entropy = -ENTROPY_PER_ACTION * actions
        self.actor_optimiser = Adam(self.actor.flat)
        self.critic_optimiser = Adam(self.critics.flat)
        self.temperature_optimiser = Adam(self.log_temperature)

    def goal(self, batch: Batch, noise: Tensor) -> Tensor:
        """Return what the critics are drawn to (M, B), for standard normal ``noise`` (M, B, A) of the next action.

        y = r + gamma (min_j Q'_j(s', a') - alpha log pi(a'|s')), a' ~ pi(s'). The target looks ahead at an
        episode's time limit, which is no property of the task, and not beyond a fall that ended it.
        """
        actions, log_density = squashed_sample(self.actor(batch.successors), noise)
        ahead = self._values(self.targets, torch.cat([batch.successors, actions], dim=-1))[-1].amin(dim=0)
        ahead.addcmul_(self.log_temperature.exp()[:, None], log_density, value=-1.0)
        return torch.addcmul(batch.rewards, batch.not_done, ahead, value=self.config.discount)

    def update_critics(self, batch: Batch, noise: Tensor, rate: float) -> Tensor:
        """Make one step of both critics towards ``goal``; return the mean square of their errors, summed (M,)."""
        goal = self.goal(batch, noise)
        *trace, values = self._values(self.critics, batch.pairs)
        error = values - goal
        self.critics.backward(trace, (error * (2.0 / goal.shape[1])).flatten(0, 1)[..., None])
        self.critic_optimiser.step(self.critics.gradient, rate)
        return torch.linalg.vecdot(error, error).sum(dim=0) / goal.shape[1]

    def update_actor(self, batch: Batch, noise: Tensor, rate: float) -> Tensor:
        """Make one step of the actor down alpha log pi - min_j Q_j, and of the temperature; return the entropy (M,)."""
        size = batch.rewards.shape[1]
        actor_trace = self.actor.trace(batch.inputs)
        actions, log_density = squashed_sample(actor_trace[-1], noise)
        *trace, values = self._values(self.critics, torch.cat([batch.inputs, actions], dim=-1))
        first = (values[0] <= values[1]).to(values.dtype)  # the lower of both is what counts, and it alone has a slope
        slope = torch.stack([first, 1.0 - first]).mul_(-1.0 / size).flatten(0, 1)[..., None]
        slope = self.critics.input_slope(trace, slope, actions.shape[-1]).unflatten(0, (2, -1)).sum(dim=0)
        weight = (self.log_temperature.exp() / size)[:, None, None]
        self.actor.backward(actor_trace, squashed_slope(actor_trace[-1], noise, actions, slope, weight))
        self.actor_optimiser.step(self.actor.gradient, rate)
        entropy = log_density.mean(dim=1).neg_()
        if self.config.entropy == "automatic":
            # d/d(log alpha) of alpha (H(pi) - H_target) at alpha's logarithm, as is usual
            self.temperature_optimiser.step(entropy - self.target_entropy, rate)
        return entropy

    @torch.no_grad()
    def update(
        self, batch: Batch, noise: Tensor, actor_noise: Tensor | None, rate: float
    ) -> tuple[Tensor, Tensor | None]:
        """Make one gradient step of the critics, of the actor if it has its turn, and move the target critics.

        Args:
            batch: transitions.
            noise: standard normal (M, B, A), for the next actions that critics look ahead to.
            actor_noise: the same for the actor's actions; None leaves actor and temperature as they are.
            rate: Adam's step size of all networks.

        Returns:
            Critic loss (M,) and entropy (M,), the latter None without an actor update.
        """
        loss = self.update_critics(batch, noise, rate)
        entropy = None if actor_noise is None else self.update_actor(batch, actor_noise, rate)
        self.targets.flat.lerp_(self.critics.flat, self.config.target_rate)
        return loss, entropy

    def _values(self, critics: MemberMLP, pairs: Tensor) -> list[Tensor]:
        """Return the trace of both critics in one pass, and their values (2, M, B) of pairs (M, B, I + A) last."""
        trace = critics.trace(pairs.expand(2, *pairs.shape).flatten(0, 1))
        return [*trace, trace[-1].view(2, *pairs.shape[:2])]
