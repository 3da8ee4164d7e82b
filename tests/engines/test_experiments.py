"""DVC's experiments on this DAG: run, shown, compared and taken back, beside the results of the workspace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.conftest import put_in_force
from tests.helpers.stubbed import Stubbed, shrink, stubbed_copy

pytestmark = pytest.mark.engine


def test_an_experiment_is_run_shown_compared_and_taken_back(tmp_path: Path) -> None:
    project = stubbed_copy(tmp_path / "project", "smoke")
    shrink(project)
    put_in_force(project.root)
    project.snakemake()
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    project.run("git", "add", "--all", ":!.stub", ":!runs.log")
    project.run("git", *identity, "commit", "--quiet", "-m", "results")
    project.ran()
    git_name = {f"GIT_{role}_{key}": "test" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}

    project.run("dvc", "exp", "run", "--name", "longer", "--set-param", "diffusion.horizon=16", check=True, **git_name)
    ran = {name.split("@")[0] for name in project.ran()}
    made = {"make_tables", "make_figures", "make_report"}
    expected = {"train_diffusion", "calibrate", "evaluate", "render_rollouts"} | made
    assert ran == expected
    assert yaml.safe_load((project.root / "params.yaml").read_text())["diffusion"]["horizon"] == 16
    assert "Nothing to be done" in project.snakemake("--dry-run"), "Snakemake takes the experiment for its own"

    (shown,) = json.loads(project.run("dvc", "exp", "show", "--json").stdout)[1]["experiments"]
    (revision,) = shown["revs"]
    assert revision["name"] == "longer"
    assert revision["data"]["params"]["params.yaml"]["data"]["diffusion"]["horizon"] == 16
    assert revision["data"]["metrics"]["results/smoke/tables/scores.json"]["data"] == {"Point-Robot": {"score": 8.0}}

    changed = json.loads(project.run("dvc", "metrics", "diff", "--json").stdout)
    score = changed["results/smoke/tables/scores.json"]["Point-Robot.score"]
    assert (score["old"], score["new"]) == (4.0, 8.0)
    said = project.run("dvc", "params", "diff").stdout
    assert "diffusion.horizon" in said
    drawn = json.loads(project.run("dvc", "plots", "diff", "--json").stdout)["data"]
    curve = "results/smoke/training/diffusion/point_robot/generalised/seed0/plots/metrics/loss.tsv"
    (plot,) = [content for name, content in drawn.items() if name.endswith(curve)]
    assert set(plot[0]["revisions"]) == {"HEAD", "workspace"}

    # Back to what was, without running anything, and forth again.
    project.run("git", "checkout", "--quiet", "HEAD", "--", "params.yaml", "dvc.lock", "results")
    project.run("dvc", "checkout", "--force")
    assert "Nothing to be done" in project.snakemake("--dry-run")
    project.run("dvc", "exp", "apply", "longer")
    project.run("dvc", "status", "--quiet")
    assert "Nothing to be done" in project.snakemake("--dry-run")
    assert project.ran() == []


def test_an_experiment_in_a_folder_of_its_own_runs_its_own_source(tmp_path: Path) -> None:
    """``--temp`` runs beside the workspace; PYTHONPATH=src makes the package that of the copy, wherever that is."""
    project: Stubbed = stubbed_copy(tmp_path / "project", "smoke")
    stub = project.root / ".stub" / "metadiffuser"
    stub.write_text(stub.read_text().replace("params = load()", "records.check_source()\nparams = load()"))
    shrink(project)
    put_in_force(project.root)
    identity = {f"GIT_{role}_{key}": "test" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    project.run("git", "commit", "--quiet", "--all", "-m", "small", check=True, **identity)
    command = ("dvc", "exp", "run", "--temp", "--name", "aside", "--set-param", "diffusion.horizon=16")
    project.run(*command, PYTHONPATH="src", check=True, **identity)
    assert "aside" in project.run("dvc", "exp", "list").stdout
    assert not (project.root / "results" / "smoke").exists()
    assert yaml.safe_load((project.root / "params.yaml").read_text())["diffusion"]["horizon"] == 8
