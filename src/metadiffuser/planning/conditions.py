"""Classifier-free guidance: how conditional and unconditional predictions are mixed (metadiffuser.md, section 3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metadiffuser.diffusion.unet import TemporalUNet


def mix(unconditional: Tensor, conditional: Tensor, weight: float) -> Tensor:
    """eps = eps(null) + omega * (eps(z) - eps(null)); omega 0 is unconditional, 1 plainly conditional."""
    return unconditional + weight * (conditional - unconditional)


def mixed_predictor(
    network: TemporalUNet, latents: Tensor, has_context: Tensor, weight: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return (x (B, H, S + A), step's condition) -> mixed prediction (B, H, S + A), in one forward pass a call.

    Only rows that need a second branch get one: those with a context, if omega is neither 0 nor 1.

    Args:
        network: the denoiser.
        latents: z (B, Z).
        has_context: whether z is to be used (B,).
        weight: omega.
    """
    conditional = network.task_condition(latents, has_context if weight > 0 else torch.zeros_like(has_context))
    if weight in (0.0, 1.0) or not bool(has_context.any()):
        return lambda x, step: network(x, conditional + step)
    null = network.task_condition(latents, torch.zeros_like(has_context))
    if bool(has_context.all()):
        both = torch.cat([null, conditional])

        def mixed_everywhere(x: Tensor, step: Tensor) -> Tensor:
            unconditional, with_task = network(x.repeat(2, 1, 1), both + step).chunk(2)
            return mix(unconditional, with_task, weight)

        return mixed_everywhere
    rows = has_context.nonzero()[:, 0]
    some = torch.cat([null, conditional[rows]])

    def mixed_where_given(x: Tensor, step: Tensor) -> Tensor:
        unconditional, with_task = network(torch.cat([x, x[rows]]), some + step).split([len(x), len(rows)])
        return unconditional.index_copy(0, rows, mix(unconditional[rows], with_task, weight))

    return mixed_where_given
