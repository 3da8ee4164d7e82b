"""All datasets of one family, task by task and quality by quality, however their episodes came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import Provenance, write_dataset
from metadiffuser.envs import Family, Task
from metadiffuser.envs.shared.tasks import write_left_out

Anchors = Mapping[int, Mapping[str, float]]
"""By task index, the mean returns of ``random`` actions and of the ``expert``: 0 and 100 of normalised scores."""


@dataclass(frozen=True)
class Collected:
    """Episodes of one quality.

    Attributes:
        episodes: by task index.
        policies: what acted, by task index; JSON-serialisable.
    """

    episodes: Mapping[int, Episodes]
    policies: Mapping[int, Mapping[str, Any]]

    def mean_return(self, task: int) -> float:
        """Return the mean return of a task's episodes."""
        return float(self.episodes[task].returns.mean(dtype=np.float64))


def anchors_of(tasks: Sequence[Task], random: Collected, expert: Collected) -> Anchors:
    """Return the anchors of ``tasks`` by their random and expert episodes."""
    ends = {"random": random, "expert": expert}
    return {task.index: {name: found.mean_return(task.index) for name, found in ends.items()} for task in tasks}


@dataclass(frozen=True)
class FamilyDataset:
    """The datasets of one family.

    Attributes:
        collected: episodes by quality; of these, those of ``tasks`` are kept.
        tasks: that the datasets are of.
        anchors: of these tasks, and of those that are left out.
        origin: what the metrics say of where the episodes are from.
    """

    collected: Mapping[str, Collected]
    tasks: Sequence[Task]
    anchors: Anchors
    origin: Mapping[str, Any]

    def write(self, root: Path, family: Family) -> None:
        """Write one Minari dataset a task and quality below ``root``, and which tasks are left out."""
        for quality, found in self.collected.items():
            for task in self.tasks:
                anchor = self.anchors[task.index]
                provenance = Provenance(found.policies[task.index], anchor["random"], anchor["expert"])
                write_dataset(root, family, task, quality, found.episodes[task.index], provenance)
        write_left_out(root, sorted(set(self.anchors) - {task.index for task in self.tasks}))

    def metrics(self, family: Family) -> dict[str, Any]:
        """Return origin, tasks, returns, policies and anchors, as the metrics file holds them; of kept tasks alone."""
        indices = [task.index for task in self.tasks]
        rewards = [found.episodes[index].rewards for found in self.collected.values() for index in indices]
        return {
            **self.origin,
            "tasks": [task.to_json() for task in self.tasks],
            "returns": {
                quality: {str(index): found.episodes[index].returns.tolist() for index in indices}
                for quality, found in self.collected.items()
            },
            "policies": {
                quality: [found.policies[index] for index in indices] for quality, found in self.collected.items()
            },
            "anchors": {str(index): dict(self.anchors[index]) for index in indices},
            "optimum": {str(task.index): family.optimum(task) for task in self.tasks} if family.optimum else {},
            "episodes": sum(len(block) for block in rewards),
            "transitions": sum(block.size for block in rewards),
        }
