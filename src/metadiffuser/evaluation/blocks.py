"""Cells are played in blocks, each one batch; a finished block is kept, so that a killed job goes on after it.

Every cell plays the same episodes: the same tasks, initial states and sampling noise, whatever block it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from metadiffuser.artifacts import read_tensors, write_tensors
from metadiffuser.data.agent import Agent
from metadiffuser.data.episodes import Floats
from metadiffuser.errors import InputError
from metadiffuser.evaluation.cells import Cell, agent_inputs
from metadiffuser.evaluation.observers import Film, PlanErrors, PredictedReturns, steps_ahead
from metadiffuser.evaluation.rollout import Observer, Recording, play
from metadiffuser.evaluation.setup import EpisodeSetup
from metadiffuser.planning.agent import AgentInputs, PlanningAgent
from metadiffuser.planning.planner import Planner
from metadiffuser.seeding import numpy_generator

ROWS = 200  # episodes of one batch: more of them cost memory and, after a kill, time, and are hardly faster each


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


def blocks(cells: Sequence[Cell], size: int) -> list[list[Cell]]:
    """Divide cells of ``size`` episodes each into blocks of about equal size, of at most ``ROWS`` episodes."""
    if not cells:
        return []
    count = -(-len(cells) // max(1, ROWS // size))
    edges = [index * len(cells) // count for index in range(count + 1)]
    return [list(cells[first:last]) for first, last in pairwise(edges)]


def play_cells(
    planner: Planner, cells: Sequence[Cell], setup: EpisodeSetup, label: str, shown: Sequence[int] = ()
) -> Outcome:
    """Play cells of planning methods as one batch.

    Args:
        planner: makes the plans of all cells.
        cells: played with the same noise, so that they compare in pairs.
        setup: the episodes of each cell.
        label: shown with the progress.
        shown: rows of the block that are filmed.
    """
    model = planner.context
    inputs = AgentInputs.join([agent_inputs(planner, cell, setup) for cell in cells])
    agent = PlanningAgent(planner, inputs, setup.generator("noise"), blocks=len(cells))
    envs, steps, horizon = setup.envs(len(cells)), setup.family.episode_length, planner.diffusion.config.horizon
    errors = PlanErrors(agent, steps_ahead(horizon), model.normaliser.state_std.cpu().numpy())
    promises = PredictedReturns(agent, model, horizon, steps)
    film = Film(agent, envs, shown)
    observers: list[Observer] = [errors, promises, *([film] if shown else [])]
    recording = play(agent, envs, steps, label, observers)
    outcome = _outcome(recording)
    predicted, received = promises.means() or (outcome.predicted, outcome.received)
    filmed: dict[str, np.ndarray] = {}
    if shown:
        positions, plans, made = film.arrays()
        filmed = {"positions": positions, "plans": plans, "made": made, "rewards": recording.rewards[list(shown)]}
    squares = errors.mean_squares()
    return Outcome(outcome.returns, squares, predicted, received, filmed, outcome.seconds, outcome.decisions)


@dataclass
class UniformAgent(Agent):
    """The random planner: uniform actions in [-1, 1].

    Attributes:
        generator: draws the actions.
        action_size: A.
    """

    generator: np.random.Generator
    action_size: int

    def act(self, observations: Floats) -> Floats:
        """Return actions (B, A) for observations (B, S)."""
        return self.generator.uniform(-1.0, 1.0, (len(observations), self.action_size)).astype(np.float32)

    def observe(self, observations: Floats, actions: Floats, rewards: Floats, successors: Floats) -> None:
        """Ignore the transitions."""


def play_random(setup: EpisodeSetup, label: str) -> Outcome:
    """Play the episodes of ``setup`` with uniform actions."""
    generator = numpy_generator(setup.root_seed, *setup.stream, "uniform")
    uniform = UniformAgent(generator, setup.family.action_size)
    return _outcome(play(uniform, setup.envs(1), setup.family.episode_length, label))


def _outcome(recording: Recording) -> Outcome:
    returns = recording.rewards.sum(axis=1, dtype=np.float64)
    return Outcome(returns, seconds=recording.decision_seconds, decisions=recording.rewards.size)
