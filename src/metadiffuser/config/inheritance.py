"""Presets as differences: a file says ``extends: NAME`` and what differs from the preset of that name.

Mappings merge key by key; all else, lists included, replaces what stood there. The word ``none`` in place of the
overrides of a section removes those of the preset below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from metadiffuser.config import plugins
from metadiffuser.errors import InputError, nearest, shortened

PRESETS = Path("presets")
KEY = "extends"

Read = Callable[[Path], dict[str, Any]]


def extended(path: Path, read: Read) -> list[Path]:
    """Return the files of the chain that ``path`` extends, the nearest first.

    Args:
        path: a parameter file. Presets extend others of their own folder; any other file extends one of presets/.
        read: returns what a file holds.

    Raises:
        InputError: a file extends what is no preset, or, through others, itself.
    """
    folder = path.parent if path.parent.name == PRESETS.name else PRESETS
    chain = [path]
    while (name := read(chain[-1]).get(KEY)) is not None:
        presets = sorted(each.stem for each in folder.glob("*.yaml"))
        if name not in presets:
            hint = nearest(shortened(str(name)), presets)
            raise InputError(f"{chain[-1]}: '{KEY}' is {shortened(repr(name))}, which is not a preset{hint}")
        chain.append(folder / f"{name}.yaml")
        if chain[-1] in chain[:-1]:
            names = " -> ".join(each.stem for each in chain)
            raise InputError(f"{path}: '{KEY}' leads in a circle ({names}); remove it from one of these files")
    return chain[1:]


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two trees as one: values of ``above`` replace those of ``below``, mappings merge."""
    both = dict(below)
    for key, value in above.items():
        former = both.get(key)
        both[key] = merged(former, value) if isinstance(former, dict) and isinstance(value, dict) else value
    return both


def whole_chain(path: Path, read: Read) -> dict[str, Any]:
    """Return what a parameter file says together with all that it extends.

    Raises:
        InputError: as of ``extended``.
    """
    tree: dict[str, Any] = {}
    for each in reversed([path, *extended(path, read)]):
        tree = merged(tree, read(each))
    tree.pop(KEY, None)
    return tree


def resolved(path: Path, read: Read) -> dict[str, Any]:
    """Return ``whole_chain`` without what is not in force."""
    return in_force(whole_chain(path, read))


def all_listed(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a tree that lists every installed method and family of which it has a section or overrides.

    What ``in_force`` leaves out of it can so be checked as well: a mistake there shows once the name is listed.
    """
    overrides = [part for part in _mapping(tree.get("overrides")).values() if isinstance(part, dict)]
    sections = [_mapping(part.get("baseline")) for part in (tree, *overrides)]
    named = {
        "baselines": {name for each in sections for name in each},
        "families": set(_mapping(tree.get("overrides"))),
    }
    kinds: tuple[tuple[str, plugins.Kind], ...] = (("baselines", "method"), ("families", "family"))
    both = dict(tree)
    for key, kind in kinds:
        both[key] = [*tree.get(key, []), *sorted(_others(tree, key, kind) & named[key])]
    return both


def _mapping(node: Any) -> dict[str, Any]:
    return node if isinstance(node, dict) else {}


def in_force(tree: dict[str, Any]) -> dict[str, Any]:
    """Leave out sections and overrides of installed methods and families that the tree does not list.

    A preset can so say how large a method is that only presets which extend it run. What is no name at all stays, and
    is refused with the rest.
    """
    methods = _others(tree, "baselines", "method")
    overrides = _without(tree.get("overrides"), _others(tree, "families", "family"))
    if isinstance(overrides, dict):
        overrides = {
            family: sections | {"baseline": _without(sections["baseline"], methods)}
            if isinstance(sections, dict) and "baseline" in sections
            else sections
            for family, sections in overrides.items()
        }
    parts = {"baseline": _without(tree.get("baseline"), methods), "overrides": overrides}
    return tree | {key: value for key, value in parts.items() if key in tree}


def _others(tree: Mapping[str, Any], key: str, kind: plugins.Kind) -> set[str]:
    listed = tree.get(key)
    return {name for name in plugins.names(kind) if isinstance(listed, list) and name not in listed}


def _without(node: Any, names: set[str]) -> Any:
    return {key: value for key, value in node.items() if key not in names} if isinstance(node, dict) else node
