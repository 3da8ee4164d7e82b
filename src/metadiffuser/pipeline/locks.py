"""Locks of this checkout: one engine at a time, one copy of a job, and no job whose engine has ended.

Snakemake locks its folder and DVC its paths, but neither respects the locks of the other, and the jobs of an engine
that is killed go on running. So this package has its own locks, each a ``flock`` on a file: the kernel releases it
when the process that holds it ends in any way, and none ever has to be deleted by hand.

| lock | held by | for |
|---|---|---|
| ``run.lock``, exclusive | Snakemake | its whole run |
| ``run.lock``, shared | a job that DVC or a person started | the job |
| ``<job>.lock`` | the job | the job |

A job knows the engine that started it, and stops when that engine has ended. Snakemake and the jobs of DVC wait for
such jobs to stop before they start anything new. Each process writes a description of itself into its lock's file, for
messages and for detecting that an engine has ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from metadiffuser.errors import InputError, say
from metadiffuser.pipeline.engine import (
    LOCKS,
    RUN,
    Engine,
    current_engine,
    open_lock,
    read_holder,
    take,
    write_holder,
)

VARIABLE = "METADIFFUSER_ENGINE"  # in the environment of Snakemake's jobs: the engine that started them
RWLOCK = Path(".dvc/tmp/rwlock")  # where DVC records which process uses which path
DVC_LOCK = Path(".dvc/tmp/lock")  # DVC holds it except while one of its jobs runs

POLL = 0.5  # seconds between two looks at the engine
MOMENT = 1.0  # seconds after which a lock that is taken is not merely being tested
PATIENCE = 60.0  # seconds that a new run waits for the jobs of an engine that has ended

_kept: list[IO[str]] = []  # the lock of a whole run, open until the process ends


def engine_at_work() -> bool:
    """Return whether another process holds this checkout for a run of Snakemake."""
    holder = current_engine()
    return holder is not None and holder.pid != os.getpid()


@dataclass(frozen=True)
class _Running:
    """A job whose lock is held."""

    name: str
    pid: int | None
    engine: Engine | None

    def __str__(self) -> str:
        by = f", started by {self.engine}" if self.engine else ""
        return f"{self.name} (process {self.pid}{by})"

    def orphaned(self) -> bool:
        return self.engine is not None and self.engine.died()


def _read_running(path: Path, stream: IO[str]) -> _Running:
    try:
        held = json.loads(read_holder(stream))
        return _Running(path.stem, held["pid"], Engine(**held["engine"]) if held["engine"] else None)
    except (ValueError, TypeError, KeyError):
        return _Running(path.stem, None, None)


def _running() -> list[_Running]:
    """Return the jobs that run in this checkout."""
    found = []
    for path in sorted(LOCKS.glob("*@*.lock")):
        with path.open(encoding="utf-8") as stream:
            if not take(stream, fcntl.LOCK_SH):
                found.append(_read_running(path, stream))
    return found


def check_idle() -> None:
    """Check that nothing runs in this checkout. Raises ``InputError`` if an engine or a job does."""
    if found := current_engine() or next(iter(_running()), None) or _dvc_at_work():
        raise _refusal(found)


def _dvc_at_work() -> Engine | str | None:
    """Return a dvc that runs in this checkout: it lists the paths that it writes, and holds its lock between jobs."""
    try:
        used = json.loads(RWLOCK.read_text(encoding="utf-8"))
        listed = [*used["write"].values(), *(one for readers in used["read"].values() for one in readers)]
        engines = [Engine.of("dvc", int(one["pid"])) for one in listed]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        engines = []
    if found := next(filter(None, engines), None):
        return found
    if not DVC_LOCK.exists():
        return None
    with DVC_LOCK.open(encoding="utf-8") as stream:
        deadline = time.monotonic() + MOMENT
        while not take(stream, fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                return "dvc"
            time.sleep(POLL / 10)
    return None


def _refusal(what: object) -> InputError:
    return InputError(f"{what} is at work in this checkout; wait for it to end or stop it, then run this again")


def _wait_for_orphans(own: Engine | None) -> None:
    """Wait until the jobs of ended engines have stopped. Raises ``InputError`` if one stays, or others run."""
    deadline = time.monotonic() + PATIENCE
    while others := [job for job in _running() if job.engine != own and job.pid != os.getpid()]:
        strangers = [job for job in others if not job.orphaned()]
        if strangers or time.monotonic() > deadline:
            raise _refusal((strangers or others)[0])
        time.sleep(POLL)


def hold_checkout(name: str) -> None:
    """Hold this checkout for a run of engine ``name``, this process, until the process ends; pass that on to its jobs.

    Raises:
        InputError: another engine runs in this checkout, or a job that it, DVC or a person started.
    """
    engine = Engine.of(name, os.getpid())
    assert engine is not None
    stream = open_lock(RUN)
    try:
        _take_run(stream, engine)
        _wait_for_orphans(engine)
    except InputError:
        stream.close()
        raise
    _kept.append(stream)
    os.environ[VARIABLE] = engine.text()


def _take_run(stream: IO[str], engine: Engine) -> None:
    deadline = time.monotonic() + MOMENT
    while not take(stream, fcntl.LOCK_EX):
        holder = current_engine()
        if holder is not None and not holder.died():
            raise _refusal(holder)
        if _running():
            _wait_for_orphans(engine)
        elif time.monotonic() > deadline:
            raise _refusal("another run")
        time.sleep(POLL / 10)
    write_holder(stream, engine.text())


def pass_on() -> None:
    """Pass on the engine to the jobs of this process, which that engine has started on another machine."""
    if VARIABLE not in os.environ and (engine := current_engine()):
        os.environ[VARIABLE] = engine.text()


def _starter(outputs: tuple[str, ...]) -> Engine | None:
    """Return the engine that started this job, None if a person did."""
    if VARIABLE in os.environ:
        return Engine.read(os.environ[VARIABLE])
    if "DVC_STAGE" not in os.environ:
        return None
    try:
        writers: dict[str, Any] = json.loads(RWLOCK.read_text(encoding="utf-8"))["write"]
        pid = int(next(writers[path]["pid"] for path in map(os.path.abspath, outputs) if path in writers))
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        pid = os.getppid()
    return Engine.of("dvc", pid)


@contextmanager
def job_at_work(name: str, outputs: tuple[str, ...] = ()) -> Iterator[None]:
    """Hold what job ``name`` needs while it runs, and stop the process if the engine that started it dies.

    Args:
        name: of the job.
        outputs: its paths, by which DVC lists the processes that run jobs.

    Raises:
        InputError: the job is running already, its engine has ended, or another engine runs in this checkout.
    """
    engine = _starter(outputs)
    with ExitStack() as stack:
        if engine is None or engine.name == "dvc":
            stack.enter_context(_shared())
            _wait_for_orphans(engine)
        elif engine.host == platform.node() and current_engine() != engine:
            raise InputError(f"{engine}, which started this job, has ended; run the pipeline again")
        stack.enter_context(exclusive(name, engine))
        if engine and not engine.died():
            stack.enter_context(_stop_with(engine))
        yield


@contextmanager
def _shared() -> Iterator[None]:
    with open_lock(RUN) as stream:
        deadline = time.monotonic() + MOMENT
        while not take(stream, fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                raise _refusal(Engine.read(read_holder(stream)) or "another run")
            time.sleep(POLL / 10)
        yield


@contextmanager
def exclusive(name: str, engine: Engine | None = None) -> Iterator[None]:
    """Hold the lock of job ``name``. Raises ``InputError`` if another process does."""
    path = LOCKS / f"{name}.lock"
    with open_lock(path) as stream:
        start = time.monotonic()
        while not take(stream, fcntl.LOCK_EX):
            other = _read_running(path, stream)
            if time.monotonic() > start + (PATIENCE if other.orphaned() else MOMENT):
                raise InputError(
                    f"{name} is already running in this checkout (process {other.pid}); "
                    "wait for it to end or stop it, then run this again"
                )
            time.sleep(POLL / 10)
        write_holder(stream, json.dumps({"pid": os.getpid(), "engine": asdict(engine) if engine else None}))
        yield


@contextmanager
def _stop_with(engine: Engine) -> Iterator[None]:
    """End this process at once when ``engine`` ends; outputs and checkpoints stay whole, as after a kill."""
    over, died = threading.Event(), engine.watch()

    def look() -> None:
        while not over.wait(POLL):
            if died():
                say(f"metadiffuser: {engine}, which started this job, has ended; stopping")
                os._exit(130)

    watcher = threading.Thread(target=look, name="engine", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
