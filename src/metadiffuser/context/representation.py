"""A trained task representation: encoder, generalised models and normaliser, as one module and one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metadiffuser.artifacts import read_tensors, write_tensors
from metadiffuser.config import Context
from metadiffuser.context.encoder import ContextEncoder
from metadiffuser.context.models import DynamicsModel, RewardModel
from metadiffuser.data.normaliser import Normaliser
from metadiffuser.errors import InputError


class ContextModel(nn.Module):
    """E_phi, R_psi and P_omega with the normaliser they share (method section 2.1).

    Latents leave ``encode`` standardised by the mean and deviation of the training tasks' z, so that a
    latent of zeros is the average training task.

    Args:
        observation_size: S.
        action_size: A.
        config: widths and sizes.
        travelled: entries of the observation that are positions along an endless floor.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, observation_size: int, action_size: int, config: Context, travelled: Sequence[int] = ()):
        super().__init__()
        self.observation_size = observation_size
        self.action_size = action_size
        self.config = config
        self.normaliser = Normaliser(observation_size, travelled)
        self.encoder = ContextEncoder(observation_size, action_size, config.latent_size, config.encoder_width)
        sizes = (observation_size, action_size, config.latent_size, config.hidden)
        self.reward_model = RewardModel(*sizes)
        self.dynamics_model = DynamicsModel(*sizes)
        self.register_buffer("latent_mean", torch.zeros(config.latent_size))
        self.register_buffer("latent_std", torch.ones(config.latent_size))

    @property
    def latent_size(self) -> int:
        """Z."""
        return self.config.latent_size

    def encode(self, contexts: Tensor, mask: Tensor) -> Tensor:
        """Return z (B, Z) of contexts (B, K, 2S + A + 1) with mask (B, K)."""
        return (self.encoder(contexts, mask, self.normaliser) - self.latent_mean) / self.latent_std

    def standardise(self, latents: Tensor) -> None:
        """From now on subtract the mean of these latents (B, Z) and divide by their deviation."""
        raw = latents * self.latent_std + self.latent_mean
        mean, std = raw.mean(0), raw.std(0).clamp_min(1e-4)
        for model in (self.reward_model, self.dynamics_model):
            _absorb(model.network[0], self.latent_size, mean, std, self.latent_mean, self.latent_std)
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(std)

    def predict_rewards(self, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        """R_psi: normalised rewards (...) of normalised states (..., S), actions (..., A) and z (..., Z)."""
        rewards: Tensor = self.reward_model(self.normaliser.local(states), actions, latents)
        return rewards

    def predict_changes(self, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        """P_omega: normalised changes of state (..., S) of normalised states, actions and z."""
        changes: Tensor = self.dynamics_model(self.normaliser.local(states), actions, latents)
        return changes

    def predict_states(self, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        """P_omega: the next states (..., S), normalised, of normalised states and actions."""
        change = self.normaliser.raw_delta(self.predict_changes(states, actions, latents))
        return states + change / self.normaliser.state_std

    def save(self, path: Path, header: dict[str, Any]) -> None:
        """Write weights, normaliser and configuration as one safetensors file."""
        own = {
            "observation_size": self.observation_size,
            "action_size": self.action_size,
            "context": self.config.model_dump(),
        }
        write_tensors(path, self.state_dict(), own | header)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> tuple[ContextModel, dict[str, Any]]:
        """Read what ``save`` wrote. Raises ``InputError`` if the file is missing, damaged or something else."""
        tensors, header = read_tensors(path, device)
        try:
            config = Context.model_validate(header["context"])
            model = cls(header["observation_size"], header["action_size"], config).to(device)
            model.load_state_dict(tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: not a context checkpoint ({reason}); run train_context again") from None
        return model.eval().requires_grad_(False), header


def _absorb(layer: nn.Module, size: int, mean: Tensor, std: Tensor, old_mean: Tensor, old_std: Tensor) -> None:
    """Change a first layer so that it gives the same output for latents standardised anew."""
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        weight = layer.weight[:, -size:] / old_std
        layer.bias.add_(weight @ (mean - old_mean))
        layer.weight[:, -size:] = weight * std
