"""The conditional diffusion model: denoiser, normaliser and what it was trained with, as one module and one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from metadiffuser.artifacts import load_module, write_tensors
from metadiffuser.config.schema import Diffusion
from metadiffuser.data.normaliser import Normaliser
from metadiffuser.data.windows import TaskData
from metadiffuser.diffusion.schedule import ReverseStep, cosine_alphas_cumprod
from metadiffuser.diffusion.unet import TemporalUNet


class DiffusionModel(nn.Module):
    """A diffusion model over segments of (normalised state, action).

    Args:
        observation_size: S.
        action_size: A.
        latent_size: Z.
        config: sizes and what the network predicts.
    """

    alphas_cumprod: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, observation_size: int, action_size: int, latent_size: int, config: Diffusion):
        super().__init__()
        self.sizes = (observation_size, action_size, latent_size)
        self.config = config
        self.normaliser = Normaliser(observation_size)
        size = observation_size + action_size
        self.network = TemporalUNet(size, latent_size, config.width, config.multipliers, config.denoising_steps)
        self.register_buffer("alphas_cumprod", cosine_alphas_cumprod(config.denoising_steps).float())
        self.register_buffer("low", -torch.ones(size))
        self.register_buffer("high", torch.ones(size))

    @property
    def observation_size(self) -> int:
        """S."""
        return self.sizes[0]

    def rows(self, data: TaskData) -> Tensor:
        """Return (normalised state, action) of every stored state (N, E, T + 1, S + A); the last action is zero."""
        return torch.cat([self.normaliser.state(data.observations), pad(data.actions, (0, 0, 0, 1))], dim=-1)

    def relative(self, segments: Tensor) -> Tensor:
        """Count the unbounded coordinates of segments (B, H, S + A) of ``rows`` from their first state, in place."""
        if not bool(self.normaliser.local_mask.all()):
            states = segments[..., : self.observation_size]
            states -= self.normaliser.origin(states[:, :1])
        return segments

    def set_range(self, observations: Tensor) -> None:
        """Limit clean segments to the range of the episodes' states (..., T + 1, S) and to actions in [-1, 1]."""
        size, normaliser = self.observation_size, self.normaliser
        states = normaliser.local(normaliser.state(observations)).flatten(0, -2)
        low, high = states.amin(0), states.amax(0)
        unbounded_dims = normaliser.state(normaliser.origin(observations)) * (1 - normaliser.local_mask)
        for ahead in range(1, min(self.config.horizon, observations.shape[-2])):
            moved = (unbounded_dims[..., ahead:, :] - unbounded_dims[..., :-ahead, :]).flatten(0, -2)
            low, high = torch.minimum(low, moved.amin(0)), torch.maximum(high, moved.amax(0))
        self.low[:size], self.high[:size] = low, high

    def add_noise(self, clean: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """q(x_k | x_0): segments (B, H, S + A) noised to steps k (B,), with the first state left clean."""
        alpha = self.alphas_cumprod[steps][:, None, None]
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        noisy[:, 0, : self.observation_size] = clean[:, 0, : self.observation_size]
        return noisy

    def clean(self, prediction: Tensor, noisy: Tensor, step: ReverseStep) -> Tensor:
        """Return x0 (B, H, S + A), limited to the data's range, from what the network predicts at ``noisy``."""
        if self.config.prediction_type == "noise":
            prediction = (noisy - step.noise * prediction) / step.signal
        return torch.minimum(torch.maximum(prediction, self.low), self.high)

    def save(self, path: Path, header: dict[str, Any]) -> None:
        """Write weights, normaliser and configuration as one safetensors file."""
        own = {"sizes": list(self.sizes), "diffusion": self.config.model_dump()}
        write_tensors(path, self.state_dict(), own | header)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> tuple[DiffusionModel, dict[str, Any]]:
        """Read what ``save`` wrote. Raises ``InputError`` if the file is missing, damaged or something else."""

        def build(header: dict[str, Any]) -> DiffusionModel:
            observation_size, action_size, latent_size = header["sizes"]
            config = Diffusion.model_validate(header["diffusion"])
            return cls(observation_size, action_size, latent_size, config)

        return load_module(path, device, build, "diffusion", "train_diffusion")
