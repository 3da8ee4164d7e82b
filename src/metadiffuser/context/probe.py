"""What z says of the task: a linear probe with one task left out at a time, and a picture's two axes.

The probe is ridge regression of the task's parameters on z. Every task is predicted by a fit to all others, so a
parameter that z does not carry reads about zero or less, however many parameters and entries of z there are. What
chance reads is measured: the same probe of parameters that are dealt out to the tasks at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Flags = NDArray[np.bool_]

# On standardised z of N tasks: a direction that half of z's variance lies in has weight N * Z / 2, several hundred, and
# keeps all of it; one that carries as little as a task's noise is shrunk. Without it 17 coefficients are fitted to 50
# tasks and predictions of the task left out are worse than the mean, even where z is an exact image of the parameters.
PENALTY = 10.0
PERMUTATIONS = 1000
LEVEL = 95.0  # percentile of what chance reads that has to be exceeded


@dataclass(frozen=True)
class Probe:
    """What a probe reads of F parameters, and what it reads by chance.

    Attributes:
        r2: R^2 of each parameter's predictions with its task left out (F,); 0 is what the mean of the others explains.
        null: 95th percentile of the same over permutations of the tasks (F,), for one parameter looked at by itself.
        null_of_largest: 95th percentile of the largest of all parameters' R^2 in a permutation.
    """

    r2: Array
    null: Array
    null_of_largest: float

    @property
    def identified(self) -> Flags:
        """Which parameters (F,) z carries: one that it does not carry is among them with a chance of 5% in all."""
        return self.r2 > self.null_of_largest

    def to_json(self) -> dict[str, Any]:
        """Return all of it, JSON-serialisable."""
        return {"r2": self.r2.tolist(), "null": self.null.tolist(), "null_of_largest": self.null_of_largest}


def left_out(latents: Array, targets: Array) -> tuple[Array, Array]:
    """Return how far predictions of a task by a fit to all others are off, and how far the others' mean is.

    No fit is repeated: a ridge fit's residual with row i left out is its residual divided by 1 - H_ii, with H the
    matrix that gives its predictions. The intercept is not penalised.

    Args:
        latents: z (N, Z) of N tasks.
        targets: parameters (..., N, F), any number of sets of them.

    Returns:
        Residuals and deviations (..., N, F).
    """
    count = len(latents)
    centred = _centred(latents, axis=0)
    deviation = centred.std(axis=0)
    scaled = centred / np.where(deviation > 0, deviation, 1.0)
    gram = scaled.T @ scaled + PENALTY * np.eye(scaled.shape[1])
    hat = scaled @ np.linalg.solve(gram, scaled.T) + 1 / count
    residuals = (targets - hat @ targets) / (1 - np.diag(hat))[:, None]
    return residuals, _centred(targets, axis=-2) * (count / (count - 1))


def _centred(values: Array, axis: int) -> Array:
    """Subtract the mean over ``axis``; what is the same everywhere becomes zero to the bit, which a mean may miss."""
    same = np.ptp(values, axis=axis, keepdims=True) == 0
    centred: Array = np.where(same, 0.0, values - values.mean(axis=axis, keepdims=True, dtype=np.float64))
    return centred


def explained(residuals: Array, deviations: Array, axis: int | tuple[int, ...] | None = -2) -> Array:
    """Return R^2 = 1 - sum of squared residuals / sum of squared deviations over ``axis``; 0 where nothing deviates.

    Args:
        residuals: of predictions (..., N, F).
        deviations: from the mean (..., N, F).
        axis: what is summed over: tasks, or tasks and parameters alike.
    """
    spread = np.square(deviations).sum(axis=axis)
    left = np.square(residuals).sum(axis=axis)
    varies = spread > 0
    shares: Array = np.where(varies, 1 - left / np.where(varies, spread, 1.0), 0.0)
    return shares


def probe(latents: Array, parameters: Array, generator: np.random.Generator) -> Probe:
    """Probe z (N, Z) of N tasks for their parameters (N, F), all parameters and permutations in one product.

    Args:
        latents: one z a task.
        parameters: of the tasks.
        generator: draws the permutations.
    """
    if parameters.shape[1] == 0:
        return Probe(np.zeros(0), np.zeros(0), 0.0)
    order = np.argsort(generator.random((PERMUTATIONS, len(latents))), axis=1)
    by_chance = explained(*left_out(latents, parameters[order]))  # (permutations, F)
    return Probe(
        explained(*left_out(latents, parameters)),
        np.percentile(by_chance, LEVEL, axis=0),
        float(np.percentile(by_chance.max(axis=1), LEVEL)),
    )


def principal_axes(latents: Array) -> Callable[[Array], Array]:
    """Return the map of z (..., Z) onto the two main axes of ``latents`` (B, Z), signs fixed."""
    mean = latents.mean(axis=0)
    _, _, axes = np.linalg.svd(latents - mean, full_matrices=False)
    axes = np.pad(axes[:2], ((0, max(0, 2 - len(axes))), (0, 0)))
    signs = np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])
    axes = axes * np.where(signs == 0, 1.0, signs)[:, None]
    return lambda z: (z - mean) @ axes.T
