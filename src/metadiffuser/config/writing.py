"""Writing ``params.yaml``: every key with its value, and above it a comment of one line that says what it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel

from metadiffuser.config.loading import Loader
from metadiffuser.config.params import Params

HEADER = """\
# The parameters in force, as both engines read them. Written by 'metadiffuser use PRESET'; edit any value.
# 'metadiffuser use params.yaml' adds the keys that are missing.
"""
STEP = 2  # spaces


class _Dumper(yaml.SafeDumper):
    """Quotes every string that YAML 1.1 or our reader, which follows YAML 1.2, takes for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write out what stands in several places: aliases are refused in parameter files."""
        return True


_Dumper.yaml_implicit_resolvers = {
    first: [
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
        *Loader.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *Loader.yaml_implicit_resolvers}
}


def to_yaml(params: Params) -> str:
    """Return the whole text of the parameter file; the same parameters give the same text."""
    lines = HEADER.split("\n")
    for name, field in Params.model_fields.items():
        value = getattr(params, name)
        about = field.description or _summary(type(value))
        nested = isinstance(value, BaseModel | dict)
        lines += ["", f"# {about}"] if nested else [f"# {about}"]
        match name:
            case "baseline":
                lines += ["baseline:", *_methods(params)]
            case "overrides":
                lines += ["overrides:", *_overrides(params)]
            case _:
                lines += _entry(name, value, 0)
    return "\n".join(lines) + "\n"


def _methods(params: Params) -> Iterator[str]:
    pad = " " * STEP
    for name in params.baselines:
        section = params.baseline[name]
        yield f"{pad}# {_summary(type(section))}"
        yield from _entry(name, section, STEP)


def _overrides(params: Params) -> Iterator[str]:
    for family in params.families:
        yield f"{' ' * STEP}{family}:"
        for name, value in params.overrides[family].items():
            if name != "baseline":
                yield f"{' ' * 2 * STEP}{name}: {_inline(value)}"
        yield f"{' ' * 2 * STEP}baseline:"
        for name in params.baselines:
            yield f"{' ' * 3 * STEP}{name}: {_inline(params.overrides[family]['baseline'][name])}"


def _entry(name: str, value: Any, depth: int) -> Iterator[str]:
    """Yield a key with its value: a section as a block, a list of sections as a list of one line each."""
    pad = " " * depth
    if isinstance(value, BaseModel):
        yield f"{pad}{name}:"
        dumped = value.model_dump()
        for key, field in type(value).model_fields.items():
            if key in dumped:  # not an optional one without a value
                yield f"{pad}{' ' * STEP}# {field.description}"
                yield from _entry(key, getattr(value, key), depth + STEP)
    elif isinstance(value, list) and value and all(isinstance(each, BaseModel) for each in value):
        yield f"{pad}{name}:"
        yield from (f"{pad}{' ' * STEP}- {_inline(each.model_dump())}" for each in value)
    else:
        yield f"{pad}{name}: {_inline(value)}"


def _inline(value: Any) -> str:
    text = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, width=math.inf, sort_keys=False, allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _summary(section: type[Any]) -> str:
    """Return the first line of a section's docstring, without its marks of code and full stop."""
    return (section.__doc__ or section.__name__).split("\n")[0].replace("``", "").removesuffix(".")
