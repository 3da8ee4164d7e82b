"""Methods and families by name: one file each inside the package, or a module of another package's entry points.

A package of your own adds a method or a family without a change in this project::

    [project.entry-points."metadiffuser.methods"]
    nearest = "my_package.nearest"

    [project.entry-points."metadiffuser.families"]
    pendulum = "my_package.pendulum"

The names are known without importing anything; a module is imported when it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal

from metadiffuser.errors import InputError, nearest

Kind = Literal["method", "family"]

GROUPS: dict[Kind, str] = {"method": "metadiffuser.methods", "family": "metadiffuser.families"}
FOLDERS: dict[Kind, str] = {
    "method": "baselines",
    "family": "envs",
}  # below the package: a file is named after what it holds
PACKAGE = Path(__file__).parents[1]


def names(kind: Kind) -> tuple[str, ...]:
    """Return every name of a kind, those of the package first, each part sorted."""
    return (*_built_in(kind), *sorted(_entry_points(kind).keys() - set(_built_in(kind))))


def is_plugin(kind: Kind, name: str) -> bool:
    """Return whether ``name`` comes from another package."""
    return name in _entry_points(kind) and name not in _built_in(kind)


def load(kind: Kind, name: str) -> ModuleType:
    """Import and return the module of a method or family.

    Raises:
        InputError: there is no such name, or more than one, or a plug-in fails to import; the message names the
            plug-in and the cause.
    """
    if _is_built_in(kind, name):
        return importlib.import_module(f"metadiffuser.{FOLDERS[kind]}.{name}")
    entry = _plugin(kind, name)
    try:
        return importlib.import_module(entry.module)
    except (Exception, SystemExit) as error:  # a script without a main guard may end the program
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{kind} '{name}': the plug-in module {entry.module}{_distribution(entry)} fails to import: "
            f"{type(error).__name__}: {reason}; correct it or uninstall it"
        ) from None


def source(kind: Kind, name: str) -> Path:
    """Return the file or folder whose edit makes the jobs of a method or family stale.

    For a name inside the package that is its file. For a plug-in it is the whole package that its module belongs to,
    or the module's own file where it belongs to none; nothing is imported.

    Raises:
        InputError: there is no such name, or more than one, or the plug-in's module cannot be found.
    """
    if _is_built_in(kind, name):
        return PACKAGE / FOLDERS[kind] / f"{name}.py"
    entry = _plugin(kind, name)
    top = entry.module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    found = None
    if spec is not None and spec.origin is not None:
        found = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
    elif spec is not None:  # a namespace, which several packages share
        found = _below_namespace(map(Path, spec.submodule_search_locations or ()), entry.module.split(".")[1:])
    if found is None:
        raise InputError(
            f"{kind} '{name}': the plug-in module {entry.module}{_distribution(entry)} is not found; install "
            "that package again or uninstall it"
        )
    return found


def _below_namespace(folders: Iterable[Path], parts: Sequence[str]) -> Path | None:
    """Return the outermost package on the way to a module below a namespace, or the module's file; None if missing."""
    for folder in folders:
        place = folder
        for part in parts:
            place /= part
            if (place / "__init__.py").is_file():
                return place
        if place.with_name(f"{place.name}.py").is_file():
            return place.with_name(f"{place.name}.py")
    return None


def _is_built_in(kind: Kind, name: str) -> bool:
    """Return whether a name is the project's own. Raises ``InputError`` if more than one thing has it."""
    own, others = name in _built_in(kind), _entry_points(kind).get(name, [])
    if own + len(others) > 1:
        named = ["the project's own"] if own else []
        named += [f"{entry.module}{_distribution(entry)}" for entry in others]
        raise InputError(f"{kind} '{name}': several have this name: {', '.join(named)}; rename or uninstall a plug-in")
    return own


def _plugin(kind: Kind, name: str) -> EntryPoint:
    plugins = _entry_points(kind)
    if name not in plugins:
        raise InputError(f"unknown {kind} '{name}'{nearest(name, names(kind))}")
    return plugins[name][0]


def _distribution(entry: EntryPoint) -> str:
    return f" (of {entry.dist.name})" if entry.dist else ""


@cache
def _built_in(kind: Kind) -> tuple[str, ...]:
    files = (PACKAGE / FOLDERS[kind]).glob("[a-z]*.py")
    return tuple(sorted(path.stem for path in files if not path.is_symlink()))


@cache
def _entry_points(kind: Kind) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for entry in dict.fromkeys(entry_points(group=GROUPS[kind])):
        found.setdefault(entry.name, []).append(entry)
    return found
