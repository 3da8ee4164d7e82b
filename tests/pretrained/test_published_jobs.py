"""The jobs that the repository publishes are those of its own code: another clone takes their outputs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from metadiffuser.artifacts import read_json
from metadiffuser.pretrained.jobs import MADE_FROM
from metadiffuser.pretrained.places import JOBS
from tests.conftest import ROOT, Project, put_in_force

PUBLISHED = sorted((ROOT / "pretrained" / JOBS).glob("*/"))
PRESET = "pilot"  # whose jobs they are
FINGERPRINT = """
import sys
from metadiffuser.config.loading import load
from metadiffuser.pipeline import dag, records
stage, family, shard = sys.argv[1:]
print(records.fingerprint(dag.find_job(stage, {"family": family, "shard": shard}, load())))
"""


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_a_published_job_is_the_one_that_this_code_runs(folder: Path, project: Project) -> None:
    put_in_force(project.root, PRESET)
    stage, family, shard = folder.name.split("-")
    project.run("metadiffuser", "define_tasks", "--family", family)
    today = project.run(sys.executable, "-c", FINGERPRINT, stage, family, shard).stdout.strip()
    assert today == read_json(folder / MADE_FROM), (
        f"{folder}: parameters or code have changed since it was made; run the job again and publish it, or delete it"
    )


def test_there_is_one() -> None:
    assert PUBLISHED
