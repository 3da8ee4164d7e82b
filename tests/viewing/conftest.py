"""With an OpenGL library, or without one."""

from __future__ import annotations

import os

import pytest

from metadiffuser.envs.shared import gl


@pytest.fixture
def opengl() -> None:
    if gl.backend() is None:
        assert os.environ.get("CI") != "true", gl.REMEDY
        pytest.skip(gl.REMEDY)


@pytest.fixture
def no_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gl, "backend", lambda: None)
