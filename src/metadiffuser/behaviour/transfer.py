"""Whether experts lose return when they are given another task's parameters: what bounds the use of any z.

A planner can gain from knowing its task at most what the data's own policies gain from it. So each task's expert is
played as it is, given other tasks' parameters, and given the mean of all tasks' parameters; starts and the noise of
sampled actions are the same. Where the expert keeps its return, a wrong z, or none, costs a planner nothing either.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from metadiffuser.behaviour.policies import Controller, Policies, assign, relabelled, rollout
from metadiffuser.data.episodes import Floats
from metadiffuser.envs import Family, Task
from metadiffuser.envs.shared.symmetry import Symmetry

Transfer = dict[str, dict[str, list[float]]]
"""{parameters given, such as ``own`` or ``wrong``: {task index: returns of its episodes}}."""

OTHERS = 4  # other tasks whose parameters each expert is given, as far as there are as many


def transfer_returns(
    family: Family,
    tasks: Sequence[Task],
    policies: Policies,
    which: Sequence[int],
    features: Floats,
    generator: np.random.Generator,
    episodes: int = 2,
    threads: int = 1,
    symmetries: Sequence[Symmetry] = (),
    stochastic: bool = False,
) -> Transfer:
    """Return what experts earn as they are, and given other parameters, for the metrics of the dataset.

    ``own`` is the expert as it is; ``wrong`` is given the parameters of ``OTHERS`` other tasks, ``episodes`` for each;
    ``mean`` is given the mean of all tasks' parameters.

    Args:
        family: the tasks' family.
        tasks: N tasks.
        policies: P policies, conditional on the task's parameters.
        which: the expert of each task (N,).
        features: the parameters that the policies are given for each task (N, F), F > 0.
        generator: draws the other tasks, the starts and the noise.
        episodes: of each task and parameters.
        threads: of the physics.
        symmetries: of each task (N,), if policies act through them; another task's parameters come with its symmetry.
            There is no ``mean`` then, since a mean over standard tasks is no task.
        stochastic: whether actions are sampled.

    Raises:
        ValueError: the policies are not given any parameters, or there is one task alone.
    """
    count = len(tasks)
    if features.shape[1] == 0 or count < 2:
        raise ValueError(f"expected features (N, F) with N > 1 and F > 0, got {features.shape}")
    shifts = sorted(1 + int(other) for other in generator.permutation(count - 1)[:OTHERS])
    seeds = [int(seed) for seed in generator.integers(2**62, size=2)]
    centre = np.broadcast_to(features.mean(axis=0, keepdims=True), features.shape)

    def played(given: Floats, through: Sequence[Symmetry]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the returns (N, episodes) of experts with parameters ``given`` (N, F)."""
        rows = [row for row in range(count) for _ in range(episodes)]
        start, noise = (np.random.Generator(np.random.PCG64(seed)) for seed in seeds)
        sampled = np.full(len(rows), stochastic)
        experts = [which[row] for row in rows]
        controller: Controller = assign(policies, experts, given[rows], sampled, noise)
        if through:
            controller = relabelled(controller, [through[row] for row in rows])
        return rollout(family, [tasks[row] for row in rows], controller, start, threads).returns.reshape(count, -1)

    def returns_with(shift: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the returns of experts that are given the parameters of the task ``shift`` places on."""
        others = [(row + shift) % count for row in range(count)]
        return played(features[others], [symmetries[other] for other in others] if symmetries else ())

    found = {"own": returns_with(0), "wrong": np.concatenate([returns_with(shift) for shift in shifts], axis=1)}
    if not symmetries:
        found["mean"] = played(centre, ())
    return {
        name: {str(task.index): row.tolist() for task, row in zip(tasks, returns, strict=True)}
        for name, returns in found.items()
    }


def transfer_by_teacher(
    family: Family,
    tasks: Sequence[Task],
    policies: Policies,
    which: Sequence[int],
    features: Floats,
    teachers: Sequence[Hashable],
    generator: np.random.Generator,
    threads: int = 1,
    symmetries: Sequence[Symmetry] = (),
) -> Transfer:
    """Return ``transfer_returns`` of all tasks, the other tasks being those of the same teacher.

    What another teacher's policy does with a task's parameters is beside the point, and other teachers' tasks may lie
    outside the range that a policy has learnt. A teacher of one task alone has no other task: it is left out. Policies
    that are not given any parameters give {}.

    Args:
        family: the tasks' family.
        tasks: N tasks.
        policies: P policies.
        which: the expert of each task (N,).
        features: the parameters that the policies are given for each task (N, F).
        teachers: the agent that learnt each task (N,).
        generator: draws the other tasks and the starts.
        threads: of the physics.
        symmetries: of each task (N,), if policies act through them.
    """
    found: Transfer = {}
    for teacher in dict.fromkeys(teachers):
        rows = [row for row, owner in enumerate(teachers) if owner == teacher]
        if len(rows) > 1 and features.shape[1]:
            played = transfer_returns(
                family,
                [tasks[row] for row in rows],
                policies,
                [which[row] for row in rows],
                features[rows],
                generator,
                threads=threads,
                symmetries=[symmetries[row] for row in rows] if symmetries else (),
            )
            for given, returns in played.items():
                found.setdefault(given, {}).update(returns)
    return found
