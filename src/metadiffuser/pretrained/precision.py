"""The number of bits that published models compute with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single_precision() -> Iterator[None]:
    """Make new tensors of 32 bits, as the weights are, whatever type the caller has made torch's default."""
    former = torch.get_default_dtype()
    if former is torch.float32:
        yield
        return
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(former)
