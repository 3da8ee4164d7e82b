"""Classifier-free guidance: how conditional and unconditional predictions are mixed (method section 3)."""

from __future__ import annotations

from torch import Tensor


def mix(unconditional: Tensor, conditional: Tensor, weight: float) -> Tensor:
    """eps = eps(null) + omega * (eps(z) - eps(null)); omega 0 is unconditional, 1 plainly conditional."""
    return unconditional + weight * (conditional - unconditional)
