"""Symmetries: relabellings of a robot's parts and of its tasks that leave physics and rewards unchanged.

Tasks that differ only by a symmetry are equivalent: a policy for one of them gives a policy for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Symmetry:
    """Signed permutations of observations, actions and task vectors.

    Attributes:
        observations: (S, S); the relabelled observation is this matrix times the observation.
        actions: (A, A).
        tasks: (F, F).
    """

    observations: Array
    actions: Array
    tasks: Array

    def after(self, other: Symmetry) -> Symmetry:
        """Return the symmetry that applies ``other`` first and then this one."""
        return Symmetry(self.observations @ other.observations, self.actions @ other.actions, self.tasks @ other.tasks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Symmetry) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__
        )


def signed_permutation(size: int, sources: Mapping[int, tuple[int, float]]) -> Array:
    """Return the matrix (size, size) whose entry i takes entry j times sign of the old vector, for {i: (j, sign)}.

    Entries that are not named stay as they are.
    """
    matrix = np.eye(size)
    for row, (column, sign) in sources.items():
        matrix[row] = 0.0
        matrix[row, column] = sign
    return matrix


def generated(generators: Sequence[Symmetry]) -> list[Symmetry]:
    """Return the group that ``generators`` make, the identity first."""
    first = generators[0]
    identity = Symmetry(*(np.eye(len(getattr(first, name))) for name in first.__dataclass_fields__))
    group, frontier = [identity], [identity]
    while frontier:
        found: list[Symmetry] = []
        for symmetry in (generator.after(member) for member in frontier for generator in generators):
            if symmetry not in group:
                group.append(symmetry)
                found.append(symmetry)
        frontier = found
    return group


def to_standard(symmetries: Sequence[Symmetry], vector: Array) -> Symmetry:
    """Return the symmetry that takes a task's vector (F,) to the greatest of its images, in order of their entries."""
    return max(symmetries, key=lambda symmetry: tuple(symmetry.tasks @ vector))
