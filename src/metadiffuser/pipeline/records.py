"""A job's record: hashes of what its outputs were made from, and of the outputs themselves.

The verb writes it when the job has ended successfully, whichever engine started it. ``metadiffuser.pipeline.sync``
enters a job into dvc.lock only if its record is current: parameters, code and inputs are the same as now, and the
outputs have not changed since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metadiffuser.artifacts import read_json, write_json
from metadiffuser.config.loading import load
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag

WORK = Path(".work")
IGNORED = (".snakemake_timestamp", "__pycache__")


def check_source() -> None:
    """Check that what runs is this checkout's source, which is what both engines watch.

    Raises:
        InputError: the installed package belongs to another checkout.
    """
    source, running = Path(dag.PACKAGE), Path(__file__).parents[1]
    if source.is_dir() and not source.samefile(running):
        raise InputError(f"the metadiffuser that runs is {running}, not this checkout's; run 'pip install -e .' here")


def files(path: Path) -> Iterator[Path]:
    """Yield a file itself, or the files below a folder in a fixed order, without files of the engines."""
    if path.is_file():
        yield path
    else:
        yield from sorted(p for p in path.rglob("*") if p.is_file() and not set(IGNORED) & set(p.parts))


def digests(*roots: Path) -> tuple[str, dict[str, str]]:
    """Return a hash of the names and contents of files and folders, and {path: hash of the file's contents}."""
    state = hashlib.blake2b(digest_size=16)
    single: dict[str, str] = {}
    for root in roots:
        for path in files(root):
            own = hashlib.blake2b(digest_size=16)
            state.update(f"{path.relative_to(root.parent)}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    state.update(chunk)
                    own.update(chunk)
            single[path.as_posix()] = own.hexdigest()
    return state.hexdigest(), single


def below(output: str, hashes: Mapping[str, str]) -> dict[str, str]:
    """Return those of {path: hash} that are an output itself or lie below it."""
    return {path: value for path, value in hashes.items() if path == output or path.startswith(f"{output}/")}


def digest(*roots: Path) -> str:
    """Return a hash of the names and contents of files and folders."""
    return digests(*roots)[0]


def fingerprint(job: dag.Job) -> str:
    """Return a hash of everything that decides a job's outputs: parameters, code and inputs."""
    package = Path(__file__).parents[1]
    code = digest(*(package / name for name in job.code))
    inputs = digest(*(Path(path) for path in job.inputs))
    params = json.dumps(job.params, sort_keys=True)
    return hashlib.blake2b(f"{params}\n{code}\n{inputs}".encode(), digest_size=16).hexdigest()


def check_unchanged(job: dag.Job, made_from: str, source: Path | None) -> None:
    """Check, when a job ends, that its parameters, code and inputs are still those that it started with.

    Otherwise the engines, which look at the files as they are now, would record outputs of the old version as outputs
    of the edited one.

    Args:
        job: the job that has ended.
        made_from: its fingerprint when it started.
        source: the file that its parameters were read from, None if they did not come from a file.

    Raises:
        InputError: parameters, source or inputs were changed; the job gets no record, and has to run again.
    """
    now = {one.name: one.params for one in dag.jobs(load(source))}.get(job.name) if source else job.params
    if now == job.params and fingerprint(job) == made_from:
        return
    changed = "its source or an input" if now == job.params else source
    raise InputError(
        f"{job.name}: {changed} was changed while the job ran, so its outputs are not recorded; run it again"
    )


def _path(job: dag.Job) -> Path:
    return WORK / "records" / f"{job.name}.json"


def write(job: dag.Job, made_from: str) -> None:
    """Write the record of a job that has just ended; ``made_from`` is its fingerprint when it started."""
    outputs, single = digests(*map(Path, job.outputs))
    write_json(_path(job), {"made_from": made_from, "outputs": outputs, "files": single})


def is_made(job: dag.Job) -> bool:
    """Return whether all outputs of a job are there, whatever made them."""
    return all(Path(path).exists() for path in job.outputs)


def read(job: dag.Job) -> dict[str, Any] | None:
    """Return a job's record, None if there is none or it is damaged.

    ``made_from`` and ``outputs`` are one hash each; ``files`` is {path: hash}.
    """
    try:
        record = read_json(_path(job))
    except InputError:
        return None
    return record if isinstance(record, dict) and {"made_from", "outputs", "files"} <= record.keys() else None


def is_current(job: dag.Job, made_from: str | None = None) -> bool:
    """Return whether the outputs on disk are those that the job would make now, according to its record.

    Args:
        job: the job.
        made_from: what its fingerprint has to be; None takes the present one.
    """
    record = read(job)
    if record is None or not is_made(job):
        return False
    expected = fingerprint(job) if made_from is None else made_from
    return bool(record["made_from"] == expected and record["outputs"] == digest(*map(Path, job.outputs)))
