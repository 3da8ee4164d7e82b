"""The denoiser: a temporal U-Net over segments, conditioned on step k and task z (metadiffuser.md, section 2).

Features lie with time first, (H, B, C); ``layers.py`` says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from metadiffuser.diffusion.layers import Convolution, modulate

EMBEDDING = 64  # features of the embedded step and of the embedded task


class ResidualBlock(nn.Module):
    """Two convolutions, between them normalisation, the condition and SiLU; a shortcut around all."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first = Convolution(inputs, outputs)
        self.second = Convolution(outputs, outputs)
        self.shortcut = nn.Linear(inputs, outputs) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Return (H, B, outputs) of x (H, B, inputs), modulated by scale and shift (B, outputs)."""
        return self.second(modulate(self.first(x), scale, shift)) + self.shortcut(x)


class TemporalUNet(nn.Module):
    """f(x_k, k, z): z enters every level, as k does.

    Args:
        transition_size: S + A.
        latent_size: Z.
        width: channels at full resolution.
        multipliers: channels of each level, in multiples of ``width``; each level halves the horizon.
        steps: T, denoising steps.
    """

    def __init__(self, transition_size: int, latent_size: int, width: int, multipliers: Sequence[int], steps: int):
        super().__init__()
        channels = [width * multiplier for multiplier in multipliers]
        self.modulations = [size for size in (*channels, channels[-1], *reversed(channels)) for _ in ("scale", "shift")]
        self.embed_step = nn.Sequential(nn.Embedding(steps + 1, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING))
        self.embed_task = nn.Sequential(nn.Linear(latent_size, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING))
        self.null = nn.Parameter(torch.zeros(EMBEDDING))
        self.modulate = nn.Linear(EMBEDDING, sum(self.modulations))  # of all blocks, in one product
        with torch.no_grad():
            for scale in self.modulate.bias.split(self.modulations)[::2]:
                scale += 1.0  # a new network passes its features on as they are
        self.enter = Convolution(transition_size, channels[0])
        self.down = nn.ModuleList(ResidualBlock(size, size) for size in channels)
        self.shrink = nn.ModuleList(nn.Linear(2 * inputs, outputs) for inputs, outputs in pairwise(channels))
        self.middle = ResidualBlock(channels[-1], channels[-1])
        self.up = nn.ModuleList(ResidualBlock(2 * size, size) for size in reversed(channels))
        self.grow = nn.ModuleList(nn.Linear(inputs, 2 * outputs) for inputs, outputs in pairwise(reversed(channels)))
        self.leave = Convolution(channels[0], transition_size)
        self.offset = nn.Parameter(torch.zeros(transition_size))

    def task_condition(self, latents: Tensor, has_context: Tensor) -> Tensor:
        """Return the condition (B, EMBEDDING) of z (B, Z) where ``has_context`` (B,), the learned null elsewhere."""
        return torch.where(has_context[:, None], self.embed_task(latents), self.null)

    def step_condition(self, steps: Tensor) -> Tensor:
        """Return the step's part of the condition (B, EMBEDDING) of k (B,)."""
        return self.embed_step(steps)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return the prediction (B, H, S + A) of segments x (B, H, S + A) under condition (B, EMBEDDING)."""
        parts = iter(self.modulate(functional.silu(condition)).split(self.modulations, dim=1))
        hidden = self.enter(x.transpose(0, 1).contiguous())
        skips = []
        for level, block in enumerate(self.down):
            hidden = block(hidden, next(parts), next(parts))
            skips.append(hidden)
            if level < len(self.shrink):
                hidden = self.shrink[level](_pair(hidden))
        hidden = self.middle(hidden, next(parts), next(parts))
        for level, block in enumerate(self.up):
            hidden = block(torch.cat([hidden, skips.pop()], dim=2), next(parts), next(parts))
            if level < len(self.grow):
                hidden = _unpair(self.grow[level](hidden))
        return (self.leave(hidden) + self.offset).transpose(0, 1)


def _pair(x: Tensor) -> Tensor:
    """Lay each two following steps of (H, B, C) side by side: (H / 2, B, 2C)."""
    return x.unflatten(0, (-1, 2)).transpose(1, 2).flatten(2)


def _unpair(x: Tensor) -> Tensor:
    """Invert ``_pair``."""
    return x.unflatten(2, (2, -1)).transpose(1, 2).flatten(0, 1)
