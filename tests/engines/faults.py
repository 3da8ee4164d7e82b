"""Kill jobs and engines at random moments until the DAG has ended all the same, and look whether that shows.

Run as a program in the project's root (``python -m tests.engines.faults --help``), on the smoke preset in scratch
copies. Every kill is a SIGKILL, of one of three kinds: of a job, of the engine, of both with everything they started.
Half of the moments are drawn at random, half fall shortly after a job has written a checkpoint. The draws are seeded;
where a job stands at a moment depends on the machine.

After each kill, each output under its final name must be, byte for byte, that of a run that nobody disturbed; a job
that left a checkpoint must go on from that very step; and in the end everything must be there. Meanwhile a watcher
looks at every file as it appears: none may be visible under its final name before it is whole. Timing records and the
report hold times, and must be complete rather than equal.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from safetensors import SafetensorError, safe_open

from metadiffuser.config.loading import load
from metadiffuser.pipeline import dag
from tests.conftest import Project
from tests.engines.undisturbed import (
    ENGINES,
    LAST,
    LONGEST,
    Files,
    VisibleFaultError,
    complete,
    contents,
    digest,
    outputs,
    reference,
    scratch,
    start,
    twin,
)

KINDS = ("job", "engine", "all")
GLANCE = 0.02  # seconds between two looks of the watcher


@dataclass
class Harness:
    """One DAG under fire.

    Attributes:
        project: the scratch copy.
        engine: ``snakemake`` or ``dvc``.
        expected: {output: its files} of the undisturbed run.
        kills: wanted; where the DAG ends before, it is begun anew.
        draw: source of the moments, the kinds and the victims.
        until: the last stage that is to run.
        aimed: share of the kills that fall shortly after a checkpoint.
        killed: how many of each kind.
        resumed: how many jobs have gone on from a checkpoint.
        rounds: how often the DAG has ended.
        seen: how many files the watcher has seen appear, each of them whole.
        orphans: jobs whose engine has just been killed.
        owed: {log of an attempt: {checkpoint: step}} that this attempt has to go on from.
    """

    project: Project
    engine: str
    expected: dict[str, Files]
    kills: int
    draw: random.Random
    until: str = LAST
    aimed: float = 0.5
    killed: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    rounds: int = 0
    seen: int = 0
    owed: dict[str, dict[str, int]] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Kill as often as wanted, then let the DAG end; raise ``VisibleFaultError`` for what should not be."""
        while True:
            with self.watched():
                process = start(self.project, self.engine, self.until)
                try:
                    while self._wants_more() and self._attack(process):
                        pass
                    code = process.wait(timeout=LONGEST)
                finally:
                    self._end()
            self.check_whole()
            self.check_resumed()
            if code == 0:
                self.rounds += 1
                for path, files in self.expected.items():
                    if contents(self.project.root, path) != files:
                        raise VisibleFaultError(f"{path}: not what the undisturbed run made")
                if not self._wants_more():
                    if not self.resumed:
                        raise VisibleFaultError("no job has gone on from a checkpoint")
                    return
                for name in ("artifacts", "results/smoke", ".work", ".snakemake", "dvc.lock", ".dvc/cache"):
                    old = self.project.root / name
                    shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)

    def _wants_more(self) -> bool:
        """Tell whether to kill on: as often as wanted, and on until something has gone on from a checkpoint."""
        return self.killed.total() < self.kills * (1 if self.resumed else 4)

    def _end(self) -> None:
        """Wait for the orphans to end by themselves; raise ``VisibleFaultError`` if one does not."""
        deadline = time.monotonic() + 60
        while self._jobs():
            if time.monotonic() > deadline:
                raise VisibleFaultError(f"{self._jobs()[0].cmdline()}: still running a minute after its engine")
            time.sleep(0.1)
        self._owe(self.orphans)
        self.orphans = []

    def _jobs(self) -> list[psutil.Process]:
        """The jobs that run in the copy."""
        found = []
        for path in (self.project.root / ".work" / "locks").glob("*@*.lock"):
            try:
                process = psutil.Process(json.loads(path.read_text(encoding="utf-8"))["pid"])
                if process.cwd() == str(self.project.root) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (ValueError, KeyError, OSError, psutil.Error):
                continue
        return found

    def _attack(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for a moment and kill; tell whether the engine may have survived it. False, too, if it had ended."""
        patience, seen = self.draw.uniform(0, 6), self.draw.random() < self.aimed
        moment = time.monotonic() + patience
        before = self._checkpoints() if seen else {}
        victims: list[psutil.Process] = []
        while process.poll() is None:
            time.sleep(0.02)
            victims = self._jobs()
            written = seen and any(before.get(name) != step for name, step in self._checkpoints().items())
            if victims and (written or (not seen and time.monotonic() > moment)):
                break
        else:
            return False
        time.sleep(self.draw.uniform(0, 0.15))
        kind = self.draw.choice(KINDS)
        self._kill(kind, process, self.draw.choice(victims))
        self.check_whole()
        return kind == "job"

    def _kill(self, kind: str, process: subprocess.Popen[bytes], victim: psutil.Process) -> None:
        try:
            words = "-".join(victim.cmdline()[2:])
            if kind == "job":
                victim.kill()
                psutil.wait_procs([victim], timeout=10)
                self._owe([words])
            elif kind == "engine":
                self.orphans = ["-".join(job.cmdline()[2:]) for job in self._jobs()]
                process.kill()
            else:
                doomed = ["-".join(job.cmdline()[2:]) for job in self._jobs()]
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self._owe(doomed)
        except (psutil.NoSuchProcess, ProcessLookupError):
            return  # it had just ended
        self.killed[kind] += 1

    def _folders(self) -> dict[str, Path]:
        jobs = dag.jobs(load(self.project.root / "params.yaml"))
        work = self.project.root / ".work" / "smoke"
        return {"-".join(job.command.split()[1:]): work / job.name for job in jobs}

    def _checkpoints(self) -> dict[str, int]:
        return {str(path): path.stat().st_ino for path in self.project.root.glob(".work/smoke/*/*.safetensors")}

    def _owe(self, words: Sequence[str]) -> None:
        """Note the checkpoints that killed jobs left: what the next attempt has to go on from."""
        folders = self._folders()
        for job in folders.keys() & set(words):  # a process that is just ending has no words
            steps = {}
            for path in folders[job].glob("*.safetensors"):
                try:
                    with safe_open(str(path), framework="numpy") as stream:
                        step = json.loads(stream.metadata()["header"]).get("step")
                except SafetensorError as error:
                    raise VisibleFaultError(f"{path}: half-written under its final name ({error})") from None
                if step is not None:
                    steps[path.name] = step
            attempts = len(list((self.project.root / "attempts" / job).glob("*.log")))
            if steps:
                self.owed[f"{job}/{attempts:03d}.log"] = steps

    def check_resumed(self) -> None:
        """Look into the logs of the attempts that had a checkpoint to go on from."""
        for name, steps in list(self.owed.items()):
            log = self.project.root / "attempts" / name
            if not log.exists() or "goes on from" not in (said := log.read_text(encoding="utf-8")):
                if log.exists() and re.search(r": \d+/\d+", log.read_text(encoding="utf-8")):
                    raise VisibleFaultError(f"{name}: started anew, although it had come to {steps}")
                continue  # not started yet, or killed before it had read anything
            for file, step in steps.items():
                if f"{file}, step {step}\n" not in said:
                    raise VisibleFaultError(f"{name}: did not go on from {file}, step {step}:\n{said}")
            first = re.search(r": (\d+)/\d+", said)
            alone = steps.get("training.safetensors") if len(steps) == 1 else None
            if first and alone is not None and int(first[1]) not in (alone + 1, alone):  # the latter if it was the last
                raise VisibleFaultError(f"{name}: went on with step {first[1]} after {steps}:\n{said}")
            self.resumed += 1
            del self.owed[name]

    def check_whole(self) -> None:
        """Compare every output that is visible under its final name with the undisturbed run's."""
        for path, files in self.expected.items():
            if contents(self.project.root, path) not in ({}, files):
                time.sleep(0.5)  # an engine that deletes a stale folder is not a job that has half written it
                if contents(self.project.root, path) not in ({}, files):
                    raise VisibleFaultError(f"{path}: visible, but not whole")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look on from a thread; raise ``VisibleFaultError`` in the end if a file was visible that was not whole."""
        over = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            watcher = pool.submit(self._watch, over)
            try:
                yield
            finally:
                over.set()
            watcher.result()

    def _watch(self, over: threading.Event) -> None:
        whole: dict[str, str | None] = dict.fromkeys(outputs(self.project, self.until)[1])
        for files in self.expected.values():
            whole |= files
        known: dict[str, tuple[int, int, int]] = {}
        while not over.wait(GLANCE):
            for name, value in whole.items():
                path = self.project.root / name
                try:
                    status = path.stat()
                    state = (status.st_ino, status.st_size, status.st_mtime_ns)
                    if known.get(name) == state:
                        continue
                    content = path.read_bytes()
                except FileNotFoundError:
                    continue
                if not (complete(name, content) if value is None else digest(content) == value):
                    raise VisibleFaultError(f"{name}: was visible before it was whole")
                known[name] = state
                self.seen += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=ENGINES, help="default: both")
    parser.add_argument("--kills", type=int, default=30, help="for each engine (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    smoke = load("presets/smoke.yaml")
    parser.add_argument("--families", nargs="+", default=list(smoke.families))
    parser.add_argument("--baselines", nargs="+", default=list(smoke.baselines))
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        root = Path(folder).resolve()
        fresh = scratch(root / "fresh", words.families, words.baselines)
        began = time.monotonic()
        expected = reference(twin(fresh, root / "reference"))
        print(f"undisturbed: {len(expected)} outputs, {time.monotonic() - began:.0f} s", flush=True)
        for engine in [words.engine] if words.engine else list(ENGINES):
            began = time.monotonic()
            harness = Harness(twin(fresh, root / engine), engine, expected, words.kills, random.Random(words.seed))
            harness.run()
            kinds = ", ".join(f"{harness.killed[kind]} of {kind}" for kind in KINDS)
            print(
                f"{engine}: {harness.killed.total()} kills ({kinds}), {harness.resumed} jobs went on from a "
                f"checkpoint, {harness.seen} files appeared whole, DAG ended {harness.rounds} times with the bytes of "
                f"the undisturbed run, {time.monotonic() - began:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
