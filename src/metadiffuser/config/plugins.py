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
    return (*_built_in(kind), *sorted(_entry_points(kind)))


def is_plugin(kind: Kind, name: str) -> bool:
    """Return whether ``name`` comes from another package."""
    return name in _entry_points(kind)


def load(kind: Kind, name: str) -> ModuleType:
    """Import and return the module of a method or family.

    Raises:
        InputError: there is no such name, or a plug-in fails to import; the message names the plug-in and the cause.
    """
    if name in _built_in(kind):
        return importlib.import_module(f"metadiffuser.{FOLDERS[kind]}.{name}")
    entry = _plugin(kind, name)
    try:
        return importlib.import_module(entry.module)
    except Exception as error:
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
        InputError: there is no such name, or the plug-in's module cannot be found.
    """
    if name in _built_in(kind):
        return PACKAGE / FOLDERS[kind] / f"{name}.py"
    entry = _plugin(kind, name)
    top = entry.module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise InputError(
            f"{kind} '{name}': the plug-in module {entry.module}{_distribution(entry)} is not found; install "
            "that package again or uninstall it"
        )
    origin = Path(spec.origin)
    return origin.parent if spec.submodule_search_locations else origin


def _plugin(kind: Kind, name: str) -> EntryPoint:
    plugins = _entry_points(kind)
    if name not in plugins:
        raise InputError(f"unknown {kind} '{name}'{nearest(name, names(kind))}")
    return plugins[name]


def _distribution(entry: EntryPoint) -> str:
    return f" (of {entry.dist.name})" if entry.dist else ""


@cache
def _built_in(kind: Kind) -> tuple[str, ...]:
    files = (PACKAGE / FOLDERS[kind]).glob("[a-z]*.py")
    return tuple(sorted(path.stem for path in files if not path.is_symlink()))


@cache
def _entry_points(kind: Kind) -> dict[str, EntryPoint]:
    found = {entry.name: entry for entry in entry_points(group=GROUPS[kind])}
    return {name: entry for name, entry in found.items() if name not in _built_in(kind)}
