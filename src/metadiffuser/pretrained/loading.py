"""``metadiffuser.load``: an agent of published models."""

from __future__ import annotations

from pathlib import Path

import torch

from metadiffuser.errors import InputError, shortened
from metadiffuser.pretrained.agent import PretrainedAgent
from metadiffuser.pretrained.bundle import read_bundle
from metadiffuser.pretrained.precision import single_precision


@single_precision()
def load_agent(
    family: str, folder: Path | str | None, seed: int, guide: str | None, value: bool, device: str
) -> PretrainedAgent:
    """Return an agent of the published models of a family; see ``metadiffuser.load``.

    Making networks draws random weights, which the published ones replace; torch's own stream is left where it was.
    """
    require_device(str(device))
    with torch.random.fork_rng(devices=[]):
        bundle = read_bundle(family, folder, str(device))
    return PretrainedAgent(bundle, seed, guide or bundle.settings["guide"], value)


def require_device(name: str) -> None:
    """Raise ``InputError`` unless torch can compute on the device."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"device '{shortened(name)}': torch cannot compute on it here; use 'cpu'") from None
