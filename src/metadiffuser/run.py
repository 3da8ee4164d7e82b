"""One job at work: what it was told, where it reads and writes, and how it goes on after a kill.

Stages are handed a ``Run`` and nothing else; it refuses sections that the stage does not declare in
``metadiffuser.dag``, so the DAG's dependencies are the true ones.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import os
import platform
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from metadiffuser import dag
from metadiffuser.artifacts import read_json, write_json
from metadiffuser.config import Params
from metadiffuser.errors import InputError

WORK = Path(".work")


@dataclass(frozen=True)
class Run:
    """A job's view of the project.

    Attributes:
        job: the node of the DAG.
        work: folder for checkpoints to resume from; emptied when parameters, code or inputs change.
        device: ``cpu`` or ``cuda``.
    """

    job: dag.Job
    work: Path
    device: str
    _params: Params

    @property
    def root_seed(self) -> int:
        """The root of every random number."""
        return int(self.value("seed"))

    def value(self, key: str) -> Any:
        """Return a top-level parameter that the stage declares."""
        if key not in self.job.stage.params:
            raise KeyError(f"stage {self.job.stage.name} does not declare parameter '{key}' in dag.py")
        return getattr(self._params, key)

    def section(self, name: str) -> Any:
        """Return a section that the stage declares, with the family's overrides merged in."""
        self.value(name)
        return self._params.section(name, self.job.wildcards.get("family"))

    def whole(self) -> Params:
        """Return all parameters, for a stage that declares them all."""
        for key in Params.model_fields:
            self.value(key)
        return self._params

    def wildcard(self, name: str) -> str:
        """Return the value of one of the job's wildcards."""
        return self.job.wildcards[name]

    def path(self, template: str, **choice: str) -> Path:
        """Return the one path of ``template`` for this job; ``choice`` fills what the job leaves open."""
        (path,) = dag.expand(template, {**self.job.wildcards, **choice}, self._params)
        self._declared(template)
        return Path(path)

    def all_paths(self, template: str) -> list[Path]:
        """Return every path of a template that the job leaves open."""
        self._declared(template)
        return [Path(path) for path in dag.expand(template, self.job.wildcards, self._params)]

    def _declared(self, template: str) -> None:
        stage = self.job.stage
        if template not in (*stage.inputs, *stage.outputs):
            raise KeyError(f"stage {stage.name} does not declare {template} in dag.py")


def pick_device(wanted: str) -> str:
    """Return ``cpu`` or ``cuda``. Raises ``InputError`` if CUDA is asked for and missing."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("params.yaml: 'device' is cuda, but torch finds no CUDA device; set it to auto or cpu")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def digest(*roots: Path) -> str:
    """Return a hash of the names and contents of files and folders."""
    state = hashlib.blake2b(digest_size=16)
    for root in roots:
        for path in _files(root):
            state.update(f"{path.relative_to(root.parent)}\0".encode())
            with path.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    state.update(chunk)
    return state.hexdigest()


def fingerprint(job: dag.Job) -> str:
    """Return a hash of everything that decides a job's outputs: parameters, code and inputs."""
    package = Path(__file__).parent
    code = digest(*(package / name for name in (*dag.COMMON_CODE, *job.stage.code)))
    inputs = digest(*(Path(path) for path in job.inputs))
    told = json.dumps(job.params, sort_keys=True)
    return hashlib.blake2b(f"{told}\n{code}\n{inputs}".encode(), digest_size=16).hexdigest()


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold the lock ``name`` below the work folder. Raises ``InputError`` if another process does."""
    lock = WORK / "locks" / f"{name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{name} is already running in this checkout; wait for it or stop it, then go on") from None
        yield


def _work_folder(job: dag.Job) -> Path:
    """Return the job's work folder, emptied if what decides the outputs has changed."""
    folder = WORK / job.wildcards["preset"] / job.name
    record = folder / "fingerprint.json"
    current = fingerprint(job)
    try:
        kept = record.is_file() and read_json(record) == current
    except InputError:
        kept = False
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(record, current)
    return folder


def execute(stage: str, wildcards: dict[str, str], params: Params) -> None:
    """Run one job to its end: check inputs, run the stage, record its time.

    Raises:
        InputError: an unknown wildcard value, a missing or damaged input, or a second copy of the job.
    """
    known = dag.domains(params)
    for name, value in wildcards.items():
        if value not in known[name]:
            raise InputError(f"--{name} {value}: not in params.yaml, which has {', '.join(known[name])}")
    job = dag.make_job(dag.STAGES[stage], wildcards, params)
    with exclusive(job.name):
        for path in job.inputs:
            if not Path(path).exists():
                raise InputError(f"{path}: missing; run 'snakemake --cores all all' or the stage that makes it")
        _run(job, params)


def _run(job: dag.Job, params: Params) -> None:
    names = [key for key in job.params if isinstance(job.params[key], dict) and "threads" in job.params[key]]
    threads = 1
    for name in names:
        threads = params.section(name.split(".")[-1], job.wildcards.get("family")).threads
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    work = _work_folder(job)
    device = pick_device(params.device) if "device" in job.stage.params else "cpu"
    spent = _Clock(work / "spent.json")
    with spent:
        importlib.import_module(f"metadiffuser.stages.{job.stage.name}").run(Run(job, work, device, params))
    if job.stage.timed:
        write_json(Path(dag.timing_path(job.name, params.preset)), spent.record(job.name, threads, device))
    shutil.rmtree(work)


class _Clock:
    """Wall and CPU seconds of a job, summed over the times it was resumed."""

    def __init__(self, path: Path):
        self._path = path
        self.wall = 0.0
        self.cpu = 0.0
        if path.exists():
            earlier = read_json(path)
            self.wall, self.cpu = earlier["wall"], earlier["cpu"]

    def __enter__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.monotonic() - self._wall
        self.cpu += time.process_time() - self._cpu
        if self._path.parent.exists():
            write_json(self._path, {"wall": self.wall, "cpu": self.cpu})

    def record(self, name: str, threads: int, device: str) -> dict[str, Any]:
        """Return the job's timing record."""
        return {
            "job": name,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "wall_seconds": round(self.wall, 3),
            "cpu_seconds": round(self.cpu, 3),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "threads": threads,
            "device": device,
            "cores": os.cpu_count(),
            "machine": f"{platform.system()} {platform.machine()}",
        }
