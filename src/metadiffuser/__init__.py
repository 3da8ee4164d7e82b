"""MetaDiffuser: a diffusion model as conditional planner for offline meta-reinforcement learning."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from metadiffuser.pretrained.agent import PretrainedAgent

__version__ = "0.1.0"


def load(
    family: str,
    folder: Path | str | None = None,
    *,
    seed: int = 0,
    guide: str | None = None,
    value: bool = False,
    device: str = "cpu",
) -> PretrainedAgent:
    """Return an agent of the published models of a family (docs/pretrained.md).

    Args:
        family: its key, such as ``ant_dir``.
        folder: of all published models; None takes ``pretrained/`` of the current folder, or else that of the clone
            that this package is installed from.
        seed: root of the agent's random numbers.
        guide: ``dual``, ``return``, ``dynamics`` or ``none``; None takes the one that was evaluated.
        value: whether plans are rated by V(s, z) beyond their horizon, which is not the paper's.
        device: where the networks run, such as ``cuda``.

    Raises:
        metadiffuser.errors.InputError: there are no such models, or a file is not as it was published.
    """
    from metadiffuser.pretrained.loading import load_agent  # not before: it imports torch

    return load_agent(family, folder, seed, guide, value, device)
