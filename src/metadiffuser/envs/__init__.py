"""Families of tasks, their batched physics and their gymnasium environments."""

from metadiffuser.envs.shared.base import Array, Family, Simulator, Task, total_reward
from metadiffuser.envs.shared.gym import register
from metadiffuser.envs.shared.registry import FAMILIES, get_family

__all__ = ["FAMILIES", "Array", "Family", "Simulator", "Task", "get_family", "register", "total_reward"]

register()
