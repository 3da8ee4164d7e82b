"""The families by name, and gymnasium's registration of them; a family's module is imported when it is used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, WrapperSpec

from metadiffuser.config import plugins
from metadiffuser.envs.shared.base import Family, gym_id
from metadiffuser.errors import InputError, shortened

NAME = re.compile(r"[a-z][a-z0-9_]*")  # as in paths, parameters and ids
ENTRY_POINT = "metadiffuser.envs.gym.env:FamilyEnv"
TASK_WRAPPER = WrapperSpec("TaskAttribute", "metadiffuser.envs.gym.env:TaskAttribute", {})


def get_family(name: str) -> Family:
    """Return the family called ``name``: the ``FAMILY`` of ``envs/<name>.py`` or of a plug-in's module.

    Raises:
        InputError: there is no such family, or the plug-in that should bring it fails; the message names it.
    """
    family = getattr(plugins.load("family", name), "FAMILY", None)
    if not NAME.fullmatch(name):
        raise InputError(
            f"family '{shortened(name)}': expected a name of lower-case letters, digits and underscores; rename its "
            "entry point"
        )
    if not isinstance(family, Family):
        raise InputError(
            f"family '{name}': expected FAMILY = Family(...) in its module {_module(name)}, found "
            f"{type(family).__name__}"
        )
    if family.name != name:
        raise InputError(
            f"family '{name}': its module {_module(name)} calls the family '{shortened(family.name)}'; expected the "
            "same name there and in the entry point"
        )
    return family


def _module(name: str) -> str:
    return plugins.load("family", name).__name__


class Families(Mapping[str, Family]):
    """The families of this package by name, without plug-ins; each is imported when it is asked for."""

    def __getitem__(self, name: str) -> Family:
        if name not in self:
            raise KeyError(name)
        return get_family(name)

    def __contains__(self, name: object) -> bool:
        return name in _built_in()

    def __iter__(self) -> Iterator[str]:
        return iter(_built_in())

    def __len__(self) -> int:
        return len(_built_in())


def _built_in() -> list[str]:
    return [name for name in plugins.names("family") if not plugins.is_plugin("family", name)]


FAMILIES = Families()


class FamilySpec(EnvSpec):
    """Gymnasium's record of a family's environment, which imports the family when its episode length is asked for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.family: str = self.kwargs["family"]  # gymnasium.make_vec empties kwargs

    @property
    def max_episode_steps(self) -> int | None:
        """Steps after which ``gymnasium.make`` truncates episodes: the family's, unless another number was set."""
        given: int | None = self.__dict__.get("limit")
        return get_family(self.family).episode_length if given is None else given

    @max_episode_steps.setter
    def max_episode_steps(self, steps: int | None) -> None:
        self.__dict__["limit"] = steps


def register() -> None:
    """Register every family with gymnasium, plug-ins included; none is imported, so none can break the others."""
    for name in plugins.names("family"):
        if NAME.fullmatch(name) and gym_id(name) not in gym.registry:
            gym.registry[gym_id(name)] = FamilySpec(
                id=gym_id(name),
                entry_point=ENTRY_POINT,
                kwargs={"family": name},
                additional_wrappers=(TASK_WRAPPER,),
            )
