"""The noise schedule and its reverse steps, as tables computed once.

Every sampler is one affine step: ``x_{k-1} = clean_weight * x0 + noisy_weight * x_k``, plus a share of the step
before's x0 (DPM-Solver++ only), the guide and the noise. That is what makes them cheap and easy to compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

COSINE_OFFSET = 0.008  # keeps the first step's noise from vanishing (Nichol and Dhariwal, 2021)
MAX_BETA = 0.999


def cosine_alphas_cumprod(steps: int) -> Tensor:
    """Return alpha-bar (T + 1,) of the cosine schedule, from 1 (clean) at index 0 to almost 0 at T."""
    time = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    level = torch.cos((time + COSINE_OFFSET) / (1 + COSINE_OFFSET) * torch.pi / 2).square()
    betas = (1 - level[1:] / level[:-1]).clamp(max=MAX_BETA)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])


@dataclass(frozen=True)
class ReverseStep:
    """One step of the reverse process.

    Attributes:
        step: k, the denoising step that the network is conditioned on.
        clean_weight: factor of the predicted x0.
        earlier_weight: factor of the x0 that the step before predicted; 0 for one-step samplers.
        noisy_weight: factor of x_k.
        variance: of the posterior q(x_{k-1} | x_k, x0); scales the guide.
        noise_scale: standard deviation of the noise added at temperature 1.
        signal: sqrt(alpha-bar_k).
        noise: sqrt(1 - alpha-bar_k).
    """

    step: int
    clean_weight: float
    earlier_weight: float
    noisy_weight: float
    variance: float
    noise_scale: float
    signal: float
    noise: float


def reverse_steps(steps: int, sampler: str, sampling_steps: int) -> list[ReverseStep]:
    """Return the reverse process from k = T downwards, over an even choice of ``sampling_steps`` of T.

    ``ddpm`` is the ancestral sampler of Ho et al. (2020) on the chosen steps, ``ddim`` the deterministic
    one of Song et al. (2021), ``dpm_solver`` the second-order multistep DPM-Solver++(2M) of Lu et al. (2022),
    algorithm 2, whose first and last steps are of first order.

    Args:
        steps: T of the forward process.
        sampler: one of the above.
        sampling_steps: how many of T are taken; at most T.
    """
    alphas_cumprod = cosine_alphas_cumprod(steps)
    chosen = torch.linspace(0, steps, min(sampling_steps, steps) + 1).round().long()
    alpha_bars = alphas_cumprod[chosen].tolist()
    table = []
    for index in range(len(alpha_bars) - 1, 0, -1):
        alpha_bar, before = alpha_bars[index], alpha_bars[index - 1]
        ratio = alpha_bar / before  # product of the alphas between the two steps
        variance = (1 - before) / (1 - alpha_bar) * (1 - ratio)
        earlier, scale = 0.0, 0.0
        if sampler == "ddpm":
            clean = before**0.5 * (1 - ratio) / (1 - alpha_bar)
            noisy = ratio**0.5 * (1 - before) / (1 - alpha_bar)
            scale = variance**0.5
        else:
            noisy = ((1 - before) / (1 - alpha_bar)) ** 0.5
            clean = before**0.5 - alpha_bar**0.5 * noisy
        if sampler == "dpm_solver" and 1 < index < len(alpha_bars) - 1:
            # D = (1 + 1 / 2r) x0 - 1 / 2r x0(step before), with r = h(step before) / h in log-signal-to-noise.
            earlier = -clean * (_log_ratio(before) - _log_ratio(alpha_bar))
            earlier /= 2 * (_log_ratio(alpha_bar) - _log_ratio(alpha_bars[index + 1]))
            clean -= earlier
        weights = clean, earlier, noisy, variance, scale
        table.append(ReverseStep(int(chosen[index]), *weights, alpha_bar**0.5, (1 - alpha_bar) ** 0.5))
    return table


def _log_ratio(alpha_bar: float) -> float:
    """Return lambda = log(sqrt(alpha-bar) / sqrt(1 - alpha-bar)), half the log of the signal-to-noise ratio."""
    return 0.5 * math.log(alpha_bar / (1 - alpha_bar))
