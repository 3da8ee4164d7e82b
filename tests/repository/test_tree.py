"""The tree: what a reader sees first is small, and no file is too long to hold in the head."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "metadiffuser"
SOURCES = [path for name in ("src", "tests", "examples") for path in sorted((ROOT / name).rglob("*.py"))]
MOST_MODULES = 10  # at the package's root
MOST_LINES = 350
MOST_STAGE_LINES = 60
MOST_PRESET_LINES = 450  # of all presets together
MOST_README_WORDS = 1200


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_packages_root_is_small() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_MODULES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sources_are_short(path: Path) -> None:
    assert lines(path) <= (MOST_STAGE_LINES if path.parent == PACKAGE / "stages" else MOST_LINES)


def test_presets_are_differences() -> None:
    presets = sorted((ROOT / "presets").glob("*.yaml"))
    assert len(presets) >= 6
    assert sum(map(lines, presets)) <= MOST_PRESET_LINES
    assert not [path.name for path in [*presets, ROOT / "params.yaml"] if "{}" in path.read_text(encoding="utf-8")]


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"\S+", text)) <= MOST_README_WORDS


def test_tests_lie_in_folders_that_mirror_the_package() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    folders = {path.name for path in (ROOT / "tests").iterdir() if (path / "__init__.py").is_file()}
    assert folders <= packages | {"engines", "repository", "helpers"}
    assert packages - folders == {"stages"}, "stages are tested where their work is done"
    assert {path.name for path in (ROOT / "tests").glob("*.py")} == {"__init__.py", "conftest.py", "mutants.py"}
