"""The rivals: one file a method, named after it, each with the same six headings (docs/extending.md).

Method files import ``baselines.shared``, ``data``, ``envs``, ``context`` and ``training``, never each other and never
the planner, so that editing one method re-runs that method's jobs alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast, get_args

from metadiffuser.baselines.shared.interface import Method
from metadiffuser.config.schema import BaselineName

METHODS: tuple[str, ...] = get_args(BaselineName)


def get_method(name: str) -> Method:
    """Return the module of a method: ``Model``, ``train`` and ``adapt``. Raises ``KeyError`` for an unknown name."""
    if name not in METHODS:
        raise KeyError(f"no baseline {name!r}; there are {', '.join(METHODS)}")
    return cast(Method, import_module(f"metadiffuser.baselines.{name}"))
