"""CORRO's representation: contrast against relabelled data (Yuan and Lu, ICML 2022, arXiv 2206.10442).

A context should differ from one with the same states and actions and another task's rewards and changes of state:
then z cannot live on what the behaviour policy does. Of CORRO's two ways to relabel, noise on the reward and a
generative model, this is the second, which also serves families that differ in their dynamics. The generative model
is conditional on the task: reward and dynamics models with a learned code for each training task in place of the
random code of CORRO's conditional VAE. The positive of a pair is relabelled as well, with its own task's code, so that
the model's errors do not tell positives from negatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from metadiffuser.context.models import DynamicsModel, RewardModel
from metadiffuser.data.episodes import row_sizes
from metadiffuser.data.normaliser import Normaliser

NEGATIVES = 16  # per context, as in CORRO


def info_nce(queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Return -log of the share that the positive has in the similarities to each query, mean over the batch.

    ==================================  =======================================
    paper                               code
    ==================================  =======================================
    S(z, z'), a similarity in exp(.)    ``-||z - z'||^2 / Z`` (ours: it also
                                        trains the length of z, which the
                                        reward and dynamics models see)
    S+ / (S+ + sum over negatives of S) ``cross_entropy`` with target 0
    ==================================  =======================================

    Args:
        queries: z (B, Z).
        positives: z (B, Z) of other contexts of the same tasks.
        negatives: z (B, M, Z) of the positives' contexts, relabelled as other tasks.
    """
    keys = torch.cat([positives[:, None], negatives], dim=1)
    similarity = -(queries[:, None] - keys).square().mean(dim=-1)
    return functional.cross_entropy(similarity, similarity.new_zeros(len(queries), dtype=torch.long))


class Relabeller(nn.Module):
    """Reward and dynamics models with a learned code for each of N training tasks.

    Args:
        observation_size: S.
        action_size: A.
        latent_size: size of a code.
        hidden: layer widths of the two models.
        tasks: N.
    """

    def __init__(self, observation_size: int, action_size: int, latent_size: int, hidden: Sequence[int], tasks: int):
        super().__init__()
        self.sizes = row_sizes(observation_size, action_size)
        self.codes = nn.Embedding(tasks, latent_size)
        self.reward_model = RewardModel(observation_size, action_size, latent_size, hidden)
        self.dynamics_model = DynamicsModel(observation_size, action_size, latent_size, hidden)

    def predict(self, rows: Tensor, tasks: Tensor, normaliser: Normaliser) -> tuple[Tensor, Tensor]:
        """Return normalised rewards (...) and changes of state (..., S) of transitions (..., 2S + A + 1) in tasks."""
        state, action, _, _ = rows.split(self.sizes, dim=-1)
        codes = self.codes(tasks)[..., None, :].expand(*rows.shape[:-1], -1)
        inputs = (normaliser.local(normaliser.state(state)), action, codes)
        return self.reward_model(*inputs), self.dynamics_model(*inputs)

    def losses(self, rows: Tensor, tasks: Tensor, normaliser: Normaliser) -> Tensor:
        """Return the squared errors, normalised, of transitions (B, M, 2S + A + 1) of tasks (B,)."""
        state, _, reward, successor = rows.split(self.sizes, dim=-1)
        rewards, changes = self.predict(rows, tasks, normaliser)
        reward_loss = functional.mse_loss(rewards, normaliser.reward(reward[..., 0]))
        return reward_loss + functional.mse_loss(changes, normaliser.delta(successor - state))

    def relabel(self, rows: Tensor, tasks: Tensor, normaliser: Normaliser) -> Tensor:
        """Return the transitions (..., K, 2S + A + 1) as they would have been in ``tasks`` (...): the same s and a."""
        state, action, _, _ = rows.split(self.sizes, dim=-1)
        rewards, changes = self.predict(rows, tasks, normaliser)
        successors = state + normaliser.raw_delta(changes)
        return torch.cat([state, action, normaliser.raw_reward(rewards)[..., None], successors], dim=-1)


def other_tasks(tasks: Tensor, count: int, total: int, generator: torch.Generator) -> Tensor:
    """Draw ``count`` tasks for each of ``tasks`` (B,), none of them its own; return (B, count)."""
    shift = torch.randint(1, total, (len(tasks), count), generator=generator)
    return (tasks[:, None] + shift) % total


def contrastive_loss(
    encode: Callable[[Tensor, Tensor], Tensor],
    relabeller: Relabeller,
    normaliser: Normaliser,
    draw: Callable[[Tensor], tuple[Tensor, Tensor]],
    count: int,
    total: int,
    generator: torch.Generator,
) -> Tensor:
    """Return CORRO's loss: each task's context against another one, labelled as this task's or as others'.

    Args:
        encode: contexts and mask -> z.
        relabeller: trained.
        normaliser: that the relabeller was trained with.
        draw: tasks (B,) -> contexts (B, K, 2S + A + 1) of theirs and mask (B, K).
        count: B, tasks in the batch.
        total: N, tasks there are.
        generator: draws the tasks.
    """
    tasks = torch.randint(total, (count,), generator=generator)
    contexts, mask = draw(tasks)
    rows, mask_ = draw(tasks)
    labels = torch.cat([tasks[:, None], other_tasks(tasks, NEGATIVES, total, generator)], dim=1)
    copies = rows[:, None].expand(-1, labels.shape[1], -1, -1)
    relabelled = relabeller.relabel(copies, labels, normaliser).flatten(0, 1)
    keys = encode(relabelled, mask_.repeat_interleave(labels.shape[1], dim=0))
    positives, negatives = keys.view(*labels.shape, -1).split([1, NEGATIVES], dim=1)
    return info_nce(encode(contexts, mask), positives[:, 0], negatives)
