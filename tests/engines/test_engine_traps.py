"""Traps of running two engines over one DAG that are not about the order of their runs (for those, test_records.py)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.stubbed import Stubbed, stubbed_copy

pytestmark = pytest.mark.engine

PADDING = "1200000"  # beyond the size up to which Snakemake compares checksums and not times
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")


def small(target: Path) -> Stubbed:
    """A project with one family, one baseline and two shards, and nothing run."""
    project = stubbed_copy(target, "smoke")
    project.edit("params.yaml", "families: [point_robot, cheetah_vel]", "families: [point_robot]")
    text = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(re.sub("baselines: .*", "baselines: [bc]", text))
    return project


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Stubbed:
    """A project run by Snakemake, its files above a megabyte, its results committed and its artifacts pushed."""
    project = small(tmp_path_factory.mktemp("origin") / "project")
    project.snakemake(PADDING=PADDING)
    project.run("dvc", "remote", "add", "--local", "store", str(project.root.parent / "store"))
    project.run("dvc", "push", "-r", "store")
    project.run("git", "add", "params.yaml", "dvc.lock", "results")
    project.run(*GIT, "commit", "-qm", "results")
    return project


@pytest.fixture(scope="module")
def clone(origin: Stubbed, tmp_path_factory: pytest.TempPathFactory) -> Stubbed:
    """A fresh clone that has pulled the artifacts."""
    root = tmp_path_factory.mktemp("clone") / "project"
    origin.run("git", "clone", "-q", str(origin.root), str(root))
    project = Stubbed(root)
    project.run("dvc", "remote", "add", "--local", "store", str(origin.root.parent / "store"))
    project.run("dvc", "pull", "-r", "store")
    return project


def assert_settled(project: Stubbed) -> None:
    assert project.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    assert "Nothing to be done" in project.snakemake("-n")
    project.ran()
    project.run("dvc", "repro")
    assert project.ran() == []


def test_large_outputs_keep_their_times_when_they_are_recorded(origin: Stubbed) -> None:
    assert origin.waiting("snakemake") == origin.waiting("dvc") == set()


def test_a_fresh_clone_has_nothing_to_do_after_a_pull_and_later_edits_make_the_same_jobs_stale(clone: Stubbed) -> None:
    assert "Nothing to be done" in clone.snakemake("-n")
    assert clone.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    text = (clone.root / "params.yaml").read_text()
    source = "src/metadiffuser/planning/planner.py"
    edits = [
        {"params.yaml": re.sub(r"(?s)(\ndiffusion:.*?learning_rate: )\S+", r"\g<1>0.00077", text, count=1)},
        {"params.yaml": text.replace("seed: 0", "seed: 1", 1)},
        {source: (clone.root / source).read_text() + "# edited\n"},
    ]
    in_snakemake, in_dvc = (clone.waiting_after(engine, edits) for engine in ("snakemake", "dvc"))
    assert in_snakemake == in_dvc
    assert {name.split("@")[0] for name in in_dvc[0]} == {
        "train_diffusion", "calibrate", "evaluate", "render_rollouts", "make_tables", "make_figures", "make_report",
    }  # fmt: skip
    assert len(in_dvc[1]) > len(in_dvc[0]) > 0
    assert "evaluate@smoke-point_robot-generalised-0" in in_dvc[2]


def test_outputs_are_files_of_their_own(clone: Stubbed) -> None:
    files = [path for path in (clone.root / "artifacts").rglob("*") if path.is_file()]
    assert files
    for path in files:  # a link into the cache would let an edit in place through to every commit
        assert not path.is_symlink()
        assert path.stat().st_nlink == 1
        assert path.stat().st_mode & 0o200


def test_the_default_target_is_the_whole_dag(origin: Stubbed) -> None:
    origin.edit("params.yaml", "seed: 0", "seed: 1")
    try:
        said = origin.run("snakemake", "-n", METADIFFUSER_SYNC_OFF="1").stdout
    finally:
        origin.edit("params.yaml", "seed: 1", "seed: 0")
    assert re.search(r"^\d+ jobs to run: 1 define_tasks, .*\b1 make_report$", said, re.M)


@pytest.mark.parametrize("engine", ["snakemake", "dvc"])
def test_what_a_shorter_list_leaves_behind_is_no_input(origin: Stubbed, engine: str, tmp_path: Path) -> None:
    project = origin.twin(tmp_path / "project")
    project.ran()
    project.edit("params.yaml", "shards: [0, 1]", "shards: [0]")
    project.snakemake() if engine == "snakemake" else project.run("dvc", "repro")
    assert "collect_dataset@smoke-point_robot" in project.ran()
    assert_settled(project)


def test_a_folder_that_snakemake_marks_is_the_same_to_dvc(origin: Stubbed) -> None:
    marks = list((origin.root / "results").rglob(".snakemake_timestamp"))
    assert marks
    for mark in marks:
        mark.touch()
    assert origin.waiting("dvc") == set()
