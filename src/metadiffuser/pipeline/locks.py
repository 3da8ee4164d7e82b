"""Who is at work in this checkout: one engine at a time, one copy of a job, and no job whose engine has died.

Snakemake locks its folder and DVC its paths, but neither knows of the other, and killing an engine leaves its jobs
running. So there are locks of our own, each a ``flock`` on a file: the kernel drops it with the process that holds
it, however that ends, and none has ever to be deleted by hand.

| lock | held by | for |
|---|---|---|
| ``run.lock``, exclusive | Snakemake | its whole run |
| ``run.lock``, shared | a job that DVC or a person started | the job |
| ``<job>.lock`` | the job | the job |

A job knows the engine that started it, and stops by itself when that has died. Until it has, nothing new is started:
Snakemake and the jobs of DVC wait for it. The programs write into the files who they are; that is for messages only,
except where it tells that an engine is no longer there.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import psutil

from metadiffuser.errors import InputError
from metadiffuser.pipeline.records import WORK

LOCKS = WORK / "locks"
RUN = LOCKS / "run.lock"
VARIABLE = "METADIFFUSER_ENGINE"  # by which Snakemake tells its jobs who started them
RWLOCK = Path(".dvc/tmp/rwlock")  # in which DVC writes who runs what
DVC_LOCK = Path(".dvc/tmp/lock")  # which DVC holds unless a job of its runs

POLL = 0.5  # seconds between two looks at the engine
MOMENT = 1.0  # seconds after which a lock that is held is not merely being looked at
CLOCK_STEP = 60.0  # seconds by which times of creation may differ that were read at different times
PATIENCE = 60.0  # seconds that a new run waits for the jobs of an engine that has died

_kept: list[IO[str]] = []  # the lock of a whole run: open until the process ends


@dataclass(frozen=True)
class Engine:
    """A program that starts jobs.

    Attributes:
        name: as people know it.
        pid: its process.
        host: the machine that it runs on.
        since: when the process was created, in seconds since the epoch; tells it from a later one of the same number.
    """

    name: str
    pid: int
    host: str
    since: float

    @classmethod
    def of(cls, name: str, pid: int) -> Engine | None:
        """Return the engine that is process ``pid`` of this machine, None if there is no such process."""
        try:
            return cls(name, pid, platform.node(), psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    @classmethod
    def read(cls, text: str) -> Engine | None:
        """Return the engine that ``text`` tells, None if it tells none."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def __str__(self) -> str:
        where = "" if self.host == platform.node() else f" on {self.host}"
        return f"{self.name} (process {self.pid}{where})"

    def text(self) -> str:
        """Return what ``read`` reads."""
        return json.dumps(asdict(self))

    def died(self) -> bool:
        """Tell whether the engine is gone. On another machine than this one, only its lock tells."""
        if self.host != platform.node():
            return _holder() != self
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.since) > CLOCK_STEP or _ended(process)
        except psutil.NoSuchProcess:
            return True

    def watch(self) -> Callable[[], bool]:
        """Return a function that tells whether the engine has died since; steps of the clock do not mislead it."""
        if self.host != platform.node():
            return self.died
        return partial(_ended, psutil.Process(self.pid))


def _ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _take(stream: IO[str], how: int) -> bool:
    try:
        fcntl.flock(stream, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+", encoding="utf-8")


def _tell(stream: IO[str], text: str) -> None:
    """Write into a lock's file who holds it."""
    stream.seek(0)
    stream.truncate()
    stream.write(text)
    stream.flush()


def _told(stream: IO[str]) -> str:
    stream.seek(0)
    return stream.read()


def _holder() -> Engine | None:
    """Return the engine that holds this checkout for its run."""
    if not RUN.exists():
        return None
    with RUN.open(encoding="utf-8") as stream:
        return None if _take(stream, fcntl.LOCK_SH) else Engine.read(_told(stream))


def engine_at_work() -> bool:
    """Tell whether another process holds this checkout for a run of Snakemake."""
    holder = _holder()
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
        told = json.loads(_told(stream))
        return _Running(path.stem, told["pid"], Engine(**told["engine"]) if told["engine"] else None)
    except (ValueError, TypeError, KeyError):
        return _Running(path.stem, None, None)


def _running() -> list[_Running]:
    """Return the jobs that run in this checkout."""
    found = []
    for path in sorted(LOCKS.glob("*@*.lock")):
        with path.open(encoding="utf-8") as stream:
            if not _take(stream, fcntl.LOCK_SH):
                found.append(_read_running(path, stream))
    return found


def check_idle() -> None:
    """Check that nothing is at work in this checkout. Raises ``InputError`` if an engine or a job is."""
    if found := _holder() or next(iter(_running()), None) or _dvc_at_work():
        raise _refusal(found)


def _dvc_at_work() -> Engine | str | None:
    """Return a dvc that is at work here: it writes down whose outputs it makes, and holds its lock between jobs."""
    try:
        told = json.loads(RWLOCK.read_text(encoding="utf-8"))
        listed = [*told["write"].values(), *(one for readers in told["read"].values() for one in readers)]
        engines = [Engine.of("dvc", int(one["pid"])) for one in listed]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        engines = []
    if found := next(filter(None, engines), None):
        return found
    if not DVC_LOCK.exists():
        return None
    with DVC_LOCK.open(encoding="utf-8") as stream:
        deadline = time.monotonic() + MOMENT
        while not _take(stream, fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                return "dvc"
            time.sleep(POLL / 10)
    return None


def _refusal(what: object) -> InputError:
    return InputError(f"{what} is at work in this checkout; wait for it to end or stop it, then run this again")


def _wait_for_orphans(own: Engine | None) -> None:
    """Wait until no job of an engine that has died is left. Raises ``InputError`` if one stays, or others run."""
    deadline = time.monotonic() + PATIENCE
    while others := [job for job in _running() if job.engine != own and job.pid != os.getpid()]:
        strangers = [job for job in others if not job.orphaned()]
        if strangers or time.monotonic() > deadline:
            raise _refusal((strangers or others)[0])
        time.sleep(POLL)


def hold_checkout(name: str) -> None:
    """Hold this checkout for a run of engine ``name``, this process, until the process ends; tell its jobs.

    Raises:
        InputError: another engine is at work here, or a job that it, DVC or a person started.
    """
    engine = Engine.of(name, os.getpid())
    assert engine is not None
    stream = _open(RUN)
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
    while not _take(stream, fcntl.LOCK_EX):
        holder = _holder()
        if holder is not None and not holder.died():
            raise _refusal(holder)
        if _running():
            _wait_for_orphans(engine)
        elif time.monotonic() > deadline:
            raise _refusal("another run")
        time.sleep(POLL / 10)
    _tell(stream, engine.text())


def pass_on() -> None:
    """Tell the jobs of a process that an engine has started on another machine who that engine is."""
    if VARIABLE not in os.environ and (engine := _holder()):
        os.environ[VARIABLE] = engine.text()


def _starter(outputs: tuple[str, ...]) -> Engine | None:
    """Return the engine that has started this job, None if a person has."""
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
        outputs: its paths, by which DVC tells who runs it.

    Raises:
        InputError: the job runs already, its engine has died, or another engine is at work in this checkout.
    """
    engine = _starter(outputs)
    with ExitStack() as stack:
        if engine is None or engine.name == "dvc":
            stack.enter_context(_shared())
            _wait_for_orphans(engine)
        elif engine.host == platform.node() and _holder() != engine:
            raise InputError(f"{engine}, which started this job, has ended; run the pipeline again")
        stack.enter_context(exclusive(name, engine))
        if engine and not engine.died():
            stack.enter_context(_stop_with(engine))
        yield


@contextmanager
def _shared() -> Iterator[None]:
    with _open(RUN) as stream:
        deadline = time.monotonic() + MOMENT
        while not _take(stream, fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                raise _refusal(Engine.read(_told(stream)) or "another run")
            time.sleep(POLL / 10)
        yield


@contextmanager
def exclusive(name: str, engine: Engine | None = None) -> Iterator[None]:
    """Hold the lock of job ``name``. Raises ``InputError`` if another process does."""
    path = LOCKS / f"{name}.lock"
    with _open(path) as stream:
        start = time.monotonic()
        while not _take(stream, fcntl.LOCK_EX):
            other = _read_running(path, stream)
            if time.monotonic() > start + (PATIENCE if other.orphaned() else MOMENT):
                raise InputError(
                    f"{name} is already running in this checkout (process {other.pid}); "
                    "wait for it or stop it, then go on"
                )
            time.sleep(POLL / 10)
        _tell(stream, json.dumps({"pid": os.getpid(), "engine": asdict(engine) if engine else None}))
        yield


@contextmanager
def _stop_with(engine: Engine) -> Iterator[None]:
    """End this process when ``engine`` dies: at once, as by a kill, which outputs and checkpoints survive whole."""
    over, died = threading.Event(), engine.watch()

    def look() -> None:
        while not over.wait(POLL):
            if died():
                with suppress(OSError):
                    print(
                        f"metadiffuser: {engine}, which started this job, has died; stopping",
                        file=sys.stderr,
                        flush=True,
                    )
                os._exit(130)

    watcher = threading.Thread(target=look, name="engine", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
