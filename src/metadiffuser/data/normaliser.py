"""Standardisation of states, changes of state and rewards, fitted on training tasks and kept in checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 1e-3  # smallest standard deviation divided by: a constant coordinate stays constant


class Normaliser(nn.Module):
    """Affine maps to zero mean and unit deviation. Actions lie in [-1, 1] already and stay as they are.

    Args:
        observation_size: S.
    """

    state_mean: Tensor
    state_std: Tensor
    delta_mean: Tensor
    delta_std: Tensor
    reward_mean: Tensor
    reward_std: Tensor

    def __init__(self, observation_size: int):
        super().__init__()
        for name in ("state", "delta"):
            self.register_buffer(f"{name}_mean", torch.zeros(observation_size))
            self.register_buffer(f"{name}_std", torch.ones(observation_size))
        self.register_buffer("reward_mean", torch.zeros(()))
        self.register_buffer("reward_std", torch.ones(()))

    def fit(self, observations: Tensor, rewards: Tensor) -> Normaliser:
        """Fit to observations (..., T + 1, S) and rewards (..., T); return self."""
        size = observations.shape[-1]
        deltas = observations[..., 1:, :] - observations[..., :-1, :]
        for name, values in (("state", observations), ("delta", deltas)):
            flat = values.reshape(-1, size).double()
            getattr(self, f"{name}_mean").copy_(flat.mean(0))
            getattr(self, f"{name}_std").copy_(flat.std(0).clamp_min(FLOOR))
        self.reward_mean.copy_(rewards.double().mean())
        self.reward_std.copy_(rewards.double().std().clamp_min(FLOOR))
        return self

    def state(self, states: Tensor) -> Tensor:
        """Normalise states (..., S)."""
        return (states - self.state_mean) / self.state_std

    def raw_state(self, states: Tensor) -> Tensor:
        """Invert ``state``."""
        return states * self.state_std + self.state_mean

    def delta(self, deltas: Tensor) -> Tensor:
        """Normalise changes of state (..., S)."""
        return (deltas - self.delta_mean) / self.delta_std

    def raw_delta(self, deltas: Tensor) -> Tensor:
        """Invert ``delta``."""
        return deltas * self.delta_std + self.delta_mean

    def reward(self, rewards: Tensor) -> Tensor:
        """Normalise rewards (...)."""
        return (rewards - self.reward_mean) / self.reward_std

    def raw_reward(self, rewards: Tensor) -> Tensor:
        """Invert ``reward``."""
        return rewards * self.reward_std + self.reward_mean
