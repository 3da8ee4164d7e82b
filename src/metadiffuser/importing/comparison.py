"""Stored steps beside what the family's own simulator makes of them: how far apart they are, and why they may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metadiffuser.envs import Array, Family, Task
from metadiffuser.errors import InputError
from metadiffuser.importing.replay import Replayed, replay, replay_rounded
from metadiffuser.importing.scale import Transitions, clipping_agrees, matching_scale
from metadiffuser.importing.steps import Steps

FEW, FEW_SHARE = 8, 0.01  # steps of a file, and share of them, that may be due to rounding
TINY = 1e-12  # in place of a tolerance of zero, as a divisor
ROUNDING = 1e-5  # absolute and relative: what storage in float32 may have cost


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
        unfinished: steps of a last episode that the file does not finish, which were cut.
        computed: next observations that the file does not have, and that the family's simulator gave.
    """

    reward: float | None
    state: float | None
    steps: int
    not_restored: int
    unfinished: int = 0
    computed: int = 0

    @classmethod
    def join(cls, parts: Sequence[Agreement]) -> Agreement:
        """Return the agreement of all ``parts`` together."""
        rewards = [part.reward for part in parts if part.reward is not None]
        states = [part.state for part in parts if part.state is not None]
        counts = [
            sum(getattr(part, name) for part in parts) for name in ("steps", "not_restored", "unfinished", "computed")
        ]
        return cls(max(rewards, default=None), max(states, default=None), *counts)


@dataclass(frozen=True)
class Comparison:
    """Steps of one file, to be compared with the simulator.

    Attributes:
        steps: what the file holds, which names array and index in a refusal.
        family: whose task it is.
        task: the task, for rewards and physics.
        tolerances: differences that are accepted.
        threads: CPU threads of the simulator.
        action_scale: what the stored actions have been multiplied by.
    """

    steps: Steps
    family: Family
    task: Task
    tolerances: Tolerances
    threads: int
    action_scale: float = 1.0

    def check_range(self, arrays: dict[str, Array]) -> None:
        """Check that actions (N, A) are in [-1, 1]. Raises ``InputError``, which names their scale if it shows."""
        actions = arrays["actions"]
        excess = np.abs(actions).max(axis=1) - 1.0
        worst = int(excess.argmax())
        if excess[worst] <= ROUNDING:
            return
        value = actions[worst][np.abs(actions[worst]).argmax()]
        refusal = f"{self.steps.where('actions', worst)} is {value:.6g}; expected actions in [-1, 1]"
        outside = {name: array[excess > ROUNDING] for name, array in arrays.items()}
        clipped = self._transitions(outside)
        if clipped and clipping_agrees(clipped, self.tolerances.state):
            raise InputError(f"{refusal} (clipped to that, they lead to the next observations: clip the array)")
        raise InputError(f"{refusal}{self._scale_hint(arrays)}")

    def successors(self, arrays: dict[str, Array]) -> tuple[NDArray[np.bool_], Array]:
        """Return s' (N, S) of a file without it: the next row's s, and after an episode's last step the simulator's.

        Returns:
            Where s' is the next row's (N,), and s'.

        Raises:
            InputError: the observation at a last step does not tell the simulator's state.
        """
        states, actions = arrays["observations"], arrays["actions"]
        found = np.concatenate([states[1:], states[-1:]])
        last = np.arange(self.family.episode_length - 1, len(states), self.family.episode_length)
        played = replay(self.family, self.task, states[last], actions[last], self.threads)
        if not played.restored.all():
            step = int(last[np.flatnonzero(~played.restored)[0]])
            raise InputError(
                f"{self.steps.where('observations', step)} does not tell the state of {self.family.title}, so that the "
                "observation after it cannot be computed; expected an array next_observations"
            )
        found[last] = played.successors
        known = np.ones(len(states), bool)
        known[last] = False
        return known, found

    def agreement(self, arrays: dict[str, Array], known: NDArray[np.bool_]) -> Agreement:
        """Compare every step with the family's own simulator, as far as observations tell its state.

        Args:
            arrays: states (N, S), actions (N, A), rewards (N,) and next states.
            known: where the next state is the file's (N,).

        Raises:
            InputError: a difference beyond the tolerances.
        """
        states, actions, rewards = arrays["observations"], arrays["actions"], arrays["rewards"]
        successors = arrays["next_observations"]
        own = replay(self.family, self.task, states, actions, self.threads)
        not_restored = int((~own.restored).sum())
        if not_restored == len(rewards):
            return Agreement(None, None, len(rewards), not_restored)
        off, paid = _differences(own, successors, rewards)
        off[~own.restored], paid[~own.restored] = 0.0, 0.0
        tolerances = self.tolerances
        beyond = np.flatnonzero(~((off.max(axis=1) <= tolerances.state) & (paid <= tolerances.reward)))
        if 0 < len(beyond) <= max(FEW, FEW_SHARE * len(rewards)):
            near = replay_rounded(self.family, self.task, states[beyond], actions[beyond], self.threads)
            others = [_differences(other, successors[beyond], rewards[beyond]) for other in near]
            scale = [max(limit, TINY) for limit in (tolerances.state, tolerances.reward)]
            badness = np.stack([np.maximum(o.max(axis=1) / scale[0], p / scale[1]) for o, p in others])
            for row, best in enumerate(badness.argmin(axis=0)):
                off[beyond[row]], paid[beyond[row]] = others[best][0][row], others[best][1][row]
        step, entry = (int(i) for i in np.unravel_index(off.argmax(), off.shape))
        if not off[step, entry] <= tolerances.state:
            if hint := self._scale_hint({name: array[known] for name, array in arrays.items()}):
                where = self.steps.where("actions", step)
                raise InputError(f"{where} and the others are on another scale than {self.family.title} has{hint}")
            raise InputError(
                f"{self.steps.where('next_observations', step)} has {successors[step, entry]:.6g} as entry {entry}; "
                f"expected {own.successors[step, entry]:.6g}, where the action leads in {self.family.title} from there "
                f"by the physics of task {self.task.index}, the largest difference of {off[step, entry]:.3g} (if it is "
                "meant to differ: --state-tolerance)"
            )
        worst = int(paid.argmax())
        if not paid[worst] <= tolerances.reward:
            raise InputError(
                f"{self.steps.where('rewards', worst)} is {rewards[worst]:.6g}; expected {own.rewards[worst]:.6g} by "
                f"the reward of {self.family.title} for task {self.task.index}, the largest difference of "
                f"{paid[worst]:.3g} (if it is meant to differ: --reward-tolerance)"
            )
        return Agreement(float(paid[worst]), float(off[step, entry]), len(rewards), not_restored)

    def _scale_hint(self, arrays: dict[str, Array]) -> str:
        """Return what the stored actions should be multiplied by, as the end of a sentence; empty if nothing fits."""
        stored = {**arrays, "actions": arrays["actions"] / self.action_scale}
        transitions = self._transitions(stored)
        scale = matching_scale(transitions, self.tolerances.state) if transitions else None
        if scale is None or scale == self.action_scale:
            return ""
        return f" (multiplied by {scale:g}, they lead to the next observations: import with --action-scale {scale:g})"

    def _transitions(self, arrays: dict[str, Array]) -> Transitions | None:
        """Return the stored transitions, for finding the scale of actions; None if the file lacks next states."""
        if "next_observations" not in arrays:
            return None
        stored = (arrays[name] for name in ("observations", "actions", "next_observations"))
        return Transitions(self.family, self.task, self.threads, *stored)


def _differences(own: Replayed, successors: Array, rewards: Array) -> tuple[Array, Array]:
    """Return the differences of next observations (N, S) and of rewards (N,)."""
    return np.abs(successors - own.successors), np.abs(rewards - own.rewards)
