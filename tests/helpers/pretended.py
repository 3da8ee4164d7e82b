"""A function in place of a stage."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest


def pretend(monkeypatch: pytest.MonkeyPatch, stage: str, action: object) -> None:
    """Put a function in place of a stage."""
    module = ModuleType(f"metadiffuser.stages.{stage}")
    module.run = action  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
