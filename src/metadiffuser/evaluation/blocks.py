"""Cells are played in blocks, each one batch; a finished block is kept, so that a killed job goes on after it.

Every cell plays the same episodes: the same tasks, initial states and sampling noise, whatever block it is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from metadiffuser.data.agent import Agent
from metadiffuser.data.episodes import Floats
from metadiffuser.evaluation.cells import Cell, agent_inputs
from metadiffuser.evaluation.observers import Film, PlanErrors, PredictedReturns, steps_ahead
from metadiffuser.evaluation.outcomes import Outcome
from metadiffuser.evaluation.rollout import Observer, play
from metadiffuser.evaluation.setup import EpisodeSetup
from metadiffuser.planning.agent import AgentInputs, PlanningAgent
from metadiffuser.planning.planner import Planner
from metadiffuser.seeding import numpy_generator

ROWS = 200  # episodes of one batch: more of them cost memory and, after a kill, time, and are hardly faster each

Item = TypeVar("Item")


def blocks(cells: Sequence[Item], size: int) -> list[list[Item]]:
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
    outcome = Outcome.of(recording)
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
    return Outcome.of(play(uniform, setup.envs(1), setup.family.episode_length, label))
