"""What a family demands of somebody's data. Every refusal names file, array and index, and what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metadiffuser.data.episodes import Episodes
from metadiffuser.envs import Array, Family, Task
from metadiffuser.errors import InputError
from metadiffuser.importing.readers import STEPS, Steps
from metadiffuser.importing.replay import Replayed, replay, replay_rounded

ROUNDING = 1e-5  # absolute and relative: what storage in float32 may have cost
FEW, FEW_SHARE = 8, 0.01  # steps of a file, and share of them, that may be due to rounding
TINY = 1e-12  # in place of a tolerance of zero, as a divisor


@dataclass(frozen=True)
class Tolerances:
    """Largest differences from the family's own simulator that are accepted.

    A few steps beyond them are played again from states that round to the same float32 numbers, and count as the best
    of these does: where a foot is about to meet the floor, rounding decides whether it does.

    Attributes:
        reward: of a reward.
        state: of an entry of the next observation, in its own unit.
    """

    reward: float
    state: float


@dataclass(frozen=True)
class Agreement:
    """How far stored transitions are from the family's own simulator.

    Attributes:
        reward: largest difference of a reward, None where no step could be compared.
        state: largest difference of an entry of a next observation, likewise.
        steps: how many there are.
        not_restored: of these, how many begin in a state that their observation does not tell, and are not compared.
    """

    reward: float | None
    state: float | None
    steps: int
    not_restored: int

    @classmethod
    def join(cls, parts: Sequence[Agreement]) -> Agreement:
        """Return the agreement of all ``parts`` together."""
        rewards = [part.reward for part in parts if part.reward is not None]
        states = [part.state for part in parts if part.state is not None]
        steps, not_restored = sum(part.steps for part in parts), sum(part.not_restored for part in parts)
        return cls(max(rewards, default=None), max(states, default=None), steps, not_restored)


def checked_episodes(
    steps: Steps, family: Family, task: Task, tolerances: Tolerances, threads: int
) -> tuple[Episodes, Agreement]:
    """Check the steps of one file and cut them into episodes.

    Args:
        steps: what the file holds.
        family: whose task it is.
        task: the task, for the rewards.
        tolerances: differences from the family's own simulator that are accepted.
        threads: CPU threads of the simulator.

    Returns:
        The episodes, and how far they are from the family's own simulator.

    Raises:
        InputError: the data are not the family's; the message names file, array and index.
    """
    arrays = _shaped(steps, family)
    _finite(steps, arrays)
    excess = np.abs(arrays["actions"]).max(axis=1) - 1.0
    if (worst := int(excess.argmax())) >= 0 and excess[worst] > ROUNDING:
        value = arrays["actions"][worst][np.abs(arrays["actions"][worst]).argmax()]
        raise InputError(f"{steps.where('actions', worst)} is {value:.6g}; expected actions in [-1, 1]")
    _cut(steps, family, len(arrays["rewards"]))
    _continuous(steps, arrays, family.episode_length)
    arrays["actions"] = np.clip(arrays["actions"], -1.0, 1.0)
    agreement = _agreement(steps, arrays, family, task, tolerances, threads)
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


def _cut(steps: Steps, family: Family, count: int) -> None:
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
    if steps.length not in (None, expected):
        raise InputError(
            f"{steps.path}: episodes of {steps.length} steps; expected {expected}, as episodes of {family.title} last"
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


def _agreement(
    steps: Steps, arrays: dict[str, Array], family: Family, task: Task, tolerances: Tolerances, threads: int
) -> Agreement:
    """Compare every step with the family's own simulator, as far as observations tell its state."""
    states, actions, rewards, successors = (arrays[name] for name in STEPS)
    own = replay(family, task, states, actions, threads)
    not_restored = int((~own.restored).sum())
    if not_restored == len(rewards):
        return Agreement(None, None, len(rewards), not_restored)
    off, paid = _differences(own, successors, rewards)
    off[~own.restored], paid[~own.restored] = 0.0, 0.0
    beyond = np.flatnonzero(~((off.max(axis=1) <= tolerances.state) & (paid <= tolerances.reward)))
    if 0 < len(beyond) <= max(FEW, FEW_SHARE * len(rewards)):
        near = replay_rounded(family, task, states[beyond], actions[beyond], threads)
        others = [_differences(other, successors[beyond], rewards[beyond]) for other in near]
        scale = [max(limit, TINY) for limit in (tolerances.state, tolerances.reward)]
        badness = np.stack([np.maximum(o.max(axis=1) / scale[0], p / scale[1]) for o, p in others])
        for row, best in enumerate(badness.argmin(axis=0)):
            off[beyond[row]], paid[beyond[row]] = others[best][0][row], others[best][1][row]
    step, entry = (int(i) for i in np.unravel_index(off.argmax(), off.shape))
    if not off[step, entry] <= tolerances.state:
        raise InputError(
            f"{steps.where('next_observations', step)} has {successors[step, entry]:.6g} as entry {entry}; expected "
            f"{own.successors[step, entry]:.6g}, where the action leads in {family.title} from there by the physics of "
            f"task {task.index}, the largest difference of {off[step, entry]:.3g} (if it is meant to differ: "
            "--state-tolerance)"
        )
    worst = int(paid.argmax())
    if not paid[worst] <= tolerances.reward:
        raise InputError(
            f"{steps.where('rewards', worst)} is {rewards[worst]:.6g}; expected {own.rewards[worst]:.6g} by the "
            f"reward of {family.title} for task {task.index}, the largest difference of {paid[worst]:.3g} (if it "
            "is meant to differ: --reward-tolerance)"
        )
    return Agreement(float(paid[worst]), float(off[step, entry]), len(rewards), not_restored)


def _differences(own: Replayed, successors: Array, rewards: Array) -> tuple[Array, Array]:
    """Return the differences of next observations (N, S) and of rewards (N,)."""
    return np.abs(successors - own.successors), np.abs(rewards - own.rewards)
