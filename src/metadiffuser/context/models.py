"""The models of all tasks: R_psi and P_omega (metadiffuser.md, section 1), and V(s, z) beyond the horizon."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metadiffuser.context.encoder import mlp


class RewardModel(nn.Module):
    """R_psi: normalised state (..., S), action (..., A), z (..., Z) -> normalised reward (...)."""

    def __init__(self, observation_size: int, action_size: int, latent_size: int, hidden: Sequence[int]):
        super().__init__()
        self.network = mlp([observation_size + action_size + latent_size, *hidden, 1])

    def forward(self, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        """Return the predicted reward in normalised units (...)."""
        return self.network(torch.cat([states, actions, latents], dim=-1))[..., 0]


class DynamicsModel(nn.Module):
    """P_omega: normalised state (..., S), action (..., A), z (..., Z) -> normalised change of state (..., S)."""

    def __init__(self, observation_size: int, action_size: int, latent_size: int, hidden: Sequence[int]):
        super().__init__()
        self.network = mlp([observation_size + action_size + latent_size, *hidden, observation_size])

    def forward(self, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        """Return the predicted change of state in normalised units (..., S)."""
        return self.network(torch.cat([states, actions, latents], dim=-1))


class ValueModel(nn.Module):
    """V: normalised state (..., S), z (..., Z) -> discounted return to go (...), in the unit it is trained in."""

    def __init__(self, observation_size: int, latent_size: int, hidden: Sequence[int]):
        super().__init__()
        self.network = mlp([observation_size + latent_size, *hidden, 1])

    def forward(self, states: Tensor, latents: Tensor) -> Tensor:
        """Return the predicted return to go, of zero mean and unit deviation over the data (...)."""
        return self.network(torch.cat([states, latents], dim=-1))[..., 0]
