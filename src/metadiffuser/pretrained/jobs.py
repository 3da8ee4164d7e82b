"""Published outputs of long jobs, for the same jobs in another clone.

A folder for each job, ``pretrained/jobs/<job>/``, the job's name being without the preset:

=======================================  =============================================================
``artifacts/...``, ``results/...``       its outputs, at their own paths without the preset
``made_from.json``                       its fingerprint: parameters, code and inputs that decide them
``hashes.json``                          SHA-256 of all these files
=======================================  =============================================================
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from metadiffuser.artifacts import read_json, whole_directory, write_json
from metadiffuser.pretrained.hashes import check_hashes, write_hashes
from metadiffuser.pretrained.places import JOBS, PRETRAINED

FOLDER = PRETRAINED / JOBS
MADE_FROM = "made_from.json"


def short(name: str) -> str:
    """Return a job's name ``stage@preset-family-...`` without the preset: ``stage-family-...``."""
    stage, _, values = name.partition("@")
    return f"{stage}-{values.partition('-')[2]}"


def publish_job(name: str, made_from: str, outputs: Sequence[str]) -> None:
    """Write the published outputs of a job, whole or not at all.

    Args:
        name: of the job.
        made_from: its fingerprint.
        outputs: their paths, ``artifacts/<preset>/...`` and ``results/<preset>/...``.
    """
    with whole_directory(FOLDER / short(name)) as folder:
        for output, place in _places(folder, outputs).items():
            place.parent.mkdir(parents=True, exist_ok=True)
            if Path(output).is_dir():
                hidden = shutil.ignore_patterns(".*")  # of the engines
                shutil.copytree(output, place, ignore=hidden, copy_function=shutil.copyfile)
            else:
                shutil.copyfile(output, place)
        write_json(folder / MADE_FROM, made_from)
        write_hashes(folder)


def published_jobs() -> list[Path]:
    """Return the folders of all published jobs."""
    return sorted(FOLDER.glob("*/"))


def find_job(name: str, made_from: str, outputs: Sequence[str]) -> Mapping[str, Path]:
    """Return {output: its published copy} of a job; empty if none was published with this fingerprint.

    Args:
        name: of the job.
        made_from: its fingerprint.
        outputs: their paths.

    Raises:
        InputError: one was, and a file is not as it was published; the message names it and the remedy.
    """
    folder = FOLDER / short(name)
    if not (folder / MADE_FROM).is_file() or read_json(folder / MADE_FROM) != made_from:
        return {}
    check_hashes(folder)
    return _places(folder, outputs)


def _places(folder: Path, outputs: Sequence[str]) -> dict[str, Path]:
    """Return {output: its place in a job's folder}."""
    parts = {output: Path(output).parts for output in outputs}
    return {output: folder.joinpath(root, *rest) for output, (root, _, *rest) in parts.items()}
