"""Links to plug-ins stand where the engines look for code, lead to the plug-in's package, and are unseen by git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from metadiffuser.config import plugins
from metadiffuser.pipeline import dag, links


class Chosen:
    """The two lists of the parameters that links depend on."""

    def __init__(self, families: list[str], baselines: list[str]):
        self.families, self.baselines = families, baselines


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folders with git, and the package of a method ``nearest``."""
    package = tmp_path / "elsewhere" / "mine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "nearest.py").write_text("STEP = 1\n")
    project = tmp_path / "project"
    for folder in plugins.FOLDERS.values():
        (project / dag.PACKAGE / folder).mkdir(parents=True)
    (project / dag.PACKAGE / "baselines" / "bc.py").write_text("")
    subprocess.run(["git", "init", "--quiet", str(project)], check=True)
    monkeypatch.chdir(project)
    monkeypatch.setattr(plugins, "is_plugin", lambda kind, name: (kind, name) == ("method", "nearest"))
    monkeypatch.setattr(plugins, "source", lambda kind, name: package)
    return package


def link(families: list[str], baselines: list[str]) -> None:
    links.link_plugins(Chosen(families, baselines))  # type: ignore[arg-type]


def test_the_plugin_in_use_is_linked_and_its_files_are_the_jobs_code(plugin: Path) -> None:
    link(["point_robot"], ["bc", "nearest"])
    path = Path(dag.PACKAGE, "baselines", "nearest.py")
    assert path.is_symlink()
    assert path.resolve() == plugin
    assert not Path(dag.PACKAGE, "baselines", "bc.py").is_symlink()
    assert dag.source_files(["baselines/nearest.py"]) == [str(path / "__init__.py"), str(path / "nearest.py")]


def test_git_does_not_see_the_link(plugin: Path) -> None:
    link([], ["nearest"])
    link([], ["nearest"])
    listed = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], capture_output=True, text=True, check=True
    ).stdout
    assert "nearest" not in listed
    assert "bc.py" in listed
    assert Path(".git/info/exclude").read_text().count("nearest") == 1


def test_a_link_to_a_plugin_that_moved_is_renewed_and_one_to_nothing_removed(plugin: Path) -> None:
    path, gone = Path(dag.PACKAGE, "baselines", "nearest.py"), Path(dag.PACKAGE, "envs", "pendulum.py")
    path.symlink_to(plugin.parent)
    gone.symlink_to(plugin.parent / "nowhere")
    link([], ["nearest"])
    assert path.resolve() == plugin
    assert not gone.is_symlink()
