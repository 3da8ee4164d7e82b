"""The denoiser: a temporal U-Net over trajectory segments, conditioned on step k and task z (method section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNEL = 3  # steps that one convolution sees; two levels and a middle see 40 and more
GROUPS = 8  # of group normalisation
EMBEDDING = 64  # features of the embedded step and task


class ResidualBlock(nn.Module):
    """Two convolutions around the condition, with a shortcut; one normalisation each, SiLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first = nn.Conv1d(inputs, outputs, KERNEL, padding=KERNEL // 2)
        self.second = nn.Conv1d(outputs, outputs, KERNEL, padding=KERNEL // 2)
        self.norm_first = nn.GroupNorm(GROUPS, outputs)
        self.norm_second = nn.GroupNorm(GROUPS, outputs)
        self.condition = nn.Linear(EMBEDDING, 2 * outputs)
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return (B, outputs, H) of x (B, inputs, H) and condition (B, EMBEDDING)."""
        scale, shift = self.condition(condition)[..., None].chunk(2, dim=1)
        hidden = functional.silu(self.norm_first(self.first(x)) * (1 + scale) + shift)
        hidden = functional.silu(self.norm_second(self.second(hidden)))
        return hidden + self.shortcut(x)


class TemporalUNet(nn.Module):
    """eps_theta(x_k, k, z): z enters every level, as k does.

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
        self.embed_step = nn.Sequential(nn.Embedding(steps + 1, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING))
        self.embed_task = nn.Sequential(nn.Linear(latent_size, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING))
        self.null = nn.Parameter(torch.zeros(EMBEDDING))
        self.enter = nn.Conv1d(transition_size, channels[0], KERNEL, padding=KERNEL // 2)
        self.down = nn.ModuleList(ResidualBlock(size, size) for size in channels)
        self.shrink = nn.ModuleList(nn.Conv1d(inputs, outputs, 2, stride=2) for inputs, outputs in pairwise(channels))
        self.middle = ResidualBlock(channels[-1], channels[-1])
        self.up = nn.ModuleList(ResidualBlock(2 * size, size) for size in reversed(channels))
        self.grow = nn.ModuleList(
            nn.ConvTranspose1d(inputs, outputs, 2, stride=2) for inputs, outputs in pairwise(reversed(channels))
        )
        self.leave = nn.Conv1d(channels[0], transition_size, KERNEL, padding=KERNEL // 2)

    def task_condition(self, latents: Tensor, known: Tensor) -> Tensor:
        """Return the task's part of the condition (B, EMBEDDING): the learned null where ``known`` (B,) is False."""
        return torch.where(known[:, None], self.embed_task(latents), self.null)

    def step_condition(self, steps: Tensor) -> Tensor:
        """Return the step's part of the condition (B, EMBEDDING) of k (B,)."""
        return self.embed_step(steps)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return the prediction (B, H, S + A) of segments x (B, H, S + A) under condition (B, EMBEDDING)."""
        condition = functional.silu(condition)
        hidden = self.enter(x.transpose(1, 2))
        skips = []
        for level, block in enumerate(self.down):
            hidden = block(hidden, condition)
            skips.append(hidden)
            if level < len(self.shrink):
                hidden = self.shrink[level](hidden)
        hidden = self.middle(hidden, condition)
        for level, block in enumerate(self.up):
            hidden = block(torch.cat([hidden, skips.pop()], dim=1), condition)
            if level < len(self.grow):
                hidden = self.grow[level](hidden)
        return self.leave(hidden).transpose(1, 2)
