"""A job's receipt: what decided its outputs and what they are, as hashes of contents.

The verb writes it when the job has ended well, whichever engine started it. ``metadiffuser.pipeline.sync``
records a job for DVC only on a receipt that still holds: same parameters, code and inputs as now, and
the outputs untouched since.
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
    """Yield a file itself, or the files below a folder in a fixed order, without the marks that engines leave."""
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
    told = json.dumps(job.params, sort_keys=True)
    return hashlib.blake2b(f"{told}\n{code}\n{inputs}".encode(), digest_size=16).hexdigest()


def check_unchanged(job: dag.Job, made_from: str, source: Path | None) -> None:
    """Check, when a job ends, that what decides its outputs is still what it was when the job began.

    Otherwise the engines, which look at the files of today, would record the edit for what was made before it.

    Args:
        job: that has come to its end.
        made_from: its fingerprint when it started.
        source: the parameter file that it was told from, None if it was told by other means.

    Raises:
        InputError: parameters, source or inputs were changed; the job has no receipt then, and is to be run again.
    """
    told = {one.name: one.params for one in dag.jobs(load(source))}.get(job.name) if source else job.params
    if told == job.params and fingerprint(job) == made_from:
        return
    changed = "its source or an input" if told == job.params else source
    raise InputError(
        f"{job.name}: {changed} was changed while the job ran, so its outputs are not recorded; run it again"
    )


def _path(job: dag.Job) -> Path:
    return WORK / "records" / f"{job.name}.json"


def write(job: dag.Job, made_from: str) -> None:
    """Write the receipt of a job that has just ended; ``made_from`` is its fingerprint when it started."""
    outputs, single = digests(*map(Path, job.outputs))
    write_json(_path(job), {"made_from": made_from, "outputs": outputs, "files": single})


def read(job: dag.Job) -> dict[str, Any] | None:
    """Return a job's receipt, None if there is none that can be read.

    ``made_from`` and ``outputs`` are one hash each; ``files`` is {path: hash}, which receipts of before
    ``metadiffuser verify`` do not have.
    """
    try:
        receipt = read_json(_path(job))
    except InputError:
        return None
    return receipt if isinstance(receipt, dict) and {"made_from", "outputs"} <= receipt.keys() else None


def is_current(job: dag.Job) -> bool:
    """Tell whether the outputs on disk are those that the job would make now, by its receipt."""
    receipt = read(job)
    if receipt is None or not all(Path(path).exists() for path in job.outputs):
        return False
    return bool(receipt["made_from"] == fingerprint(job) and receipt["outputs"] == digest(*map(Path, job.outputs)))
