"""What the benchmarks of the denoiser share: alternating measurements and counted operations."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

MATRIX = 512  # rows and columns of the matrix product that rates are compared with
PRODUCT = "product"


def alternate(functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each call, the functions taken in turn so that all see the same machine.

    The thread's own seconds are counted: what it waits while others use the core is left out.
    """
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 3):
        for name, function in functions.items():
            start = time.thread_time()
            function()
            if turn >= 3:  # the first turns warm up
                taken[name].append(time.thread_time() - start)
    return taken


def product() -> Callable[[], torch.Tensor]:
    """Return a plain matrix product, of ``2 * MATRIX ** 3`` operations."""
    matrix = torch.randn(MATRIX, MATRIX)
    return lambda: matrix @ matrix


def operations(function: Callable[[], object]) -> int:
    """Return the floating-point operations of the products and convolutions that ``function`` computes.

    A convolution counts as torch counts it, its padding included.
    """

    def added(_: Any, left: Any, right: Any, *__: Any, **___: Any) -> int:
        return int(2 * left[0] * left[1] * right[1])

    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: added}) as counter:
        function()
    return int(counter.get_total_flops())
