"""What z tells of the task: a linear probe, which parameters it could find at all, and a picture's two axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from metadiffuser.envs import Family, Task

Array = NDArray[np.floating]
Flags = NDArray[np.bool_]

SHIFT = 0.5  # by how much a parameter is changed to see whether it matters
STEPS = 100  # control steps with uniform actions that a change has to show in: time for a robot to fall over
UNMOVED = 1e-7  # differences below are rounding


def linear_probe(
    latents: Array, parameters: Array, trained: Flags, groups: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Fit task parameters linearly to z on training tasks; return R^2 on training and on unseen tasks.

    Args:
        latents: z (N, M, Z) of M contexts of each of N rows, a row being a task, or a task and a quality.
        parameters: task parameters (N, F).
        trained: which rows are of training tasks (N,).
        groups: names of the rows (N,), such as their quality.

    Returns:
        {group: {"train_r2", "test_r2"}}, and the same of all rows under "all". There is one probe for all groups:
        they are told apart when it is scored.
    """
    design = np.concatenate([latents, np.ones((*latents.shape[:2], 1))], axis=-1).astype(np.float64)
    targets = np.repeat(parameters[:, None], latents.shape[1], axis=1).astype(np.float64)

    def flat(part: Array) -> Array:
        return part.reshape(-1, part.shape[-1])

    weights = np.linalg.lstsq(flat(design[trained]), flat(targets[trained]), rcond=None)[0]

    def explained(rows: Flags) -> float:
        truth = flat(targets[rows])
        residual = np.square(truth - flat(design[rows]) @ weights).sum()
        spread = np.square(truth - truth.mean(axis=0)).sum() if len(truth) else 0.0
        return float(1 - residual / spread) if spread > 0 else 0.0

    named = np.asarray(groups)
    members = {"all": np.ones(len(named), bool)} | {str(name): named == name for name in dict.fromkeys(groups)}
    return {
        name: {"train_r2": explained(rows & trained), "test_r2": explained(rows & ~trained)}
        for name, rows in members.items()
    }


def identifiable(family: Family, tasks: Sequence[Task], generator: np.random.Generator) -> Flags:
    """Return which parameters (F,) show in observations or rewards at all, for at least one of ``tasks``.

    Every parameter is changed by itself, and the tasks played from the same start with the same uniform actions
    (docs/deviations.md, 28).
    """
    start = int(generator.integers(2**62))
    actions = generator.uniform(-1.0, 1.0, (STEPS, len(tasks), family.action_size))

    def played(variants: Sequence[Task]) -> Array:
        simulator = family.simulator(variants, 1)
        simulator.reset(np.random.Generator(np.random.PCG64(start)))
        seen = []
        for action in actions:
            observations, terms = simulator.step(action)
            seen.append(np.concatenate([observations, np.stack(list(terms.values()), axis=-1)], axis=-1))
        return np.stack(seen)

    unchanged = played(tasks)
    changed = [played([_shifted(task, entry) for task in tasks]) for entry in range(tasks[0].vector.size)]
    return np.array([bool(np.abs(seen - unchanged).max() > UNMOVED) for seen in changed])


def _shifted(task: Task, entry: int) -> Task:
    """Return ``task`` with one entry of its vector changed, towards zero so that it stays in range."""
    vector = task.vector
    vector[entry] -= SHIFT * (1.0 if vector[entry] > 0 else -1.0)
    parameters, at = {}, 0
    for name in sorted(task.parameters):
        size = len(task.parameters[name])
        parameters[name] = tuple(map(float, vector[at : at + size]))
        at += size
    return Task(task.index, task.split, parameters)


def principal_axes(latents: Array) -> Callable[[Array], Array]:
    """Return the map of z (..., Z) onto the two main axes of ``latents`` (B, Z), signs fixed."""
    mean = latents.mean(axis=0)
    _, _, axes = np.linalg.svd(latents - mean, full_matrices=False)
    axes = np.pad(axes[:2], ((0, max(0, 2 - len(axes))), (0, 0)))
    signs = np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])
    axes = axes * np.where(signs == 0, 1.0, signs)[:, None]
    return lambda z: (z - mean) @ axes.T
