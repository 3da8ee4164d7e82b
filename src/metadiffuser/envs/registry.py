"""The families by name: data, not code."""

from __future__ import annotations

from metadiffuser.envs.base import Family
from metadiffuser.envs.cheetah import CHEETAH_VEL
from metadiffuser.envs.point_robot import POINT_ROBOT
from metadiffuser.errors import InputError, nearest

FAMILIES: dict[str, Family] = {family.name: family for family in (POINT_ROBOT, CHEETAH_VEL)}


def get_family(name: str) -> Family:
    """Return the family called ``name``. Raises ``InputError`` that lists the choices."""
    if name not in FAMILIES:
        raise InputError(f"unknown family '{name}'{nearest(name, FAMILIES)}")
    return FAMILIES[name]
