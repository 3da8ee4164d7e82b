"""Reading ``params.yaml``: every mistake in it becomes one ``InputError`` that names the key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from metadiffuser.config import Params, sentence
from metadiffuser.errors import InputError


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, with floats such as 1e-3 read as numbers and repeated keys refused."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.tag != "tag:yaml.org,2002:str":
            shown = key.value if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
            raise InputError(f"line {line}: expected a word as key, got {shown}")
        if key.value in seen:
            raise InputError(f"key '{key.value}' stands twice (line {line}); remove one")
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _tree(text: str, source: str) -> dict[str, Any]:
    try:
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with a stricter mapping
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error) or "nested too deeply"
        raise InputError(f"{source}: not valid YAML{where}: {str(problem).splitlines()[0][:200]}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{source}: expected a mapping of sections, got {type(tree).__name__}")
    return tree


def _text(path: Path, remedy: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{path}: cannot be read ({reason}); {remedy}") from None


def parse(text: str, source: str = "params.yaml") -> Params:
    """Check the text of a parameter file. Raises ``InputError`` with one sentence."""
    tree = _tree(text, source)
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{source}: {sentence(error, '', Params)}") from None


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check a parameter file. Raises ``InputError`` with one sentence."""
    path = Path(path)
    return parse(_text(path, "run from the project's root, or 'metadiffuser use quick'"), str(path))


def read_tree(path: Path) -> dict[str, Any]:
    """Read another YAML file, as strictly: a mapping without repeated keys. Raises ``InputError``."""
    return _tree(_text(path, "run from the project's root, or name another file"), str(path))


def schema() -> dict[str, Any]:
    """Return the JSON schema of the parameter file."""
    return Params.model_json_schema()
