"""What is added to the project or brought by another package works in both engines, and costs one file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Project, copy_project
from tests.helpers.stubbed import stubbed_copy

pytestmark = pytest.mark.engine

EXAMPLE = ROOT / "examples" / "pendulum"
SMALL = """
extends: smoke
preset: small
families: [pendulum]
baselines: [bc, nearest]
tasks: {train: 3, test: 2}
baseline:
  nearest: {steps: 20, memory: 128}
"""


def install(source: Path, site: Path) -> None:
    """Install a package into a folder, from its sources alone and from a copy of them: pip builds where they lie."""
    copy = shutil.copytree(source, site.with_name("source"))
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example installed, which programs that the test starts import from."""
    folder = tmp_path / "site"
    install(EXAMPLE, folder)
    usual = Project.environment

    def environment(self: Project) -> dict[str, str]:
        variables = usual(self)
        return {**variables, "PYTHONPATH": f"{variables['PYTHONPATH']}{os.pathsep}{folder}"}

    monkeypatch.setattr(Project, "environment", environment)
    return folder


def verb(project: Project, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the real command line, whatever program is first on the path."""
    return project.run(sys.executable, "-m", "metadiffuser.cli", *words, check=check)


def test_a_method_a_family_a_table_and_a_figure_cost_one_file_each(tmp_path: Path) -> None:
    project = stubbed_copy(tmp_path / "project", "smoke")
    project.run("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qam", "smoke")
    package = project.root / "src" / "metadiffuser"
    method = (package / "baselines" / "bc.py").read_text()
    (package / "baselines" / "mine.py").write_text(
        method.replace('title="', 'title="My ').replace("#0D9488", "#0D9400")
    )
    family = (package / "envs" / "point_robot.py").read_text()
    family = family.replace('name="point_robot"', 'name="my_family"').replace("Point-Robot", "My family")
    (package / "envs" / "my_family.py").write_text(family)
    (package / "reporting" / "tables" / "mine.py").write_text(
        "from metadiffuser.reporting.evidence import Evidence\n"
        "from metadiffuser.reporting.registry import table\n\n\n"
        '@table("my_table", title="Mine", section="Main result")\n'
        "def mine(evidence: Evidence) -> None:\n    return None\n"
    )
    (package / "reporting" / "figures" / "mine.py").write_text(
        "from metadiffuser.reporting.evidence import Evidence\n"
        "from metadiffuser.reporting.registry import figure\n\n\n"
        '@figure("my_figure", title="Mine", section="Main result")\n'
        "def mine(evidence: Evidence) -> None:\n    return None\n"
    )
    added = project.run("git", "status", "--porcelain", "-uall").stdout.splitlines()
    assert len([line for line in added if "/.stub/" not in line and not line.endswith("metadiffuser")]) == 4, added

    (project.root / "mine.yaml").write_text(
        "extends: smoke\npreset: small\nfamilies: [point_robot, my_family]\nbaselines: [mine]\n"
    )
    verb(project, "use", "mine.yaml")
    assert "mine" in verb(project, "schema").stdout
    project.snakemake()
    ran = set(project.ran())
    assert {"train_baseline@small-my_family-mine-0", "evaluate_baseline@small-point_robot-mine-0"} <= ran
    assert project.waiting("snakemake") == project.waiting("dvc") == set()
    listing = (
        "from metadiffuser.reporting.registry import FIGURE, TABLE, entries\n"
        "print([entry.name for entry in entries(TABLE, FIGURE)])"
    )
    shown = project.run(sys.executable, "-c", listing).stdout
    assert "'my_table'" in shown
    assert "'my_figure'" in shown


def test_an_edit_of_a_plugin_makes_the_same_jobs_stale_in_both_engines(tmp_path: Path, site: Path) -> None:
    project = stubbed_copy(tmp_path / "project", "smoke")
    other = SMALL.replace("[pendulum]", "[pendulum, point_robot]")
    (project.root / "small.yaml").write_text(other)
    verb(project, "use", "small.yaml")
    project.snakemake()
    assert project.waiting("snakemake") == project.waiting("dvc") == set()
    assert "nearest" not in project.run("git", "status", "--porcelain", "-uall", "src").stdout

    source = site / "metadiffuser_pendulum" / "nearest.py"
    source.write_text(source.read_text() + "\nEDITED = True\n")
    stale = project.waiting("dvc")
    assert project.waiting("snakemake") == stale
    # Family and method are in one package, so both kinds of jobs are made anew; other methods and families are not.
    assert "train_baseline@small-point_robot-nearest-0" in stale
    assert "train_behaviour@small-pendulum-0" in stale
    assert "train_baseline@small-point_robot-bc-0" not in stale
    assert "train_behaviour@small-point_robot-0" not in stale
    project.snakemake()
    assert project.waiting("snakemake") == project.waiting("dvc") == set()


def test_a_plugin_that_fails_to_import_is_named_in_one_sentence(tmp_path: Path, site: Path) -> None:
    project = stubbed_copy(tmp_path / "project", "smoke")
    (project.root / "small.yaml").write_text(SMALL)
    (site / "metadiffuser_pendulum" / "nearest.py").write_text("import nothing_of_this_name\n")
    done = verb(project, "use", "small.yaml", check=False)
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert "method 'nearest'" in sentence
    assert "metadiffuser_pendulum.nearest" in sentence
    assert "No module named 'nothing_of_this_name'" in sentence


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["snakemake", "dvc"])
def test_the_example_runs_from_data_to_report(tmp_path: Path, site: Path, engine: str) -> None:
    project = copy_project(tmp_path / "project")
    (project.root / "small.yaml").write_text(SMALL)
    verb(project, "use", "small.yaml")
    project.run(*(("snakemake", "--cores", "2", "all") if engine == "snakemake" else ("dvc", "repro")))
    table = (project.root / "results" / "small" / "tables" / "table1_few_shot.csv").read_text()
    assert "Nearest" in table
    assert "Pendulum" in table
    assert (project.root / "results" / "small" / "report.html").stat().st_size > 10_000
    other = "dvc" if engine == "snakemake" else "snakemake"
    if other == "dvc":
        assert "up to date" in project.run("dvc", "status").stdout
    else:
        assert "Nothing to be done" in project.run("snakemake", "--cores", "1", "--dry-run", "all").stdout
