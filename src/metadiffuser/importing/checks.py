"""What a family demands of somebody's data. Every refusal names file, array and index, and what was expected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from metadiffuser.data.episodes import Episodes
from metadiffuser.envs import Array, Family, Task
from metadiffuser.errors import InputError
from metadiffuser.importing.comparison import ROUNDING, Agreement, Comparison, Tolerances
from metadiffuser.importing.steps import Steps


def checked_episodes(
    steps: Steps, family: Family, task: Task, tolerances: Tolerances, threads: int, action_scale: float = 1.0
) -> tuple[Episodes, Agreement]:
    """Check the steps of one file and cut them into episodes.

    Args:
        steps: what the file holds.
        family: whose task it is.
        task: the task, for the rewards.
        tolerances: differences from the family's own simulator that are accepted.
        threads: CPU threads of the simulator.
        action_scale: what the stored actions are multiplied by to be the family's, in [-1, 1].

    Returns:
        The episodes, and how far they are from the family's own simulator.

    Raises:
        InputError: the data are not the family's; the message names file, array and index.
    """
    arrays = _shaped(steps, family)
    _finite(steps, arrays)
    arrays["actions"] = action_scale * arrays["actions"]
    stored = len(arrays["rewards"])
    kept = _cut(steps, family, stored)
    arrays = {name: array[:kept] for name, array in arrays.items()}
    comparison = Comparison(steps, family, task, tolerances, threads, action_scale)
    comparison.check_range(arrays)
    arrays["actions"] = np.clip(arrays["actions"], -1.0, 1.0)
    known = np.ones(kept, bool)
    if "next_observations" not in arrays:
        known, arrays["next_observations"] = comparison.successors(arrays)
    _continuous(steps, arrays, family.episode_length)
    agreement = comparison.agreement(arrays, known)
    agreement = replace(agreement, unfinished=stored - kept, computed=int((~known).sum()))
    shaped = {name: array.reshape(-1, family.episode_length, *array.shape[1:]) for name, array in arrays.items()}
    observations = np.concatenate([shaped["observations"], shaped["next_observations"][:, -1:]], axis=1)
    return Episodes(*(a.astype(np.float32) for a in (observations, shaped["actions"], shaped["rewards"]))), agreement


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


def _cut(steps: Steps, family: Family, count: int) -> int:
    """Check that the steps are whole episodes of the family's length; return how many steps these are.

    They are all of them, unless the file is a buffer that stops within an episode.
    """
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
        open_end = steps.buffer and count - 1 - last[-1] < expected
        if last[-1] != count - 1 and not open_end:
            where = steps.where("rewards", count - 1)
            raise InputError(
                f"{where} is the last step but ends no episode; expected whole episodes of {expected} steps"
            )
        return int(last[-1]) + 1
    if steps.length not in (None, expected):
        raise InputError(
            f"{steps.path}: episodes of {steps.length} steps; expected {expected}, as episodes of {family.title} last"
        )
    if steps.buffer and count >= expected:
        return count - count % expected
    if count % expected:
        raise InputError(
            f"{steps.path}: rewards has {count} entries; expected a multiple of {expected}, "
            f"as episodes of {family.title} last, or an array episode_ends"
        )
    return count


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
