"""Engines, the programs that start jobs, and which of them holds this checkout for its run."""

from __future__ import annotations

import fcntl
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO

import psutil

from metadiffuser.pipeline.records import WORK

LOCKS = WORK / "locks"
RUN = LOCKS / "run.lock"
CLOCK_STEP = 60.0  # seconds by which two readings of a process's creation time may differ


@dataclass(frozen=True)
class Engine:
    """A program that starts jobs.

    Attributes:
        name: as people know it.
        pid: its process.
        host: the machine that it runs on.
        since: when the process was created, in seconds since the epoch; a later process of this pid differs in it.
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
        """Return the engine that ``text`` describes, None if it describes none."""
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
        """Return whether the engine has ended. If it runs on another machine, only its lock shows that."""
        if self.host != platform.node():
            return current_engine() != self
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.since) > CLOCK_STEP or _ended(process)
        except psutil.NoSuchProcess:
            return True

    def watch(self) -> Callable[[], bool]:
        """Return a function that returns whether the engine has ended since, whatever the system's clock does."""
        if self.host != platform.node():
            return self.died
        return partial(_ended, psutil.Process(self.pid))


def _ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def take(stream: IO[str], how: int) -> bool:
    """Take a lock, ``LOCK_SH`` or ``LOCK_EX``, without waiting; return whether that succeeded."""
    try:
        fcntl.flock(stream, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_lock(path: Path) -> IO[str]:
    """Open a lock's file, which is made if it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+", encoding="utf-8")


def write_holder(stream: IO[str], text: str) -> None:
    """Write a description of the holder into a lock's file."""
    stream.seek(0)
    stream.truncate()
    stream.write(text)
    stream.flush()


def read_holder(stream: IO[str]) -> str:
    """Return the description of the holder in a lock's file."""
    stream.seek(0)
    return stream.read()


def current_engine() -> Engine | None:
    """Return the engine that holds this checkout for its run, None if none does."""
    if not RUN.exists():
        return None
    with RUN.open(encoding="utf-8") as stream:
        return None if take(stream, fcntl.LOCK_SH) else Engine.read(read_holder(stream))
