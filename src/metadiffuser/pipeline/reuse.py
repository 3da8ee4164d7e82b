"""Taking the outputs of the same job, of another preset in this checkout or published.

Presets share much: ``expert`` has the tasks, behaviour policies and datasets of ``laptop``. A job with the same
parameters, code and inputs writes the same bytes under every preset, so its outputs are copied in place of made again.
The outputs of some jobs that take long are published with the project (``pretrained/jobs/``).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from metadiffuser.artifacts import read_json, whole_directory, whole_file, write_json
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, records
from metadiffuser.pretrained import jobs


@dataclass(frozen=True)
class Twin:
    """Outputs that a job would write, at other places.

    Attributes:
        name: of what they belong to.
        outputs: their paths, in the order of the job's own.
    """

    name: str
    outputs: tuple[str, ...]


def find(job: dag.Job, made_from: str, params: Params) -> Twin | None:
    """Return the outputs of another preset's job, or published ones, that are what ``job`` would write; None if none.

    Args:
        job: the job that is about to run.
        made_from: its fingerprint, which holds parameters, code and inputs, and not the preset's name.
        params: all parameters.

    Raises:
        InputError: published ones are not as they were published.
    """
    for folder in sorted(Path("results").glob("*/")):
        if folder.name == params.preset:
            continue
        named = params.model_copy(update={"preset": folder.name})
        twin = dag.make_job(job.stage, {**job.wildcards, "preset": folder.name}, named)
        if records.is_current(twin, made_from):
            return Twin(twin.name, twin.outputs)
    published = jobs.find_job(job.name, made_from, job.outputs)
    return Twin(f"a published {jobs.short(job.name)}", tuple(map(str, published.values()))) if published else None


def take(twin: Twin, job: dag.Job) -> None:
    """Copy the outputs of ``twin`` to those of ``job``, and the time that they took.

    Raises:
        InputError: the timing record of ``twin`` is damaged.
        OSError: the file system is full or refuses.
    """
    for source, target in zip(map(Path, twin.outputs), map(Path, job.outputs), strict=True):
        if job.stage.timed and target == _timing(job):
            _take_time(source, target, job.name)
        elif source.is_dir():
            with whole_directory(target) as partial:
                shutil.copytree(source, partial, ignore=shutil.ignore_patterns(*records.IGNORED), dirs_exist_ok=True)
        else:
            with whole_file(target) as partial:
                shutil.copyfile(source, partial)


def _take_time(source: Path, target: Path, name: str) -> None:
    record = read_json(source)
    if not isinstance(record, dict):
        raise InputError(f"{source}: not a timing record; delete it and run this again")
    write_json(target, record | {"job": name})


def _timing(job: dag.Job) -> Path:
    return Path(dag.timing_path(job.name, job.wildcards["preset"]))
