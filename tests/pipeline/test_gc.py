"""Which records hold back what they name from the removal of garbage."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from metadiffuser.pipeline import gc


def commit(text: str) -> None:
    """Commit a record of these words."""
    Path("dvc.lock").write_text(text)
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    for arguments in (["add", "dvc.lock"], ["commit", "--quiet", "--message", text]):
        subprocess.run(["git", *identity, *arguments], check=True)


@pytest.mark.parametrize(
    "reference", ["refs/heads/other", "refs/remotes/origin/other", "refs/tags/v1", "refs/exps/ab/cdef/trial"]
)
def test_records_of_others_branches_tags_and_experiments_are_found(empty: Path, reference: str) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)
    commit("there")
    subprocess.run(["git", "update-ref", reference, "HEAD"], check=True)
    commit("here")
    assert gc.records() == {"here": "dvc.lock", "there": f"{reference}:dvc.lock"}


def test_records_are_found_where_the_project_is_a_folder_of_a_repository(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)
    commit("of another project")
    Path("project").mkdir()
    monkeypatch.chdir("project")
    commit("there")
    subprocess.run(["git", "update-ref", "refs/heads/other", "HEAD"], check=True)
    commit("here")
    assert gc.records() == {"here": "dvc.lock", "there": "refs/heads/other:dvc.lock"}
