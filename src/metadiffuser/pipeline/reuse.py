"""Taking the outputs of the same job of another preset, which has run in this checkout.

Presets share much: ``expert`` has the tasks, behaviour policies and datasets of ``laptop``. A job with the same
parameters, code and inputs writes the same bytes under every preset, so its outputs are copied in place of made again.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from metadiffuser.artifacts import read_json, whole_directory, whole_file, write_json
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, records


def find(job: dag.Job, made_from: str, params: Params) -> dag.Job | None:
    """Return a job of another preset whose outputs are what ``job`` would write, None if there is none.

    Args:
        job: the job that is about to run.
        made_from: its fingerprint, which holds parameters, code and inputs, and not the preset's name.
        params: all parameters.
    """
    for folder in sorted(Path("results").glob("*/")):
        if folder.name == params.preset:
            continue
        named = params.model_copy(update={"preset": folder.name})
        twin = dag.make_job(job.stage, {**job.wildcards, "preset": folder.name}, named)
        if records.is_current(twin, made_from):
            return twin
    return None


def take(twin: dag.Job, job: dag.Job) -> None:
    """Copy the outputs of ``twin`` to those of ``job``, and the time that they took.

    Raises:
        InputError: the timing record of ``twin`` is damaged.
        OSError: the file system is full or refuses.
    """
    for source, target in zip(map(Path, twin.outputs), map(Path, job.outputs), strict=True):
        if job.stage.timed and source == _timing(twin):
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
