"""Checking a job's inputs before it runs, so that damaged files are not used.

The engines compare times and sizes first, and a flipped bit in a weight changes neither. So each job compares its
inputs with the record of the job that wrote them (``metadiffuser.pipeline.records``) or, after ``dvc pull`` and
``dvc checkout``, with ``dvc.lock``. Files without any record are accepted as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from metadiffuser import paths
from metadiffuser.config.loading import how_to_run
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, dvc_lock, records


def check(job: dag.Job, params: Params) -> None:
    """Check that every input of a job exists and agrees with its record.

    Raises:
        InputError: an input is missing or damaged; the message names the file and the remedy.
    """
    for path in job.inputs:
        if not Path(path).exists():
            raise InputError(f"{path}: missing; run {how_to_run(params.preset)}, or the stage that makes it")
    wanted = set(job.inputs)
    locked = cache(dvc_lock.read)  # read only if a record differs
    for producer in dag.jobs(params) if wanted else []:
        read = sorted(wanted.intersection(producer.outputs))
        files = (records.read(producer) or {}).get("files") if read else None
        for path in read:
            wrong = path if files is None else _difference(files, path)
            if wrong is None:
                continue
            recorded = dvc_lock.hashes(locked().get(producer.name, {}), "outs").get(path)
            if recorded is None and files is None:
                continue
            if recorded is None or dvc_lock.path_hash(Path(path))[0] != recorded:
                raise InputError(f"{wrong}: changed since {producer.name} wrote it; {_remedy(path)}")


def _difference(files: Mapping[str, str], output: str) -> str | None:
    """Return the first file of an output that differs from the recorded {path: hash}, None if none does."""
    before, now = records.below(output, files), records.digests(Path(output))[1]
    return next((path for path in sorted(before | now) if before.get(path) != now.get(path)), None)


def _remedy(output: str) -> str:
    restore = f"'dvc checkout {output}'" if paths.in_cache(output) else f"'git checkout -- {output}'"
    return f"delete {output}, then {restore} or run the pipeline again"
