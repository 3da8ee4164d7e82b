"""A project in which tiny models of two families are published."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from metadiffuser import cli
from tests.helpers.published import PRESET, make_run


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after ``metadiffuser publish``; not to be changed."""
    root = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        make_run(root, "point_robot", "cheetah_vel")
        assert cli.main(["publish", "--preset", PRESET]) == 0
    return root


@pytest.fixture
def clone(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project without artifacts and results, as the current folder."""
    for name in ("presets", "pretrained"):
        shutil.copytree(published / name, tmp_path / name)
    shutil.copy(published / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
