"""Families made of any gymnasium environment with Box spaces: tasks are arguments of the environment.

::

    FAMILY = GymnasiumFamily(
        name="pendulum",
        title="Pendulum",
        colour="#319795",
        environment="Pendulum-v1",
        sample_tasks=lambda generator, count: [{"gravity": generator.uniform(5, 15)} for _ in range(count)],
        arguments=lambda task: {"g": task.parameters["gravity"][0]},
    )
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from metadiffuser.envs.shared.base import Array, Family, Sketch, Task
from metadiffuser.envs.shared.gymnasium_batch import REWARD, GymnasiumSimulator, Place, Source
from metadiffuser.envs.shared.symmetry import Symmetry
from metadiffuser.errors import InputError, shortened
from metadiffuser.seeding import numpy_generator

Sampler = Callable[[np.random.Generator, int], Sequence[Mapping[str, Any]]]


class GymnasiumFamily(Family):
    """A family whose tasks are one gymnasium environment with different arguments.

    Actions in [-1, 1] are scaled to the environment's bounds. Episodes last ``episode_length`` steps:
    termination and truncation by the environment are ignored, so it must be able to continue after them. The reward has
    the one term ``reward``. Seeds of resets come from the project's generators, so equal generators give equal
    episodes, with and without workers. Environments are stepped through gymnasium's vector API.

    Args:
        name: key in paths and parameters; the name of the entry point.
        title: name in tables.
        colour: in figures, as ``#rrggbb``.
        environment: id of a registered environment, such as ``Pendulum-v1`` or ``my_package:MyEnv-v0``, or an entry
            point ``module:Class``. Observations and actions are Box spaces of one dimension, actions bounded.
        sample_tasks: (generator, count) -> the parameters of that many tasks, each a number or a sequence of numbers
            by name; equal names and sizes for all tasks.
        episode_length: steps of an episode; None takes the number that the environment is registered with.
        arguments: task -> keyword arguments that the environment is made with.
        apply: (unwrapped environment, task) -> nothing; called once after the environment is made.
        reset_options: task -> the ``options`` of every reset.
        restore: (unwrapped environment, observation (S,)) -> nothing; puts the environment into the state that the
            observation shows. With it ``metadiffuser import`` compares stored steps with the environment's own.
        place: states (..., S) -> world points (..., 3), for drawing; None takes entries 0 and 1 as x and z.
        sketch: how the agent is drawn; its positions are observations (S,).
        dt: seconds of a step; None takes the environment's ``dt`` or ``render_fps``.
        workers: processes that share the copies of a batch; 0 steps them here. Worth it where a step takes
            milliseconds.
        unbounded_dims: as of ``Family``.
        optimum: as of ``Family``.
        healthy: as of ``Family``.
        symmetries: as of ``Family``.

    Raises:
        InputError: the environment cannot be made or has other spaces; the message names family and environment.

    Attributes:
        render_modes: the environment's own.
    """

    render_modes: tuple[str, ...]

    def __init__(
        self,
        *,
        name: str,
        title: str,
        colour: str,
        environment: str,
        sample_tasks: Sampler,
        episode_length: int | None = None,
        arguments: Callable[[Task], Mapping[str, Any]] | None = None,
        apply: Callable[[Any, Task], None] | None = None,
        reset_options: Callable[[Task], Mapping[str, Any]] | None = None,
        restore: Callable[[Any, Array], None] | None = None,
        place: Place | None = None,
        sketch: Sketch | None = None,
        dt: float | None = None,
        workers: int = 0,
        unbounded_dims: tuple[int, ...] = (),
        optimum: Callable[[Task], float] | None = None,
        healthy: Callable[[Array], NDArray[np.bool_]] | None = None,
        symmetries: tuple[Symmetry, ...] = (),
    ):
        source = Source(environment, arguments, apply, reset_options, restore)
        sampler = partial(_sampled, name, sample_tasks)
        (parameters,) = sampler(numpy_generator(0, "parameter names"), 1)
        made = _made(name, source, Task(0, "train", parameters))
        steps = episode_length or _registered_length(made)
        if steps is None:
            raise InputError(f"family '{name}': {environment} has no episode length; give episode_length")
        place = place or first_two
        super().__init__(
            name=name,
            title=title,
            colour=colour,
            observation_size=_size(name, environment, "observation", made.observation_space),
            action_size=_size(name, environment, "action", made.action_space),
            episode_length=steps,
            dt=dt or _step_seconds(made),
            sample_tasks=sampler,
            simulator=partial(GymnasiumSimulator, source, workers),
            reward_terms=(REWARD,),
            world_points=place,
            integrate=partial(_placed, place),
            unbounded_dims=unbounded_dims,
            optimum=optimum,
            healthy=healthy,
            symmetries=symmetries,
            sketch=sketch or Sketch(),
        )
        object.__setattr__(self, "render_modes", tuple(made.metadata.get("render_modes", ())))
        object.__setattr__(self, "_source", source)  # as a frozen record sets its attributes
        made.close()

    def rendered(self, task: Task, render_mode: str) -> GymnasiumSimulator:
        """Return one copy that the environment itself draws, in one of ``render_modes``."""
        source: Source = self.__dict__["_source"]
        return GymnasiumSimulator(source, 0, [task], render_mode=render_mode)


def first_two(states: Array) -> Array:
    """Return world points (..., 3) whose x and z are the first two entries of states (..., S), or the first alone."""
    x = states[..., 0]
    z = states[..., 1] if states.shape[-1] > 1 else np.zeros_like(x)
    return np.stack([x, np.zeros_like(x), z], axis=-1)


def _placed(place: Place, states: Array, start: Array) -> Array:
    return place(states)


def _sampled(
    name: str, sample_tasks: Sampler, generator: np.random.Generator, count: int
) -> list[dict[str, tuple[float, ...]]]:
    """Return the drawn parameters as tuples of numbers by name. Raises ``InputError`` if they are something else."""
    drawn = list(sample_tasks(generator, count))
    if len(drawn) != count:
        raise InputError(f"family '{name}': sample_tasks returned {len(drawn)} tasks; expected {count}")
    found: list[dict[str, tuple[float, ...]]] = []
    for task in drawn:
        try:
            found.append({key: tuple(float(value) for value in np.atleast_1d(task[key])) for key in task})
            usable = bool(np.isfinite([value for values in found[-1].values() for value in values]).all())
        except (TypeError, ValueError, AttributeError):
            usable = False
        if not usable:
            raise InputError(
                f"family '{name}': sample_tasks returned {shortened(repr(task))}; expected finite numbers, or "
                "sequences of them, by name"
            )
        if _sizes(found[-1]) != _sizes(found[0]):
            raise InputError(
                f"family '{name}': sample_tasks returned {shortened(repr(drawn[0]))} and {shortened(repr(task))}; "
                "expected equal names and sizes for all tasks"
            )
    return found


def _sizes(parameters: Mapping[str, tuple[float, ...]]) -> dict[str, int]:
    return {name: len(values) for name, values in parameters.items()}


def _made(name: str, source: Source, task: Task) -> gym.Env[Any, Any]:
    try:
        return source.create(task, None)
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise InputError(f"family '{name}': {source.environment} cannot be made ({reason})") from None


def _registered_length(env: gym.Env[Any, Any]) -> int | None:
    registered = gym.registry.get(env.spec.id) if env.spec else None
    return registered.max_episode_steps if registered else None


def _step_seconds(env: gym.Env[Any, Any]) -> float:
    rate = env.metadata.get("render_fps")
    return float(getattr(env.unwrapped, "dt", None) or (1.0 / rate if rate else 1.0))


def _size(name: str, environment: str, kind: str, space: gym.Space[Any]) -> int:
    """Return the entries of an observation or action. Raises ``InputError`` if the space is not a vector's."""
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
        raise InputError(
            f"family '{name}': {environment} has the {kind} space {shortened(str(space))}; expected a Box of one "
            "dimension"
        )
    if kind == "action" and not space.is_bounded():
        raise InputError(f"family '{name}': {environment} has the action space {space}; expected bounds on both sides")
    return int(space.shape[0])
