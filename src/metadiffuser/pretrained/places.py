"""Where published models and outputs of jobs lie. Every job looks here, so this imports no model."""

from __future__ import annotations

from pathlib import Path

from metadiffuser.pretrained.hashes import HASHES

PRETRAINED = Path("pretrained")
JOBS = "jobs"  # the folder of the published outputs of jobs, beside those of the families' models
TASKS = "tasks.json"  # in the folder of a family's models


def families(folder: Path) -> list[str]:
    """Return the families that have published models, in alphabetical order; other folders may lie beside theirs."""
    return sorted(path.name for path in folder.iterdir() if any((path / name).is_file() for name in (TASKS, HASHES)))
