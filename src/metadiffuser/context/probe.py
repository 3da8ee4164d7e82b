"""What z tells of the task: a linear probe and a picture's two axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def linear_probe(latents: Array, parameters: Array, trained: NDArray[np.bool_]) -> dict[str, float]:
    """Fit task parameters linearly to z on training tasks; return R^2 on training and on unseen tasks.

    Args:
        latents: z (N, M, Z) of M contexts of each of N tasks.
        parameters: task parameters (N, F).
        trained: which tasks were trained on (N,).
    """
    design = np.concatenate([latents, np.ones((*latents.shape[:2], 1))], axis=-1).astype(np.float64)
    targets = np.repeat(parameters[:, None], latents.shape[1], axis=1).astype(np.float64)

    def flat(part: Array) -> Array:
        return part.reshape(-1, part.shape[-1])

    weights = np.linalg.lstsq(flat(design[trained]), flat(targets[trained]), rcond=None)[0]
    scores = {}
    for name, rows in (("train_r2", trained), ("test_r2", ~trained)):
        truth = flat(targets[rows])
        residual = np.square(truth - flat(design[rows]) @ weights).sum()
        spread = np.square(truth - truth.mean(axis=0)).sum()
        scores[name] = float(1 - residual / spread) if spread > 0 else 0.0
    return scores


def principal_axes(latents: Array) -> Callable[[Array], Array]:
    """Return the map of z (..., Z) onto the two main axes of ``latents`` (B, Z), signs fixed."""
    mean = latents.mean(axis=0)
    _, _, axes = np.linalg.svd(latents - mean, full_matrices=False)
    axes = np.pad(axes[:2], ((0, max(0, 2 - len(axes))), (0, 0)))
    signs = np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])
    axes = axes * np.where(signs == 0, 1.0, signs)[:, None]
    return lambda z: (z - mean) @ axes.T
