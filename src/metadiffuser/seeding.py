"""Every random number of the project descends from one root seed through this module.

The seed of a stream is a hash of its name, so streams are independent of each other, of the order in
which jobs run and of how many of them run at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(root: int, *names: str | int) -> int:
    """Return a 63-bit seed for the stream ``names`` (stage, family, task, seed, ...) below ``root``."""
    text = "/".join(str(name) for name in (root, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(root: int, *names: str | int) -> np.random.Generator:
    """Return a NumPy generator (PCG64) for the stream ``names``."""
    return np.random.Generator(np.random.PCG64(derive(root, *names)))


def torch_generator(root: int, *names: str | int, device: str = "cpu") -> torch.Generator:
    """Return a torch generator on ``device`` for the stream ``names``."""
    generator = torch.Generator(device=device)
    generator.manual_seed(derive(root, *names))
    return generator


@contextmanager
def torch_initialisation(root: int, *names: str | int) -> Iterator[None]:
    """Seed torch's global generator for the construction of modules, and put it back afterwards.

    ``torch.nn`` layers draw their initial weights from the global generator; this is the only place
    that touches it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(root, *names))
        yield
