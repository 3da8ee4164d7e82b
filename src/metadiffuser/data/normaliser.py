"""Standardisation of states, changes of state and rewards, fitted on training tasks and kept in checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

TRAVEL = 10  # steps whose displacement is one unit of an unbounded coordinate
FLOOR = 1e-3  # smallest standard deviation divided by: a constant coordinate stays constant


class Normaliser(nn.Module):
    """Affine maps to zero mean and unit deviation. Actions lie in [-1, 1] already and stay as they are.

    Travelled coordinates (positions along an endless floor) are treated apart, since neither rewards nor
    dynamics depend on where they start (docs/deviations.md, 22): their mean is zero and their unit is the
    displacement of ten typical steps, ``origin`` says what to subtract from a segment, and ``local`` hides
    them from models of single transitions.

    Args:
        observation_size: S.
        unbounded_dims: entries of the observation that are unbounded coordinates.
    """

    state_mean: Tensor
    state_std: Tensor
    delta_mean: Tensor
    delta_std: Tensor
    reward_mean: Tensor
    reward_std: Tensor
    local_mask: Tensor

    def __init__(self, observation_size: int, unbounded_dims: Sequence[int] = ()):
        super().__init__()
        for name in ("state", "delta"):
            self.register_buffer(f"{name}_mean", torch.zeros(observation_size))
            self.register_buffer(f"{name}_std", torch.ones(observation_size))
        self.register_buffer("local_mask", torch.ones(observation_size))
        self.local_mask[list(unbounded_dims)] = 0.0
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
        unbounded_dims = self.local_mask == 0
        step = deltas.flatten(0, -2).double().square().mean(0).sqrt()
        self.state_mean[unbounded_dims] = 0.0
        self.state_std[unbounded_dims] = (TRAVEL * step).clamp_min(FLOOR).float()[unbounded_dims]
        self.reward_mean.copy_(rewards.double().mean())
        self.reward_std.copy_(rewards.double().std().clamp_min(FLOOR))
        return self

    def state(self, states: Tensor) -> Tensor:
        """Normalise states (..., S)."""
        return (states - self.state_mean) / self.state_std

    def origin(self, states: Tensor) -> Tensor:
        """Return the unbounded coordinates of states (..., S), zero elsewhere: what to subtract from a segment."""
        return states * (1 - self.local_mask)

    def local(self, normalised: Tensor) -> Tensor:
        """Return normalised states (..., S) without the unbounded coordinates."""
        return normalised * self.local_mask

    def denormalise_state(self, states: Tensor) -> Tensor:
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
