"""Running one job: its parameters, its paths, and how it resumes after it was stopped.

A stage gets a ``Run`` and nothing else. The ``Run`` refuses parameters and paths that the stage does not declare in
``metadiffuser.pipeline.dag``, so that the declared dependencies are complete.
"""

from __future__ import annotations

import errno
import importlib
import json
import logging
import os
import platform
import resource
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from metadiffuser import checkpointing
from metadiffuser.artifacts import read_json, write_json
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError, final_name
from metadiffuser.pipeline import dag, integrity, records, reuse, work
from metadiffuser.pipeline.locks import job_at_work
from metadiffuser.pipeline.records import WORK

log = logging.getLogger(__name__)

FINGERPRINT, SPENT = "fingerprint.json", "spent.json"  # in a job's work folder, beside its checkpoints
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


@dataclass(frozen=True)
class Run:
    """What a stage gets: its job's parameters, paths, device and work folder.

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
        self._declared_key(key)
        return attrgetter(key)(self._params)

    def section(self, name: str) -> Any:
        """Return a section that the stage declares, with the family's overrides merged in."""
        self._declared_key(name)
        return self._params.typed_section(name, self.job.wildcards.get("family"))

    def whole(self) -> Params:
        """Return all parameters, for a stage that declares them all."""
        for key in Params.model_fields:
            self._declared_key(key)
        return self._params

    def wildcard(self, name: str) -> str:
        """Return the value of a wildcard of the job, or of one whose first value its inputs use."""
        return self.job.reads[name]

    def path(self, template: str, **choice: str) -> Path:
        """Return the one path of ``template`` for this job; ``choice`` sets wildcards that the job does not have."""
        (path,) = dag.expand(template, {**self.job.reads, **choice}, self._params)
        self._declared(template)
        return Path(path)

    def all_paths(self, template: str) -> list[Path]:
        """Return the paths of a template for all values of the wildcards that the job does not have."""
        self._declared(template)
        return [Path(path) for path in dag.expand(template, self.job.reads, self._params)]

    def _declared_key(self, key: str) -> None:
        if key not in self.job.params:
            raise KeyError(f"stage {self.job.stage.name} does not declare parameter '{key}' in dag.py")

    def _declared(self, template: str) -> None:
        stage = self.job.stage
        if template not in (*stage.inputs, *stage.outputs):
            raise KeyError(f"stage {stage.name} does not declare {template} in dag.py")


def pick_device(wanted: str) -> str:
    """Return ``cpu`` or ``cuda``. Raises ``InputError`` if CUDA is asked for and missing."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("params.yaml: 'device' is cuda, but torch finds no CUDA device; set it to auto or cpu")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def prepare_cuda() -> None:
    """Let CUDA compute as a CPU does: by deterministic algorithms, and in full single precision.

    cuBLAS is deterministic with a workspace of fixed size alone, and refuses its work without one where deterministic
    algorithms are asked for. Convolutions would round their inputs to ten bits (TF32).
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = False


def _work_folder(job: dag.Job, current: str) -> Path:
    """Return the job's work folder, emptied if ``current``, the fingerprint of the job, is a new one."""
    folder = WORK / job.wildcards["preset"] / job.name
    record = folder / FINGERPRINT
    try:
        kept = record.is_file() and read_json(record) == current
    except InputError:
        kept = False
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(record, current)
    return folder


def execute(job: dag.Job, params: Params, source: Path | None = None) -> None:
    """Run one job: check its inputs, run the stage, record its time and its outputs.

    Args:
        job: the job to run.
        params: all parameters.
        source: the file that the parameters were read from, if any; the job's parameters in it must be the same when
            the job ends.

    Raises:
        InputError: a missing or damaged input, a second copy of the job, another engine running in this checkout, or
            an edit of parameters, code or inputs while the job ran.
        OSError: the file system is full or refuses; ``filename`` is the place.
    """
    records.check_source()
    with job_at_work(job.name, job.outputs):
        _sweep(job)
        integrity.check(job, params)
        _run(job, params, source)


def _sweep(job: dag.Job) -> None:
    """Delete unfinished files that killed copies of this job left beside its outputs."""
    for output in map(Path, job.outputs):
        for pattern in (f".{output.name}.*.part", f".{output.name}.*.old"):
            for path in output.parent.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _run(job: dag.Job, params: Params, source: Path | None) -> None:
    threads = dag.threads(job, params)
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # as use_deterministic_algorithms(True), without a second of imports
    made_from = records.fingerprint(job)
    device = pick_device(params.device) if "device" in job.stage.params else "cpu"
    if device == "cuda":
        prepare_cuda()
    try:
        folder = _work_folder(job, made_from)
        twin = reuse.find(job, made_from, params)
        if twin is None:
            _compute(Run(job, folder, device, {}, params), threads, params)
        else:
            log.warning("%s: takes the outputs of %s, which are the same", job.name, twin.name)
            reuse.take(twin, job)
        records.check_unchanged(job, made_from, source)
        records.write(job, made_from)
    except (OSError, RuntimeError) as error:
        located = _on_disk(error, job)
        if located is error:
            raise
        raise located from error
    shutil.rmtree(folder)


def _compute(run: Run, threads: int, params: Params) -> None:
    """Run the stage; write its timing record."""
    spent = _Clock(run.work / SPENT)
    with spent:
        _go_on(run)
    if run.job.stage.timed:
        record = spent.record(run.job.name, threads, run.device) | run.notes | _amounts(run.job, params)
        write_json(Path(dag.timing_path(run.job.name, run.job.wildcards["preset"])), record)


def _amounts(job: dag.Job, params: Params) -> dict[str, float]:
    """Return a job's declared work, and the bytes of its outputs without the last, the timing record itself."""
    written = [file for output in job.outputs[:-1] for file in records.files(Path(output))]
    return {
        "work": work.of(job.stage.name, job.wildcards, work.settings(params)),
        "bytes": sum(file.stat().st_size for file in written),
    }


def _go_on(run: Run) -> None:
    """Run the stage from the checkpoints of a copy that was stopped; from the start if they are damaged."""
    stage = importlib.import_module(f"metadiffuser.stages.{run.job.stage.name}").run
    resumed = [path for path in sorted(run.work.rglob("*.safetensors")) if _readable(path)]
    try:
        stage(run)
    except (InputError, OSError):
        raise
    except Exception as error:
        if not resumed:
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        log.warning("%s: cannot resume from %s (%s); it starts again", run.job.name, resumed[0], reason)
        for path in resumed:
            path.unlink(missing_ok=True)
        run.notes.clear()
        stage(run)


def _readable(path: Path) -> bool:
    """Return whether a checkpoint in the work folder can be read, and log that the job resumes from it.

    A damaged one is deleted.
    """
    try:
        with safe_open(str(path), framework="numpy") as stream:
            step = json.loads((stream.metadata() or {})["header"]).get("step")
    except (SafetensorError, OSError, KeyError, ValueError, AttributeError) as error:
        log.warning("%s: damaged (%s); this part of the job is done again", path, str(error).splitlines()[0])
        path.unlink()
        return False
    log.warning("goes on from %s%s", path, "" if step is None else f", step {step}")
    return True


def _on_disk(error: OSError | RuntimeError, job: dag.Job) -> OSError | RuntimeError:
    """Return an error of the file system with its place as ``filename``; any other error as it is.

    Not all libraries give the place: h5py raises a RuntimeError without an error number when a file cannot grow.
    """
    reason = next((code for code in REFUSALS if os.strerror(code) in str(error)), None)
    if not isinstance(error, OSError) and reason is None:
        return error
    number = reason or getattr(error, "errno", None) or errno.EIO
    written = [Path(path).parent for path in job.outputs] + [WORK]
    places = [next(place for place in (path, *path.parents) if place.is_dir()) for path in written]
    name = getattr(error, "filename", None) or min(places, key=lambda place: shutil.disk_usage(place).free)
    text = getattr(error, "strerror", None) or str(error).splitlines()[0]
    if number == errno.EPIPE:  # an encoder process has ended; not the reader of our standard output
        number = errno.EIO
    return OSError(number, os.strerror(number) if number in REFUSALS else text, final_name(str(name)))


class _Clock:
    """Wall and CPU seconds of a job, summed over resumptions; a kill loses the time since the last checkpoint."""

    def __init__(self, path: Path):
        self._path = path
        self.wall = 0.0
        self.cpu = 0.0
        with suppress(InputError, KeyError, TypeError, ValueError):  # missing or damaged
            earlier = read_json(path)
            self.wall, self.cpu = float(earlier["wall"]), float(earlier["cpu"])

    def __enter__(self) -> None:
        self._begun = time.monotonic(), time.process_time()
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._keeper.join()
        self._write()
        self.wall, self.cpu = self._spent()

    def _keep(self) -> None:
        """Write the time spent as often as checkpoints are written, since a killed job cannot."""
        while not self._ended.wait(checkpointing.INTERVAL):
            self._write()

    def _spent(self) -> tuple[float, float]:
        wall, cpu = self._begun
        return self.wall + time.monotonic() - wall, self.cpu + time.process_time() - cpu

    def _write(self) -> None:
        wall, cpu = self._spent()
        if self._path.parent.exists():
            with suppress(OSError):  # a full disk is reported elsewhere
                write_json(self._path, {"wall": wall, "cpu": cpu})

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
