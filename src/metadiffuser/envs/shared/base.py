"""What a family of tasks is, and what a batch of its environments can do.

Alphabet (everywhere in the project): B batch, H horizon, S state, A action, K context length, Z latent,
T denoising steps or time, N tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metadiffuser.envs.shared.symmetry import Symmetry
from metadiffuser.errors import InputError

if TYPE_CHECKING:
    import mujoco

Array = NDArray[np.float64]

MOST_SHOWN = 4  # numbers of a task that fit in a caption


@dataclass(frozen=True)
class Task:
    """One MDP of a family.

    Attributes:
        index: position in the family's task list; names the task in paths and dataset ids.
        split: ``"train"`` or ``"test"``.
        parameters: what distinguishes the task (goal, target speed, ...), as numbers.
    """

    index: int
    split: str
    parameters: Mapping[str, tuple[float, ...]]

    @property
    def vector(self) -> Array:
        """All parameters as one vector (F,), in the order of their names."""
        return np.concatenate([np.asarray(self.parameters[name], float) for name in sorted(self.parameters)])

    @property
    def description(self) -> str:
        """The parameters as text, such as ``speed 1.52`` or ``goal (0.31, -0.52)``; the index where they are many."""
        if len(self.vector) > MOST_SHOWN:
            return f"task {self.index}"
        parts = []
        for name, values in sorted(self.parameters.items()):
            shown = ", ".join(f"{value:.2f}" for value in values)
            parts.append(f"{name} {shown}" if len(values) == 1 else f"{name} ({shown})")
        return ", ".join(parts)

    def with_vector(self, vector: Array) -> Task:
        """Return this task with parameters from ``vector`` (F,), the inverse of ``vector``."""
        names = sorted(self.parameters)
        ends = np.cumsum([len(self.parameters[name]) for name in names])
        parts = np.split(np.asarray(vector, float), ends[:-1])
        return Task(self.index, self.split, {n: tuple(map(float, p)) for n, p in zip(names, parts, strict=True)})

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable record."""
        return {
            "index": self.index,
            "split": self.split,
            "parameters": {name: list(values) for name, values in self.parameters.items()},
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Task:
        """Rebuild a task from ``to_json``'s record."""
        parameters = {name: tuple(map(float, values)) for name, values in record["parameters"].items()}
        return cls(int(record["index"]), str(record["split"]), parameters)


class Simulator(Protocol):
    """B environments of one family stepped together; copy b runs ``tasks[b]``."""

    @property
    def tasks(self) -> Sequence[Task]:
        """The task of each copy."""
        ...

    def reset(self, generator: np.random.Generator, chosen: NDArray[np.bool_] | None = None) -> Array:
        """Start B episodes, or only those of the ``chosen`` copies (B,); return observations (B, S) of all."""
        ...

    def restore(self, observations: Array) -> NDArray[np.bool_]:
        """Put every copy into the state that its observation (B, S) shows; a position that it leaves out is set to 0.

        Returns:
            Whether the observation determines the state (B,). Where it does not, the copy can still be stepped, but its
            next states cannot be compared with those that followed the observation.
        """
        ...

    def step(self, actions: Array) -> tuple[Array, dict[str, Array]]:
        """Apply actions (B, A), clipped to [-1, 1]; return observations (B, S) and reward terms, each (B,)."""
        ...

    @property
    def positions(self) -> Array:
        """Generalised positions (B, Q), enough to draw the scene: MuJoCo's qpos where the family has a model."""
        ...


@dataclass(frozen=True)
class Sketch:
    """How a family without a MuJoCo model is drawn: lines in the plane of x (right) and z (up), on a grid.

    Attributes:
        outline: positions (Q,) -> world points (P, 3), joined by lines: the agent. None draws a disc where it is.
        reach: from the middle of the picture to its upper edge, in the unit of world points.
        still: the picture stays at the origin; otherwise it follows the agent.
    """

    outline: Callable[[Array], Array] | None = None
    reach: float = 1.5
    still: bool = True


def without_model(task: Task) -> mujoco.MjModel:
    """Stand for the model of families that have none. Raises ``InputError``."""
    raise InputError(f"task {task.index}: its family has no MuJoCo model; it is drawn as a sketch")


@dataclass(frozen=True)
class Family:
    """A distribution over tasks that share observation and action space (environments.md).

    Attributes:
        name: key in paths and parameters, such as ``cheetah_vel``; the name of the family's file.
        title: name in tables, such as ``Cheetah-Vel``.
        colour: of the family in figures, as ``#rrggbb``.
        observation_size: S.
        action_size: A; actions lie in [-1, 1].
        episode_length: steps of an episode; episodes never end early.
        dt: seconds of one step.
        sample_tasks: (generator, count) -> parameters of that many tasks.
        simulator: (tasks, threads) -> B environments stepped together.
        reward_terms: names of the terms whose sum is the reward.
        world_points: positions (..., Q) -> world points (..., 3) that show where the agent is.
        integrate: (successive states (..., T, S), world point (..., 3) of the first) -> world points (..., T, 3), for
            drawing plans; a position that states leave out is integrated from their velocities.
        model: task -> MuJoCo model for drawing (and, for robots, for physics); a family without one is drawn as its
            ``sketch``, see ``has_model``.
        unbounded_dims: entries of the observation that are positions along an endless floor: neither rewards nor
            dynamics depend on where they start.
        optimum: task -> the best possible return of an episode, where it is known exactly.
        healthy: observations (B, S) -> whether gymnasium's robot counts as healthy (B,); None if its episodes never end
            early. Episodes here continue in any case, but experts may be trained without the steps after a fall.
        symmetries: relabellings that turn a transition of one task into one of another task, the identity first.
        sketch: how the family is drawn where it has no MuJoCo model.
        beyond: parameters -> whether they lie in the part of the family's range from which unseen tasks come where
            ``tasks.unseen`` is ``beyond``; None if the family has no such part.
    """

    name: str
    title: str
    colour: str
    observation_size: int
    action_size: int
    episode_length: int
    dt: float
    sample_tasks: Callable[[np.random.Generator, int], list[dict[str, tuple[float, ...]]]]
    simulator: Callable[[Sequence[Task], int], Simulator]
    reward_terms: tuple[str, ...]
    world_points: Callable[[Array], Array]
    integrate: Callable[[Array, Array], Array]
    model: Callable[[Task], mujoco.MjModel] = without_model
    unbounded_dims: tuple[int, ...] = ()
    optimum: Callable[[Task], float] | None = None
    healthy: Callable[[Array], NDArray[np.bool_]] | None = None
    symmetries: tuple[Symmetry, ...] = ()
    sketch: Sketch = Sketch()
    beyond: Callable[[Mapping[str, tuple[float, ...]]], bool] | None = None

    @property
    def gym_id(self) -> str:
        """Id of the gymnasium environment: ``cheetah_vel`` is ``metadiffuser/CheetahVel-v0``."""
        return gym_id(self.name)

    @property
    def has_model(self) -> bool:
        """Whether tasks have a MuJoCo model."""
        return self.model is not without_model

    def __repr__(self) -> str:
        return f"Family({self.name}, S={self.observation_size}, A={self.action_size}, T={self.episode_length})"


def gym_id(name: str) -> str:
    """Return the id of the gymnasium environment of the family called ``name``, which need not be imported for it."""
    return f"metadiffuser/{name.title().replace('_', '')}-v0"


def total_reward(terms: Mapping[str, Array]) -> Array:
    """Return the reward (B,) as the sum of its terms."""
    return np.sum(list(terms.values()), axis=0)
