"""``metadiffuser.load``: an agent of published models."""

from __future__ import annotations

from pathlib import Path

from metadiffuser.pretrained.agent import PretrainedAgent
from metadiffuser.pretrained.bundle import read_bundle


def load_agent(
    family: str, folder: Path | str | None, seed: int, guide: str | None, value: bool, device: str
) -> PretrainedAgent:
    """Return an agent of the published models of a family; see ``metadiffuser.load``."""
    bundle = read_bundle(family, folder, device)
    return PretrainedAgent(bundle, seed, guide or bundle.settings["guide"], value)
