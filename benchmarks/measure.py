"""What the benchmarks share: times, and the rate of a plain matrix product to hold others against."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

MATRIX = 1024  # rows and columns of the reference product
MATRIX_OPERATIONS = 2 * MATRIX**3


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes.

    With one thread, time of the processor is counted: other programs on the machine do not lengthen it.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    function()
    return clock() - start


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call, after two to warm up."""
    return statistics.median([timed(function) for _ in range(repeats + 2)][2:])


def alternate(functions: Mapping[str, Callable[[], object]], slices: int) -> dict[str, list[float]]:
    """Return the times of ``slices`` calls of each function, taken in turn, after one each to warm up.

    What slows the machine for a while slows all of them, so that ratios within a slice keep their meaning.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(slices + 1):
        for name, function in functions.items():
            taken = timed(function)
            if turn:
                times[name].append(taken)
    return times


def matrix_product() -> Callable[[], object]:
    """Return the reference: a product of ``MATRIX_OPERATIONS`` floating-point operations."""
    matrix = torch.randn(MATRIX, MATRIX)
    return lambda: matrix @ matrix
