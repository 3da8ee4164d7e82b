"""What this repository publishes is whole, and git keeps all of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from metadiffuser.pretrained.hashes import HASHES, differences, digests
from tests.conftest import ROOT

FOLDERS = sorted(path.parent for path in (ROOT / "pretrained").rglob(HASHES))


def test_there_are_models_and_outputs_of_jobs() -> None:
    names = {folder.relative_to(ROOT / "pretrained").as_posix() for folder in FOLDERS}
    assert {"point_robot", "cheetah_vel", "jobs/train_behaviour-hopper_param-0"} <= names


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_published_folder_is_as_it_was_published(folder: Path) -> None:
    assert differences(folder) == {}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_git_ignores_none_of_its_files(folder: Path) -> None:
    files = [(folder / name).relative_to(ROOT).as_posix() for name in (HASHES, *digests(folder))]
    command = ["git", "check-ignore", "--no-index", "--stdin"]
    found = subprocess.run(command, cwd=ROOT, input="\n".join(files), capture_output=True, text=True, check=False)
    assert found.stdout == ""
    assert found.returncode in (1, 128), "1: none is ignored; 128: the project does not lie in a checkout"
