"""What a job reads must be what was written: a damaged input is named before it spoils what is made of it.

The engines go by times and sizes first, and a flipped bit in a weight changes neither the layout of a file nor,
perhaps, its time. So each job compares its inputs with the record of the job that wrote them: its receipt or, after
``dvc pull`` and ``dvc checkout``, ``dvc.lock``. Files without any record are taken as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, dvc_lock, records


def check(job: dag.Job, params: Params) -> None:
    """Check that every input of a job is there, and as it was recorded.

    Raises:
        InputError: an input is missing or damaged; the message names the file and the remedy.
    """
    for path in job.inputs:
        if not Path(path).exists():
            raise InputError(f"{path}: missing; run 'snakemake --cores all all' or the stage that makes it")
    wanted = set(job.inputs)
    locked = cache(dvc_lock.read)  # not read at all where the receipts agree
    for producer in dag.jobs(params) if wanted else []:
        read = sorted(wanted.intersection(producer.outputs))
        told = (records.read(producer) or {}).get("files") if read else None
        for path in read:
            wrong = path if told is None else _difference(told, path)
            if wrong is None:
                continue
            recorded = dvc_lock.hashes(locked().get(producer.name, {}), "outs").get(path)
            if recorded is None and told is None:
                continue
            if recorded is None or dvc_lock.path_hash(Path(path))[0] != recorded:
                raise InputError(f"{wrong}: not as {producer.name} wrote it; {_remedy(path)}")


def _difference(told: Mapping[str, str], output: str) -> str | None:
    """Return the first file of an output that differs from {path: hash} of its receipt, None if none does."""
    before, now = records.below(output, told), records.digests(Path(output))[1]
    return next((path for path in sorted(before | now) if before.get(path) != now.get(path)), None)


def _remedy(output: str) -> str:
    restore = f"'dvc checkout {output}'" if output.startswith("artifacts/") else f"'git checkout -- {output}'"
    return f"delete {output}, then {restore} or run the pipeline again"
