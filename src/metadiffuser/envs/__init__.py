"""Families of tasks, their batched physics and their gymnasium environments.

Each family is one file of this folder, or a module of another package (entry-point group ``metadiffuser.families``).
Importing this package registers ``metadiffuser/<Family>-v0`` with gymnasium for all of them and imports none.
"""

from metadiffuser.envs.shared.base import Array, Family, Simulator, Sketch, Task, total_reward
from metadiffuser.envs.shared.gymnasium_family import GymnasiumFamily
from metadiffuser.envs.shared.registry import FAMILIES, get_family, register

__all__ = [
    "FAMILIES",
    "Array",
    "Family",
    "GymnasiumFamily",
    "Simulator",
    "Sketch",
    "Task",
    "get_family",
    "register",
    "total_reward",
]

register()
