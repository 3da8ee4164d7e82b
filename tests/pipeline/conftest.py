"""What the tests of jobs and their records share: working directories, a job, and jobs with their records."""

from __future__ import annotations

from pathlib import Path

import pytest

from metadiffuser.config.loading import load
from metadiffuser.pipeline import dag, records
from metadiffuser.pipeline.verify import select
from tests.conftest import ROOT, put_in_force
from tests.helpers.recorded import fill, lock

PARAMS = load(ROOT / "presets" / "smoke.yaml")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the smoke preset in force and nothing made."""
    put_in_force(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def job() -> dag.Job:
    """The job that needs no input."""
    return dag.find_job("define_tasks", {"family": "point_robot"}, PARAMS)


@pytest.fixture(params=["job", "lock", "both"])
def record(request: pytest.FixtureRequest) -> str:
    """Which records there are."""
    return str(request.param)


@pytest.fixture
def made(project: Path, record: str) -> list[dag.Job]:
    """The jobs up to the context model of one family, as if they had run, with their records."""
    stages = ("define_tasks", "collect_dataset", "train_context")
    jobs = [job for stage in stages for job in select(PARAMS, stage, {"family": "point_robot"})]
    for job in jobs:
        fill(job)
    if record != "lock":
        for job in jobs:
            records.write(job, records.fingerprint(job))
    if record != "job":
        lock(jobs)
    return jobs
