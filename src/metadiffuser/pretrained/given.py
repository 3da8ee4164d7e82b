"""What users give an agent, checked before it is used: numbers, truth values and tasks."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metadiffuser.data.episodes import Floats
from metadiffuser.envs import Task
from metadiffuser.errors import InputError, shortened

LARGEST = 1e6  # of any number; far larger ones overflow in the networks
LARGEST_ACTION = 1.0 + 1e-4  # of warm-start data, where rounding may exceed 1

TaskName = SupportsIndex | Task


def numbers(what: str, values: object) -> Floats:
    """Return values as float32. Raises ``InputError``, which names ``what``, if they are no finite numbers of use."""
    try:
        found = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        hint = "; an environment's reset returns the observation and an info" if isinstance(values, tuple) else ""
        raise InputError(f"{what} {shortened(repr(values))}: not an array of numbers{hint}") from None
    if not np.isfinite(found).all():
        raise InputError(f"{what}: has values that are not finite (NaN or infinite)")
    if (largest := np.abs(found).max(initial=0.0)) > LARGEST:
        raise InputError(f"{what}: has values as large as {largest:.3g}; expected the environment's units")
    return found


def rows(what: str, values: object, shape: tuple[int, ...]) -> Floats:
    """Return values (B, ...) of ``shape``; with one environment the first axis may be left out.

    Raises:
        InputError: they are no finite numbers, or of another shape.
    """
    found = numbers(what, values)
    if found.shape != shape and not (shape[0] == 1 and found.shape == shape[1:]):
        raise InputError(f"{what} of shape {found.shape}: expected {shape[1:] if shape[0] == 1 else shape}")
    return found.reshape(shape)


def ends(terminated: ArrayLike, truncated: ArrayLike, size: int) -> NDArray[np.bool_]:
    """Return which of ``size`` environments have ended their episode (B,).

    Raises:
        InputError: not one truth value for all or one for each.
    """
    found = np.zeros(size, bool)
    for what, values in (("terminated", terminated), ("truncated", truncated)):
        flags = np.asarray(values)
        if flags.dtype != bool or flags.shape not in ((), (size,)):
            expected = "True or False" + (f", or {size} of them" if size > 1 else "")
            raise InputError(f"{what} {shortened(repr(values))}: expected {expected}")
        found |= flags
    return found


def whole_seed(value: SupportsIndex) -> int:
    """Return the root of random numbers. Raises ``InputError`` if it is no whole number from 0."""
    try:
        found = operator.index(value)
    except TypeError:
        found = -1
    if found < 0:
        raise InputError(f"seed {shortened(repr(value))}: expected a whole number, 0 or more")
    return found


def task_indices(given: TaskName | Sequence[TaskName], known: Mapping[int, Task]) -> list[int]:
    """Return the indices of a task or of several, each given by its index or as a ``Task``.

    Raises:
        InputError: no task at all, one that is neither, or a ``Task`` that differs from the known one of its index.
    """
    several: Iterable[object] = given if isinstance(given, list | tuple | np.ndarray) else [given]
    several = list(several)
    if not several:
        raise InputError("no task: give one for all environments, or one for each")
    found = []
    for each in several:
        if isinstance(each, Task):
            same = known.get(each.index)
            if same is not None and not np.array_equal(same.vector, each.vector):
                raise InputError(
                    f"task {each.index} ({each.description}): differs from the models' unseen task {each.index} "
                    f"({same.description}), whose data are stored; give an episode of yours to warm_start_from"
                )
            found.append(each.index)
            continue
        try:
            found.append(operator.index(each))  # type: ignore[arg-type]
        except TypeError:
            raise InputError(
                f"task {shortened(repr(each))}: expected the index of an unseen task, one of "
                f"{', '.join(map(str, known))}, or a Task"
            ) from None
    return found


def episodes(
    observations: ArrayLike, actions: ArrayLike, rewards: ArrayLike, state_size: int, action_size: int
) -> tuple[Floats, Floats, Floats]:
    """Return the arrays of B warm-start episodes, with the first axis for them.

    Raises:
        InputError: other shapes, no steps, values that are not finite, or actions outside [-1, 1].
    """
    parts = (("observations", observations), ("actions", actions), ("rewards", rewards))
    arrays = [numbers(f"warm-start {what}", values) for what, values in parts]
    shapes = ", ".join(str(array.shape) for array in arrays)
    if arrays[2].ndim == 1:
        arrays = [array[None] for array in arrays]
    count, steps = arrays[2].shape if arrays[2].ndim == 2 else (0, 0)
    expected = [(count, steps + 1, state_size), (count, steps, action_size), (count, steps)]
    if not count or not steps or [array.shape for array in arrays] != expected:
        raise InputError(
            f"warm-start arrays of shapes {shapes}: expected observations (T + 1, {state_size}), actions "
            f"(T, {action_size}) and rewards (T,), all with a first axis B for a vector of B environments"
        )
    if np.abs(arrays[1]).max() > LARGEST_ACTION:
        raise InputError(
            "warm-start actions: outside [-1, 1], where the environment's actions lie; divide by their scale"
        )
    return arrays[0], arrays[1], arrays[2]
