"""What several test files share: the rule for missing tools, and a scratch copy of the project."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # tiny networks: threads would only wait for each other

ROOT = Path(__file__).resolve().parents[1]


def require(name: str, reason: str) -> None:
    """Skip the test if a program, Python module or shared library is missing; in CI, fail it.

    Args:
        name: a program (``chromium``), a module (``playwright``) or a library (``EGL``).
        reason: what it is needed for, and the package that brings it.
    """
    module = name.isidentifier() and importlib.util.find_spec(name)
    if module or shutil.which(name) or ctypes.util.find_library(name):
        return
    message = f"{name} is missing: {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def whole(preset: str = "smoke", presets: Path = ROOT / "presets") -> str:
    """The whole params.yaml of a preset, as 'metadiffuser use' writes it."""
    from metadiffuser.config.loading import load
    from metadiffuser.config.writing import to_yaml

    return to_yaml(load(presets / f"{preset}.yaml"))


def put_in_force(root: Path, preset: str = "smoke") -> None:
    """Write params.yaml in ``root`` from a preset: the folder's own, or else this checkout's."""
    presets = root / "presets" if (root / "presets").is_dir() else ROOT / "presets"
    (root / "params.yaml").write_text(whole(preset, presets), encoding="utf-8")


@dataclass(frozen=True)
class Project:
    """A scratch copy of the project that commands run in."""

    root: Path

    def environment(self) -> dict[str, str]:
        """The variables that commands see: the copy's code, this environment's programs."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.root / "src"),
            "DVC_NO_ANALYTICS": "true",
        }

    def run(self, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy; output is captured."""
        environment = {**self.environment(), **variables}
        done = subprocess.run(command, cwd=self.root, env=environment, text=True, capture_output=True, check=False)
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done


def copy_project(target: Path) -> Project:
    """Copy what git would commit to ``target`` and commit it there; results, their record and models stay behind."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        source = ROOT / name
        if (source.is_file() or source.is_symlink()) and not name.startswith(("results/", "pretrained/", "dvc.lock")):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)
    project = Project(target)
    project.run("git", "init", "--quiet")
    project.run("git", "add", "--all")
    project.run("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "--quiet", "-m", "copy")
    return project


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the tests of the engines: their files are the longest, and no core should wait for the last one."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is None)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A scratch copy of the project with the smoke preset in force."""
    copy = copy_project(tmp_path / "project")
    put_in_force(copy.root)
    return copy
