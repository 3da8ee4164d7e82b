"""Layers of the denoiser, on features with time first: (H, B, C).

Segments are short and batches are large. With time first, modulations, which are one a segment, are added to whole
blocks of memory, and a convolution over time is to torch a two-dimensional one over a single image of H x B places
whose channels lie last: the layout that its kernels are quickest in, without a copy. The gradient of a modulation is
written out, since autograd would save and copy every intermediate result. ``benchmarks/denoiser.py`` measures it.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNEL = 3  # taps of a convolution: the step before, the step itself, the step after
EPSILON = 1e-5  # added to a mean square before its root is divided by


def _normalise(x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return scale * x / rms(x) + shift, and 1 / rms (B, 1) and the factor (B, C) that it was made with."""
    # In two steps, since torch's norm over the last dimension is several times faster than over two that lie apart.
    square = torch.linalg.vector_norm(x, dim=2).square().sum(0)
    inverse = (square / (x.shape[0] * x.shape[2]) + EPSILON).rsqrt()[:, None]
    factor = scale * inverse
    return torch.addcmul(shift.contiguous(), x, factor), inverse, factor


class _Modulate(torch.autograd.Function):
    """SiLU of ``_normalise`` with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        y, inverse, factor = _normalise(x, scale, shift)
        ctx.save_for_backward(x, scale, inverse, factor, y)
        return functional.silu(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, scale, inverse, factor, y = ctx.saved_tensors
        by_y = torch.ops.aten.silu_backward(gradients[0], y)
        by_factor = (by_y * x).sum(0)
        by_inverse = (by_factor * scale).sum(1, keepdim=True)
        by_square = -by_inverse * inverse**3 / (x.shape[0] * x.shape[2])
        return torch.addcmul(by_y * factor, x, by_square), by_factor * inverse, by_y.sum(0)


class Convolution(nn.Module):
    """A convolution over time of three taps, without a bias; a segment is continued by zeros.

    Args:
        inputs: channels read.
        outputs: channels written.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        bound = (KERNEL * inputs) ** -0.5  # as torch.nn.Conv1d draws
        self.weight = nn.Parameter(torch.empty(outputs, KERNEL, inputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Return (H, B, outputs) of x (H, B, inputs)."""
        image, kernel = x.unsqueeze(0).permute(0, 3, 1, 2), self.weight.unsqueeze(2).permute(0, 3, 1, 2)
        return functional.conv2d(image, kernel, padding=(KERNEL // 2, 0)).permute(0, 2, 3, 1).squeeze(0)


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalise each segment of x (H, B, C) to a mean square of one, scale and shift it by (B, C), apply SiLU."""
    if torch.is_grad_enabled():
        return cast(Tensor, _Modulate.apply(x, scale, shift))  # type: ignore[no-untyped-call]
    return functional.silu(_normalise(x, scale, shift)[0], inplace=True)
