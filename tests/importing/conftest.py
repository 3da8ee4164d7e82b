"""Somebody's data as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.foreign import write_foreign


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_foreign(tmp_path / "data")
    return tmp_path / "data"
