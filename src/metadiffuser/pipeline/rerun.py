"""``metadiffuser verify --rerun``: run jobs again in a scratch folder and compare their outputs byte by byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from metadiffuser import paths
from metadiffuser.config.loading import PARAMS
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError, say
from metadiffuser.pipeline import dag, dvc_lock, records
from metadiffuser.pipeline.verify import check, deterministic_outputs, outdated, select

CHUNK = 1 << 20


def rerun(params: Params, stage: str, wildcards: Mapping[str, str]) -> int:
    """Run each selected job again in a scratch folder and compare its outputs with those in the checkout.

    Returns:
        0 if all outputs are identical byte by byte (except those that contain times), 1 otherwise.

    Raises:
        InputError: an input is missing, or all outputs of the stage contain times.
    """
    records.check_source()
    jobs = select(params, stage, wildcards)
    if not deterministic_outputs(jobs[0]):
        raise InputError(f"{stage}: all of its outputs contain times, so there is nothing to compare")
    differing = 0
    for number, job in enumerate(jobs, 1):
        say(f"{job.name}: job {number} of {len(jobs)}")
        problem = _obstacle(job, params) or _compare_anew(job, params)
        differing += problem is not None
        print(f"{job.name}: {problem or 'identical outputs'}", flush=True)
    print(f"{stage}: {len(jobs) - differing} of {len(jobs)} jobs gave identical outputs")
    return 1 if differing else 0


def _obstacle(job: dag.Job, params: Params) -> str | None:
    """Return why a comparison would be meaningless, None if it is not."""
    for path in job.inputs:
        if not Path(path).exists():
            raise InputError(f"{path}: missing; run 'snakemake --cores all all', or 'dvc pull', then go on")
    for path in deterministic_outputs(job):
        if not Path(path).exists():
            return f"{path} is missing, so there is nothing to compare with; see 'metadiffuser verify'"
    lock = dvc_lock.read()
    for producer in dag.jobs(params):
        if set(producer.outputs).isdisjoint(job.inputs):
            continue
        for fault in check(producer, lock.get(producer.name)).faults:
            if fault.path in job.inputs:
                return f"not run, because an input differs from its record: {fault}"
    if outdated(job, lock.get(job.name)):
        note = "parameters, code or inputs have changed since the outputs were made, so the outputs may differ"
        say(f"{job.name}: {note}")
    return None


def _compare_anew(job: dag.Job, params: Params) -> str | None:
    """Run the job in a folder of its own; return the first difference."""
    with tempfile.TemporaryDirectory(prefix="metadiffuser-rerun-") as name:
        scratch = Path(name)
        _copy_inputs(scratch, job, params)
        # Its standard output goes to standard error, beside the progress: only verdicts go to standard output.
        ended = subprocess.run(
            (sys.executable, "-m", "metadiffuser.cli", *job.command.split()[1:]),
            cwd=scratch,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_import_path())},
            stdout=sys.stderr.fileno(),
            check=False,
        )
        if ended.returncode:
            return f"the second run ended with exit code {ended.returncode}"
        return first_difference([Path(path) for path in deterministic_outputs(job)], scratch)


def _import_path() -> list[str]:
    """Return the import path with which the scratch run uses the same package as this process."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [str(Path(__file__).resolve().parents[2]), *(str(Path(path).resolve()) for path in given if path)]


def _copy_inputs(scratch: Path, job: dag.Job, params: Params) -> None:
    """Copy what the job reads into an empty folder, read-only."""
    shutil.copy(PARAMS, scratch / PARAMS)
    sources = [Path(path) for path in job.inputs]
    family = job.wildcards.get("family")
    digest = params.section("tasks", family).imported if family else None
    if digest is not None:
        sources.append(Path(paths.IMPORTED.format(family=family, digest=digest)))
    for source in sources:
        for path in records.files(source):
            target = scratch / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
            target.chmod(0o444)


def first_difference(outputs: Sequence[Path], scratch: Path) -> str | None:
    """Return the first file of ``outputs`` that differs from its copy below ``scratch``, and where; None if none."""
    for output in outputs:
        here = set(records.files(output))
        there = {path.relative_to(scratch) for path in records.files(scratch / output)}
        for path in sorted(here | there):
            if path not in there:
                return f"{path} differs: the second run did not write it"
            if path not in here:
                return f"{path} differs: only the second run wrote it"
            place = _first_differing_byte(path, scratch / path)
            if place is not None:
                return f"{path} differs, first at byte {place} (from 0)"
    return None


def _first_differing_byte(one: Path, other: Path) -> int | None:
    start = 0
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            a, b = left.read(CHUNK), right.read(CHUNK)
            if a != b:
                return start + next(i for i, (x, y) in enumerate(zip_longest(a, b)) if x != y)
            if not a:
                return None
            start += len(a)
