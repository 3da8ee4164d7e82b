"""The context encoder E_phi: a few transitions of a task -> its representation z (method section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from metadiffuser.data.normaliser import Normaliser

HEADS = 4  # attention heads between transitions
GATES = 8  # weighted means that pool a context


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Return linear layers of the given sizes with SiLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class ContextEncoder(nn.Module):
    """A set transformer: transitions attend to each other, gated means pool them, an MLP makes z.

    Attention and weighted means know neither an order nor a number of transitions, so z does not
    depend on them. Pooling by gates instead of a plain mean lets a few telling transitions of a poor
    episode speak up (docs/deviations.md, 7).

    Args:
        action_size: A.
        observation_size: S.
        latent_size: Z.
        width: features of a transition, a multiple of 4.
    """

    def __init__(self, observation_size: int, action_size: int, latent_size: int, width: int):
        super().__init__()
        self.sizes = [observation_size, action_size, 1, observation_size]
        self.embed = mlp([sum(self.sizes), 2 * width, width])
        self.norm_attention = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm_feedforward = nn.LayerNorm(width)
        self.feedforward = mlp([width, 2 * width, width])
        self.gate = nn.Linear(width, GATES)
        self.head = mlp([GATES * width, 2 * width, latent_size])

    def features(self, contexts: Tensor, normaliser: Normaliser) -> Tensor:
        """Normalise transitions (..., 2S + A + 1); s' becomes the change of state, where dynamics show."""
        state, action, reward, successor = contexts.split(self.sizes, dim=-1)
        change = normaliser.delta(successor - state)
        return torch.cat([normaliser.local(normaliser.state(state)), action, normaliser.reward(reward), change], dim=-1)

    def forward(self, contexts: Tensor, mask: Tensor, normaliser: Normaliser) -> Tensor:
        """Return z (B, Z) of contexts (B, K, 2S + A + 1), of which mask (B, K) says what counts.

        A row without any transition gets the z of an empty set, which is the same for all.
        """
        known = mask.any(dim=1)
        mask = mask | ~known[:, None]
        tokens = self.embed(self.features(contexts, normaliser))
        tokens = tokens + self._attend(self.norm_attention(tokens), mask)
        tokens = tokens + self.feedforward(self.norm_feedforward(tokens))
        gates = self.gate(tokens).masked_fill(~mask[..., None], float("-inf")).softmax(dim=1)
        pooled = torch.einsum("bkg,bkf->bgf", gates, tokens).flatten(1)
        return self.head(pooled * known[:, None])

    def _attend(self, tokens: Tensor, mask: Tensor) -> Tensor:
        size, length, width = tokens.shape
        query, key, value = (
            self.project(tokens).view(size, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        return self.mix(mixed.transpose(1, 2).reshape(size, length, width))
