"""Layers of the denoiser, on features with time first: (H, B, C).

Segments are short and batches are large. With time first, all rows that a tap of a convolution reads are one block
of memory, and so are those it adds to. A convolution is then one matrix product a tap, straight on the features: no
copies, no padding, and nothing computed for places outside of the segment. Modulations, which are one a segment, are
likewise added to whole blocks. The gradients are written out, since autograd would save and copy every intermediate
result. ``benchmarks/denoiser.py`` measures it.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNEL = 3  # taps of a convolution: the step before, the step itself, the step after
EPSILON = 1e-5  # added to a mean square before its root is divided by


def _joined(batch: int) -> tuple[tuple[int, slice, slice], ...]:
    """Return (tap, rows of the output, rows of the input that they read) of the two outer taps."""
    later, earlier = slice(batch, None), slice(None, -batch)
    return (0, later, earlier), (2, earlier, later)


def _convolve(x: Tensor, weight: Tensor, start: Tensor | None) -> Tensor:
    horizon, batch, inputs = x.shape
    rows, taps, outputs = x.reshape(-1, inputs), weight.unbind(), weight.shape[2]
    y = rows @ taps[1] if start is None else torch.addmm(start.reshape(-1, outputs), rows, taps[1])
    for tap, written, read in _joined(batch):
        y[written].addmm_(rows[read], taps[tap])
    return y.view(horizon, batch, outputs)


class _Convolve(torch.autograd.Function):
    """``_convolve`` with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, start: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.added = start is not None
        return _convolve(x, weight, start)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        batch, inputs = x.shape[1:]
        rows, flat = x.reshape(-1, inputs), gradient.reshape(-1, weight.shape[2])
        by_weight = torch.empty_like(weight)
        torch.mm(rows.t(), flat, out=by_weight[1])
        for tap, written, read in _joined(batch):
            torch.mm(rows[read].t(), flat[written], out=by_weight[tap])
        by_input = None
        if ctx.needs_input_grad[0]:
            by_input = flat @ weight[1].t()
            for tap, written, read in _joined(batch):
                by_input[read].addmm_(flat[written], weight[tap].t())
            by_input = by_input.view_as(x)
        return by_input, by_weight, gradient if ctx.added else None


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
        self.weight = nn.Parameter(torch.empty(KERNEL, inputs, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor, start: Tensor | None = None) -> Tensor:
        """Return (H, B, outputs) of x (H, B, inputs), added to ``start`` (H, B, outputs) if it is given."""
        convolve = _Convolve.apply if torch.is_grad_enabled() else _convolve
        return convolve(x, self.weight, start)


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalise each segment of x (H, B, C) to a mean square of one, scale and shift it by (B, C), apply SiLU."""
    if torch.is_grad_enabled():
        return cast(Tensor, _Modulate.apply(x, scale, shift))  # type: ignore[no-untyped-call]
    return functional.silu(_normalise(x, scale, shift)[0], inplace=True)
