"""One job at work: what it was told, where it reads and writes, and how it goes on after a kill.

Stages are handed a ``Run`` and nothing else; it refuses sections that the stage does not declare in
``metadiffuser.dag``, so the DAG's dependencies are the true ones.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import platform
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from metadiffuser import dag, receipts
from metadiffuser.artifacts import read_json, write_json
from metadiffuser.config import Params
from metadiffuser.errors import InputError
from metadiffuser.receipts import WORK


@dataclass(frozen=True)
class Run:
    """A job's view of the project.

    Attributes:
        job: the node of the DAG.
        work: folder for checkpoints to resume from; emptied when parameters, code or inputs change.
        device: ``cpu`` or ``cuda``.
        notes: measured times that the stage adds to its timing record.
    """

    job: dag.Job
    work: Path
    device: str
    notes: dict[str, float]
    _params: Params

    @property
    def root_seed(self) -> int:
        """The root of every random number."""
        return int(self.value("seed"))

    def value(self, key: str) -> Any:
        """Return a parameter that the stage declares, by its dotted key."""
        if key not in self.job.params:
            raise KeyError(f"stage {self.job.stage.name} does not declare parameter '{key}' in dag.py")
        return attrgetter(key)(self._params)

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
        """Return the value of one of the job's wildcards, or of one that its inputs have the first value of."""
        return self.job.reads[name]

    def path(self, template: str, **choice: str) -> Path:
        """Return the one path of ``template`` for this job; ``choice`` fills what the job leaves open."""
        (path,) = dag.expand(template, {**self.job.reads, **choice}, self._params)
        self._declared(template)
        return Path(path)

    def all_paths(self, template: str) -> list[Path]:
        """Return every path of a template that the job leaves open."""
        self._declared(template)
        return [Path(path) for path in dag.expand(template, self.job.reads, self._params)]

    def _declared(self, template: str) -> None:
        stage = self.job.stage
        if template not in (*stage.inputs, *stage.outputs):
            raise KeyError(f"stage {stage.name} does not declare {template} in dag.py")


def pick_device(wanted: str) -> str:
    """Return ``cpu`` or ``cuda``. Raises ``InputError`` if CUDA is asked for and missing."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("params.yaml: 'device' is cuda, but torch finds no CUDA device; set it to auto or cpu")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold the lock ``name`` below the work folder. Raises ``InputError`` if another process does."""
    lock = WORK / "locks" / f"{name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{name} is already running in this checkout; wait for it or stop it, then go on"
            ) from None
        yield


def _work_folder(job: dag.Job, current: str) -> Path:
    """Return the job's work folder, emptied if ``current``, the fingerprint of the job, is a new one."""
    folder = WORK / job.wildcards["preset"] / job.name
    record = folder / "fingerprint.json"
    try:
        kept = record.is_file() and read_json(record) == current
    except InputError:
        kept = False
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(record, current)
    return folder


def execute(job: dag.Job, params: Params) -> None:
    """Run one job to its end: check inputs, run the stage, record its time.

    Raises:
        InputError: a missing or damaged input, or a second copy of the job.
    """
    receipts.check_source()
    with exclusive(job.name):
        for path in job.inputs:
            if not Path(path).exists():
                raise InputError(f"{path}: missing; run 'snakemake --cores all all' or the stage that makes it")
        _run(job, params)


def _run(job: dag.Job, params: Params) -> None:
    threads = dag.threads(job, params)
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # as use_deterministic_algorithms(True), without a second of imports
    made_from = receipts.fingerprint(job)
    work = _work_folder(job, made_from)
    device = pick_device(params.device) if "device" in job.stage.params else "cpu"
    spent = _Clock(work / "spent.json")
    run = Run(job, work, device, {}, params)
    with spent:
        importlib.import_module(f"metadiffuser.stages.{job.stage.name}").run(run)
    if job.stage.timed:
        record = spent.record(job.name, threads, device) | run.notes
        write_json(Path(dag.timing_path(job.name, params.preset)), record)
    receipts.write(job, made_from)
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
