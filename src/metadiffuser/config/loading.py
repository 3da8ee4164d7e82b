"""Reading ``params.yaml``: every mistake in it becomes one ``InputError`` that names the key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from metadiffuser.config import checked
from metadiffuser.config.consistency import inconsistencies
from metadiffuser.config.inheritance import KEY as EXTENDS
from metadiffuser.config.inheritance import PRESETS, all_listed, extended, in_force, resolved, whole_chain
from metadiffuser.config.params import CHECKED, Params, sentence
from metadiffuser.errors import InputError, shortened

PARAMS = Path("params.yaml")
RESTORED = "'git checkout -- {}' restores the committed one"  # of presets
READABLE = "check its path, its permissions and its encoding"
IN_FORCE = "run from the project's root, or 'metadiffuser use quick'"
LARGEST = 1 << 16  # characters, several times params.yaml's: YAML is slow to read

# Words that are not strings. YAML 1.1, which PyYAML implements, also has 'yes', 017 (octal), 1:30 (in base sixty), and
# reads 1e-3 as a string; DVC follows YAML 1.2. What the two would read as different values stays a string here, and is
# refused where a number or a boolean is expected.
_WORDS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "int": (r"[-+]?(0|[1-9][0-9]{0,39})", "-+0123456789"),
    "float": (
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "timestamp": (r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "0123456789"),
    "merge": (r"<<", "<"),
}


class StrictLoader(yaml.SafeLoader):
    """YAML's safe subset, read as DVC reads it, without aliases; repeated keys are refused."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse an alias: a few of them, nested, stand for more values than there is memory."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise InputError(f"line {event.start_mark.line + 1}: alias '*{event.anchor}'; write the value out")
        return super().compose_node(parent, index)


StrictLoader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _WORDS.items():
    StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.tag != "tag:yaml.org,2002:str":
            shown = shortened(key.value) if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
            raise InputError(f"line {line}: expected a word as key, got {shown}")
        if key.value in seen:
            raise InputError(f"key '{shortened(key.value)}' stands twice (line {line}); remove one")
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _tree(text: str, source: str) -> object:
    if len(text) > LARGEST:
        raise InputError(f"{source}: longer than {LARGEST} characters; 'metadiffuser use' writes a shorter one")
    try:
        return yaml.load(text, Loader=StrictLoader)  # noqa: S506 - a SafeLoader with a stricter mapping
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error) or "nested too deeply"
        raise InputError(f"{source}: not valid YAML{where}: {shortened(str(problem).splitlines()[0], 200)}") from None


def read_text(path: Path, remedy: str) -> str:
    """Return the text of a parameter file. Raises ``InputError`` with the remedy if it cannot be read."""
    try:
        if path.exists() and not path.is_file():
            raise OSError(0, "not a file")  # a pipe or a device could be read for ever
        with path.open(encoding="utf-8-sig") as stream:  # with or without a byte order mark, as some editors write
            return stream.read(LARGEST + 1)
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None


def parse(text: str, source: str = "params.yaml") -> Params:
    """Check the text of a whole parameter file. Raises ``InputError`` with one sentence."""
    return check(_tree(text, source), source)


def check(tree: object, source: str = "params.yaml") -> Params:
    """Check what a whole parameter file holds: no key may be missing, but for overrides.

    Raises:
        InputError: a mistake, in one sentence that names the key.
    """
    params = _validated(tree, source)
    if isinstance(tree, dict):
        for key in _missing(params.model_dump(exclude={"overrides"}), tree):
            raise InputError(f"{source}: key '{key}' is missing; 'metadiffuser use {source}' adds it with its default")
    return _consistent(params, source)


def complete(tree: object, source: str) -> Params:
    """Check what a parameter file holds, with defaults for the keys that it leaves out.

    Raises:
        InputError: a mistake, in one sentence that names the key.
    """
    return _consistent(_validated(tree, source), source)


def _validated(tree: object, source: str) -> Params:
    if not isinstance(tree, dict):
        raise InputError(f"{source}: expected a mapping of sections, got {type(tree).__name__}")
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{source}: {sentence(error, '', Params)}") from None


def _consistent(params: Params, source: str) -> Params:
    for inconsistency in inconsistencies(params):
        raise InputError(f"{source}: {inconsistency}")
    return params


def _missing(full: Mapping[str, Any], tree: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the dotted keys of ``full`` that ``tree`` does not have."""
    for name, value in full.items():
        if name not in tree:
            yield f"{above}{name}"
        elif isinstance(value, dict):
            yield from _missing(value, tree[name], f"{above}{name}.")


def load(path: Path | str = PARAMS) -> Params:
    """Read and check a parameter file: ``params.yaml``, which is whole, or a preset, which says what differs.

    Raises:
        InputError: a mistake, in one sentence that names file and key.
    """
    path = Path(path)
    if path.name != PARAMS.name:
        return load_partial(path)
    text = read_text(path, IN_FORCE)  # DVC reads it as it is
    if path == PARAMS and (known := checked.recall(text)) is not None:
        with suppress(ValidationError):
            return Params.model_validate(known, context=CHECKED)
    tree = _mapping_of(text, str(path))
    if EXTENDS in tree:
        raise InputError(f"{path}: '{EXTENDS}' is for presets; 'metadiffuser use {path}' writes the file whole")
    params = check(tree, str(path))
    if path == PARAMS:
        checked.remember(text, params.model_dump())
    return params


def how_to_run(preset: str) -> str:
    """Return the commands that run a preset, as part of a sentence: if it is not in force it has to be put there."""
    try:
        in_force = load().preset
    except InputError:
        in_force = ""
    first = "" if preset == in_force else f"'metadiffuser use {preset}', then "
    return f"{first}'snakemake --cores all all'"


def load_partial(path: Path) -> Params:
    """Read and check a parameter file that says what differs from defaults, or from the preset that it extends.

    Raises:
        InputError: a mistake, in one sentence that names file and key.
    """
    trees: dict[Path, dict[str, Any]] = {}

    def read(each: Path) -> dict[str, Any]:
        if each not in trees:
            trees[each] = read_tree(each, RESTORED.format(each) if each.parent == PRESETS else READABLE)
        return trees[each]

    for each in reversed(extended(path, read)):  # a mistake in one of these is its own
        complete(resolved(each, read), str(each))
    tree = whole_chain(path, read)
    params = complete(in_force(tree), str(path))
    _validated(all_listed(tree), str(path))
    return params


def read_tree(path: Path, remedy: str = "run from the project's root, or name another file") -> dict[str, Any]:
    """Read a YAML file strictly: a mapping without repeated keys or aliases. Raises ``InputError``."""
    return _mapping_of(read_text(path, remedy), str(path))


def _mapping_of(text: str, source: str) -> dict[str, Any]:
    tree = _tree(text, source)
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else type(tree).__name__
        raise InputError(f"{source}: expected a mapping of sections, got {found}")
    return tree
