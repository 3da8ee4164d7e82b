"""What came of a batch of episodes, and how it is kept so that a killed job goes on after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from metadiffuser.artifacts import read_tensors, write_tensors
from metadiffuser.errors import InputError
from metadiffuser.evaluation.rollout import Recording


@dataclass(frozen=True)
class Outcome:
    """What came of the B episodes of a block.

    Attributes:
        returns: undiscounted return (B,).
        squares: {steps ahead: mean squared error (B,) of planned against executed states}, normalised units.
        predicted: mean predicted return (B,) of a plan's H steps, in units of reward; empty where there is none.
        received: mean return (B,) of the same steps; empty where there is none.
        film: of the episodes that are shown: ``positions``, ``plans``, ``made`` (see ``Film``) and ``rewards``.
        seconds: time spent in the agent.
        decisions: actions chosen.
    """

    returns: NDArray[np.float64]
    squares: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    predicted: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    received: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    film: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: float = 0.0
    decisions: int = 0

    @classmethod
    def of(cls, recording: Recording) -> Outcome:
        """Return the returns of a recording, and what its decisions took."""
        returns = recording.rewards.sum(axis=1, dtype=np.float64)
        return cls(returns, seconds=recording.decision_seconds, decisions=recording.rewards.size)

    @property
    def milliseconds_per_decision(self) -> float:
        """Time that the agent took for one action."""
        return 1000 * self.seconds / self.decisions

    def cell(self, index: int, size: int) -> Outcome:
        """Return the part of the block's cell ``index`` of ``size`` episodes, without film and times."""
        rows = slice(index * size, (index + 1) * size)
        squares = {ahead: values[rows] for ahead, values in self.squares.items()}
        return Outcome(self.returns[rows], squares, self.predicted[rows], self.received[rows])

    def save(self, path: Path) -> None:
        """Write all of it as one safetensors file."""
        arrays = {"returns": self.returns, "predicted": self.predicted, "received": self.received}
        arrays |= {f"squares/{ahead}": values for ahead, values in self.squares.items()}
        arrays |= {f"film/{name}": values for name, values in self.film.items()}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}
        write_tensors(path, tensors, {"seconds": self.seconds, "decisions": self.decisions})

    @classmethod
    def load(cls, path: Path) -> Outcome:
        """Read what ``save`` wrote. Raises ``InputError`` if the file is missing or damaged."""
        tensors, header = read_tensors(path)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}

        def below(prefix: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

        squares = {int(ahead): values for ahead, values in sorted(below("squares/").items(), key=lambda x: int(x[0]))}
        parts = (arrays["returns"], squares, arrays["predicted"], arrays["received"], below("film/"))
        return cls(*parts, header["seconds"], header["decisions"])


def load_or_play(path: Path, play: Callable[[], Outcome]) -> Outcome:
    """Return the outcome kept at ``path``; if there is none, play and keep it."""
    try:
        return Outcome.load(path)
    except InputError:
        path.unlink(missing_ok=True)
    play().save(path)
    return Outcome.load(path)
