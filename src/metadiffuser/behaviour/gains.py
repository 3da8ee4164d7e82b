"""Which tasks the expert gains too little on to normalise scores by, and so are left out of the datasets.

A normalised score is 100 * (R - R_random) / (R_expert - R_random). Where the gap is small, the errors of its two ends
and the spread of single episodes are large in it, and one such task decides an average. The rule is stated before
anything is trained, and is the same for training and unseen tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metadiffuser.data.dataset import Anchors
from metadiffuser.envs import Family, Task
from metadiffuser.envs.shared.tasks import split
from metadiffuser.errors import InputError


def gain(anchors: Anchors, task: int) -> float:
    """Return how much more the expert earns than random actions on a task (its index)."""
    return anchors[task]["expert"] - anchors[task]["random"]


def usable_tasks(family: Family, tasks: Sequence[Task], anchors: Anchors, least_gain: float) -> list[Task]:
    """Return the tasks that are kept: the expert's gain is at least a share of the median gain over training tasks.

    Args:
        family: the family, for messages.
        tasks: training and unseen tasks.
        anchors: of each.
        least_gain: share of the median; 0 keeps all tasks.

    Raises:
        InputError: no training task or no unseen task is left.
    """
    if least_gain == 0:
        return list(tasks)
    least = least_gain * float(np.median([gain(anchors, task.index) for task in split(list(tasks), "train")]))
    kept = [task for task in tasks if gain(anchors, task.index) >= least]
    for name, word in (("train", "training"), ("test", "unseen")):
        if split(list(tasks), name) and not split(kept, name):
            raise InputError(
                f"{family.name}: on no {word} task does the expert earn {least:.3g} more than random actions, "
                f"{least_gain:g} of the training tasks' median gain; raise behaviour.steps, or set dataset.least_gain "
                "to 0"
            )
    return kept


def left_out(tasks: Sequence[Task], kept: Sequence[Task], anchors: Anchors) -> list[dict[str, Any]]:
    """Return the tasks that are not kept, each with its anchors; JSON-serialisable."""
    indices = {task.index for task in kept}
    return [{**task.to_json(), **anchors[task.index]} for task in tasks if task.index not in indices]
