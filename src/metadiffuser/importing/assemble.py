"""From a task list to checked episodes by quality."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from metadiffuser.data.episodes import Episodes
from metadiffuser.envs import Family
from metadiffuser.errors import InputError
from metadiffuser.importing.checks import checked_episodes
from metadiffuser.importing.comparison import Agreement, Tolerances
from metadiffuser.importing.readers import read_steps
from metadiffuser.importing.steps import Request
from metadiffuser.importing.store import Imported
from metadiffuser.importing.tasklist import ALL, REQUIRED, Source

ByQuality = dict[str, Episodes]
MOST_SHARED = 0.5  # share of an unseen task's episodes that may be a training task's as well


def assemble(
    sources: Sequence[Source], family: Family, tolerances: Tolerances, threads: int = 1, action_scale: float = 1.0
) -> Imported:
    """Read, check and label all data of a family.

    Args:
        sources: the tasks and their files.
        family: the family.
        tolerances: differences from the family's own simulator that are accepted.
        threads: CPU threads of the simulator.
        action_scale: what the stored actions are multiplied by to be the family's, in [-1, 1].

    Returns:
        The episodes and notes on them: those of ``Imported``, and ``action_scale``, ``unfinished`` (steps that were
        cut) and ``computed`` (next observations).

    Raises:
        InputError: the first thing that is wrong; nothing has been written.
    """
    ranked = ALL in sources[0].files
    read: dict[int, ByQuality] = {}
    agreements: list[Agreement] = []
    for source in tqdm(sources, desc=f"import {family.name}", leave=False, disable=None):
        by_label: ByQuality = {}
        for label, path in source.files.items():
            steps = read_steps(Request(path, family, source.number))
            episodes, agreement = checked_episodes(steps, family, source.task, tolerances, threads, action_scale)
            if ranked and len(episodes) < len(REQUIRED):
                raise InputError(
                    f"{steps.path}: {len(episodes)} episodes; expected at least {len(REQUIRED)}, "
                    f"to rank them as {', '.join(REQUIRED)}"
                )
            by_label[label] = episodes
            agreements.append(agreement)
        read[source.task.index] = by_label
    _check_unseen(sources, read)
    before = sum(len(episodes) for by_label in read.values() for episodes in by_label.values())
    evened = _evened(read)
    labelled = {index: rank(by_label[ALL]) if ranked else by_label for index, by_label in evened.items()}
    agreement = Agreement.join(agreements)
    notes = {
        "labels": "ranked" if ranked else "given",
        "left_out": before - sum(len(episodes) for by_label in evened.values() for episodes in by_label.values()),
        "reward_difference": _short(agreement.reward),
        "state_difference": _short(agreement.state),
        "steps": agreement.steps,
        "not_restored": agreement.not_restored,
        "unfinished": agreement.unfinished,
        "computed": agreement.computed,
        "action_scale": action_scale,
        "files": {str(source.task.index): _names(source) for source in sources},
    }
    qualities = REQUIRED if ranked else tuple(sources[0].files)
    episodes_of = {quality: {index: labelled[index][quality] for index in labelled} for quality in qualities}
    return Imported(family.name, [source.task for source in sources], episodes_of, notes)


def _check_unseen(sources: Sequence[Source], read: Mapping[int, ByQuality]) -> None:
    """Check that unseen tasks do not have the episodes of training tasks, whatever the files are called.

    Where a family and its policies are deterministic, two tasks with equal parameters may share some.
    """
    known: dict[bytes, Path] = {}
    for source in sources:
        if source.task.split == "train":
            for label, episodes in read[source.task.index].items():
                known |= dict.fromkeys(_digests(episodes), source.files[label])
    for source in sources:
        if source.task.split == "test":
            for label, episodes in read[source.task.index].items():
                shared = [digest for digest in _digests(episodes) if digest in known]
                if len(shared) > MOST_SHARED * len(episodes):
                    raise InputError(
                        f"{source.files[label]}: {len(shared)} of {len(episodes)} episodes are also in "
                        f"{known[shared[0]]}, of a training task; expected the unseen task {source.task.index} to have "
                        "episodes of its own"
                    )


def _digests(episodes: Episodes) -> list[bytes]:
    """Return a hash of each episode."""
    arrays = (episodes.observations, episodes.actions, episodes.rewards)
    return [
        hashlib.blake2b(b"".join(array[number].tobytes() for array in arrays)).digest()
        for number in range(len(episodes))
    ]


def _short(difference: float | None) -> float | None:
    """Return a difference with the digits that are worth keeping."""
    return None if difference is None else float(f"{difference:.3g}")


def _names(source: Source) -> dict[str, str]:
    """Return the names of a task's files, without the folder that they happen to lie in."""
    return {label or "all": path.name for label, path in source.files.items()}


def _evened(read: Mapping[int, ByQuality]) -> dict[int, ByQuality]:
    """Leave every task as many episodes of a label as the task with the fewest has, evenly spread over its ranking."""
    fewest = {label: min(len(by_label[label]) for by_label in read.values()) for label in next(iter(read.values()))}
    return {
        index: {label: _spread(episodes, fewest[label]) for label, episodes in by_label.items()}
        for index, by_label in read.items()
    }


def _spread(episodes: Episodes, count: int) -> Episodes:
    order = np.argsort(-episodes.returns, kind="stable")
    kept = order[np.linspace(0, len(order) - 1, count).round().astype(int)]
    return pick(episodes, np.sort(kept))


def rank(episodes: Episodes) -> ByQuality:
    """Label the best third of the episodes by return expert, the worst third random and what is between medium."""
    order = np.argsort(-episodes.returns, kind="stable")
    third = len(order) // 3
    parts = {
        "expert": order[:third],
        "medium": order[third : len(order) - third],
        "random": order[len(order) - third :],
    }
    return {quality: pick(episodes, np.sort(part)) for quality, part in parts.items()}


def pick(episodes: Episodes, rows: np.ndarray) -> Episodes:
    """Return the episodes at ``rows``."""
    return Episodes(episodes.observations[rows], episodes.actions[rows], episodes.rewards[rows])
