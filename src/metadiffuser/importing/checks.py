"""What a family demands of somebody's data. Every refusal names file, array and index, and what was expected."""

from __future__ import annotations

import numpy as np

from metadiffuser.data.episodes import Episodes
from metadiffuser.envs import Array, Family, Task
from metadiffuser.errors import InputError
from metadiffuser.importing.readers import Steps
from metadiffuser.importing.rewards import expected_rewards

Checked = tuple[Episodes, float | None]

ROUNDING = 1e-5  # absolute and relative: what storage in float32 may have cost


def checked_episodes(steps: Steps, family: Family, task: Task, length: int | None, tolerance: float) -> Checked:
    """Check the steps of one file and cut them into episodes.

    Args:
        steps: what the file holds.
        family: whose task it is.
        task: the task, for the rewards.
        length: steps of an episode where the file has no ends; by default the family's.
        tolerance: largest difference of a reward from the family's own that is accepted.

    Returns:
        The episodes, and the largest difference of a reward from the family's own.

    Raises:
        InputError: the data are not the family's; the message names file, array and index.
    """
    arrays = _shaped(steps, family)
    _finite(steps, arrays)
    excess = np.abs(arrays["actions"]).max(axis=1) - 1.0
    if (worst := int(excess.argmax())) >= 0 and excess[worst] > ROUNDING:
        value = arrays["actions"][worst][np.abs(arrays["actions"][worst]).argmax()]
        raise InputError(f"{steps.where('actions', worst)} is {value:.6g}; expected actions in [-1, 1]")
    _cut(steps, family, len(arrays["rewards"]), length)
    _continuous(steps, arrays, family.episode_length)
    difference = _rewards(steps, arrays, family, task, tolerance)
    shaped = {name: array.reshape(-1, family.episode_length, *array.shape[1:]) for name, array in arrays.items()}
    observations = np.concatenate([shaped["observations"], shaped["next_observations"][:, -1:]], axis=1)
    actions = np.clip(shaped["actions"], -1.0, 1.0)
    return Episodes(*(a.astype(np.float32) for a in (observations, actions, shaped["rewards"]))), difference


def _shaped(steps: Steps, family: Family) -> dict[str, Array]:
    """Return the arrays as float64: states (N, S), actions (N, A), rewards (N,)."""
    widths = {"observations": family.observation_size, "next_observations": family.observation_size}
    widths["actions"] = family.action_size
    arrays = dict(steps.arrays)
    if arrays["rewards"].ndim == 2 and arrays["rewards"].shape[1] == 1:
        arrays["rewards"] = arrays["rewards"][:, 0]
    count = len(arrays["observations"]) if arrays["observations"].ndim else 0
    if count == 0:
        raise InputError(f"{steps.path}: observations is empty; expected at least one episode of {family.title}")
    for name, array in arrays.items():
        expected = (count, widths[name]) if name in widths else (count,)
        if array.shape != expected:
            raise InputError(f"{steps.path}: {name} has shape {array.shape}; expected {expected} for {family.title}")
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def _finite(steps: Steps, arrays: dict[str, Array]) -> None:
    limit = np.finfo(np.float32).max
    for name, array in arrays.items():
        bad = ~(np.abs(array.reshape(len(array), -1)) < limit).all(axis=1)  # false for NaN too
        if bad.any():
            step = int(bad.argmax())
            shown = np.array2string(array[step], precision=4, threshold=6)
            raise InputError(f"{steps.where(name, step)} is {shown}; expected finite float32 numbers")


def _cut(steps: Steps, family: Family, count: int, length: int | None) -> None:
    """Check that the steps are whole episodes of the family's length."""
    expected = family.episode_length
    if steps.ends is not None and steps.ends.any():
        last = np.flatnonzero(steps.ends)
        lengths = np.diff(last, prepend=-1)
        wrong = np.flatnonzero(lengths != expected)
        if wrong.size:
            episode = int(wrong[0])
            where = steps.where("rewards", int(last[episode]))
            raise InputError(
                f"{where} ends episode {episode} after {lengths[episode]} steps; expected {expected}, "
                f"as episodes of {family.title} last"
            )
        if last[-1] != count - 1:
            where = steps.where("rewards", count - 1)
            raise InputError(
                f"{where} is the last step but ends no episode; expected whole episodes of {expected} steps"
            )
        return
    given = steps.length or length or expected
    if given != expected:
        raise InputError(
            f"{steps.path}: episodes of {given} steps; expected {expected}, as episodes of {family.title} last"
        )
    if count % expected:
        raise InputError(
            f"{steps.path}: rewards has {count} entries; expected a multiple of {expected}, "
            f"as episodes of {family.title} last, or an array episode_ends"
        )


def _continuous(steps: Steps, arrays: dict[str, Array], length: int) -> None:
    """Check that each step of an episode starts where the one before it ended."""
    left, entered = arrays["next_observations"][:-1], arrays["observations"][1:]
    gap = np.abs(left - entered).max(axis=1, initial=0.0)
    allowed = ROUNDING * (1 + np.abs(entered).max(axis=1, initial=0.0))
    inside = np.arange(1, len(gap) + 1) % length != 0
    bad = np.flatnonzero(inside & (gap > allowed))
    if bad.size:
        step = int(bad[0])
        where = steps.where("next_observations", step)
        raise InputError(
            f"{where} differs from observations of the next step by {gap[step]:.3g}; expected them equal within an "
            "episode (are arrays swapped, steps shuffled, or episode ends missing?)"
        )


def _rewards(steps: Steps, arrays: dict[str, Array], family: Family, task: Task, tolerance: float) -> float | None:
    """Return the largest difference of a reward from the family's own, None where observations do not tell it."""
    states, actions, successors = (arrays[name] for name in ("observations", "actions", "next_observations"))
    expected = expected_rewards(family, task, states, actions, successors)
    if expected is None:
        return None
    difference = np.abs(arrays["rewards"] - expected)
    worst = int(difference.argmax())
    if difference[worst] > tolerance:
        raise InputError(
            f"{steps.where('rewards', worst)} is {arrays['rewards'][worst]:.6g}; expected {expected[worst]:.6g} by the "
            f"reward of {family.title} for task {task.index}, the largest difference of {difference[worst]:.3g} (if it "
            "is meant to differ: --reward-tolerance)"
        )
    return float(difference[worst])
