"""What the benchmarks share: times, counted operations, and a plain matrix product to hold rates against."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from metadiffuser.envs import Family

MATRIX = 1024  # rows and columns of the reference product
MATRIX_OPERATIONS = 2 * MATRIX**3
WARM_UP = 3  # turns before the clock counts


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes.

    With one thread, time of the processor is counted: other programs on the machine do not lengthen it.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    function()
    return clock() - start


def alternate(functions: Mapping[str, Callable[[], object]], slices: int) -> dict[str, list[float]]:
    """Return the times of ``slices`` calls of each function, taken in turn, after a few to warm up.

    What slows the machine for a while slows all of them, so that ratios within a slice keep their meaning.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(slices + WARM_UP):
        for name, function in functions.items():
            taken = timed(function)
            if turn >= WARM_UP:
                times[name].append(taken)
    return times


def upright(family: Family, observations: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where the robot is upright (E, T), for observations, or their beginning with the posture (E, T, ...).

    A robot that cannot fall always is.
    """
    flat = observations.reshape(-1, observations.shape[-1]).astype(float)
    found = family.healthy(flat) if family.healthy else np.ones(len(flat), bool)
    return found.reshape(observations.shape[:2])


def matrix_product() -> Callable[[], object]:
    """Return the reference: a product of ``MATRIX_OPERATIONS`` floating-point operations."""
    matrix = torch.randn(MATRIX, MATRIX)
    return lambda: matrix @ matrix


def operations(function: Callable[[], object], padding: bool = False) -> int:
    """Return the floating-point operations of the products and convolutions that ``function`` computes.

    With ``padding``, a convolution counts as torch counts it; without, the products of the zeros around a segment are
    left out. (Of a convolution's backward pass, torch's count stands.)
    """

    def inside(x: Any, weight: Any, _: Any, stride: Any, padded: Any, *__: Any, out_shape: Any, **___: Any) -> int:
        reached = [
            sum(0 <= place * step + tap - around < size for place in range(places) for tap in range(taps))
            for size, taps, step, around, places in zip(x[2:], weight[2:], stride, padded, out_shape[2:], strict=True)
        ]
        return int(2 * x[0] * weight[0] * weight[1] * math.prod(reached))

    mapping = {} if padding else {torch.ops.aten.convolution: inside}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        function()
    return int(counter.get_total_flops())


def given(settings: Sequence[str]) -> dict[str, Any]:
    """Return the values of settings that a command line names as ``KEY=VALUE``."""
    return {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in settings)}
