"""The families by name: data, not code."""

from __future__ import annotations

from metadiffuser.envs.ant_dir import ANT_DIR
from metadiffuser.envs.hopper_param import HOPPER_PARAM
from metadiffuser.envs.point_robot import POINT_ROBOT
from metadiffuser.envs.shared.base import Family
from metadiffuser.envs.shared.cheetah import CHEETAH_DIR, CHEETAH_VEL
from metadiffuser.envs.walker_param import WALKER_PARAM
from metadiffuser.errors import InputError, nearest

FAMILIES: dict[str, Family] = {
    family.name: family for family in (POINT_ROBOT, CHEETAH_VEL, CHEETAH_DIR, ANT_DIR, HOPPER_PARAM, WALKER_PARAM)
}


def get_family(name: str) -> Family:
    """Return the family called ``name``. Raises ``InputError`` that lists the choices."""
    if name not in FAMILIES:
        raise InputError(f"unknown family '{name}'{nearest(name, FAMILIES)}")
    return FAMILIES[name]
