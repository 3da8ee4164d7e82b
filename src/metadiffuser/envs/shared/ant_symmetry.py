"""The ant's symmetries: its four legs are alike, and the left half mirrors the right.

Rotating an ant by a quarter turn and relabelling its legs turns a walk in one direction into a walk in another, with
the same yaw at the start. The same holds for the reflection in the x axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metadiffuser.envs.shared.symmetry import Array, Symmetry, generated, signed_permutation

ANGLES, RATES = 5, 19  # first of the observation's hips and ankles, legs 1 to 4; and of their angular velocities
ACTED = (3, 0, 1, 2)  # leg of each pair of actions

Sources = dict[int, tuple[int, float]]


def _legs(first: int, order: Sequence[int], taken: Sequence[int], hip: float, ankles: Sequence[float]) -> Sources:
    """Return the sources of hips and ankles that stand from ``first`` on, legs in ``order``.

    Args:
        first: entry of the first hip.
        order: leg of each pair of entries.
        taken: the leg that each leg is relabelled as.
        hip: sign of every hip's angle.
        ankles: sign of each leg's ankle, whose axes differ.
    """
    sources: Sources = {}
    for pair, leg in enumerate(order):
        old = first + 2 * order.index(taken[leg])
        sources[first + 2 * pair] = (old, hip)
        sources[first + 2 * pair + 1] = (old + 1, ankles[leg])
    return sources


def _symmetry(torso: Sources, taken: Sequence[int], hip: float, ankles: Sequence[float], plane: Array) -> Symmetry:
    joints = [_legs(first, range(4), taken, hip, ankles) for first in (ANGLES, RATES)]
    return Symmetry(
        signed_permutation(27, {**torso, **joints[0], **joints[1]}),
        signed_permutation(8, _legs(0, ACTED, taken, hip, ankles)),
        plane,
    )


# Entries 1-4 of the observation are the quaternion w, x, y, z; 13-15 the velocity and 16-18 the angular velocity.
QUARTER_TURN = _symmetry(
    {2: (3, -1.0), 3: (2, 1.0), 13: (14, -1.0), 14: (13, 1.0), 16: (17, -1.0), 17: (16, 1.0)},
    taken=(3, 0, 1, 2),
    hip=1.0,
    ankles=(1.0, -1.0, 1.0, -1.0),
    plane=np.array([[0.0, -1.0], [1.0, 0.0]]),
)
MIRROR = _symmetry(
    {2: (2, -1.0), 4: (4, -1.0), 14: (14, -1.0), 16: (16, -1.0), 18: (18, -1.0)},
    taken=(3, 2, 1, 0),
    hip=-1.0,
    ankles=(1.0, 1.0, 1.0, 1.0),
    plane=np.diag([1.0, -1.0]),
)
SYMMETRIES = tuple(generated([QUARTER_TURN, MIRROR]))
