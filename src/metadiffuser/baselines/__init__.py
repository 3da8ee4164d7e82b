"""The baselines: one file for each method, named after it, with the same six headings (docs/extending.md).

A method's file holds its parameters, title, networks, loss, training and acting. It imports ``baselines.shared``,
``data``, ``envs``, ``context`` and ``training``, never another method or the planner, so that an edit of one method
re-runs only that method's jobs. Other packages add methods by entry points (``config.plugins``).
"""

from __future__ import annotations

from typing import cast

from metadiffuser.baselines.shared.interface import Method
from metadiffuser.config import plugins


def get_method(name: str) -> Method:
    """Return the module of a method, imported now.

    Raises:
        InputError: there is no such method, or its plug-in fails to import.
    """
    return cast(Method, plugins.load("method", name))
