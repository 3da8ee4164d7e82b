"""Which jobs of a run are done and running, and how much time is left, for people who watch it.

The time left is an estimate from recorded times (``results/*/timings``): those of the same jobs where they were run
before, else the mean of their stage, corrected by how long the jobs of this run took in comparison.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from metadiffuser import paths
from metadiffuser.artifacts import read_json
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, records
from metadiffuser.pipeline.schedule import Node, graph, makespan

CORRECTION = 10.0  # at most by this factor are recorded times corrected, either way
ENOUGH = 10.0  # recorded seconds of finished jobs before these correct anything: short jobs are mostly imports
LATE = 1.5  # times its expected time, from which on a running job says that records of it are no guide


@dataclass(frozen=True)
class Running:
    """A job that was started: its name in the DAG, what people call it, and when it started."""

    name: str
    label: str
    since: float


@dataclass
class Board:
    """The state of a run.

    Attributes:
        total: jobs of this run, 0 while it is not known.
        done: jobs that have ended well.
        failed: {label: name} of the jobs that failed and were not started again since.
        cores: jobs with one thread that can run at once.
        running: {Snakemake's number of a job: the job}.
        clock: returns seconds.
    """

    total: int = 0
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    cores: int = 1
    running: dict[int, Running] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _counts: Mapping[str, int] = field(default_factory=dict)
    _nodes: dict[str, Node] = field(default_factory=dict)
    _started: set[str] = field(default_factory=set)
    _finished: set[str] = field(default_factory=set)
    _took: float = 0.0
    _expected: float = 0.0

    def begin(self, counts: Mapping[str, int]) -> None:
        """Take {stage: number of its jobs that this run is to make} and what is known of their times."""
        self.total = sum(counts.values())
        self._counts = counts
        self._expect()

    def _expect(self) -> None:
        with suppress(InputError, OSError):  # without it there is no time left to show, and all else works
            self._nodes = {node.name: node for node in expected_jobs(load(), self._counts, self._started)}

    def start(self, number: int, stage: str, wildcards: Mapping[str, str], label: str) -> None:
        """Count a job as running."""
        self.failed.pop(label, None)
        name = dag.job_name(stage, wildcards)
        self.running[number] = Running(name, label, self.clock())
        self._started.add(name)
        if self._nodes and name not in self._nodes:
            self._expect()

    def finish(self, number: int) -> tuple[str, float] | None:
        """Count a job as done; return its label and the seconds that it took, None for one that was not announced."""
        job = self.running.pop(number, None)
        self.done += 1
        if job is None:
            return None
        took = self.clock() - job.since
        self._finished.add(job.name)
        if job.name in self._nodes:
            self._took += took
            self._expected += self._nodes[job.name].seconds
        return job.label, took

    def fail(self, number: int) -> tuple[str, float] | None:
        """Count a job as failed; return its label and the seconds that it took, None for one that does not run."""
        job = self.running.pop(number, None)
        if job is None:
            return None
        self.failed[job.label] = job.name
        return job.label, self.clock() - job.since

    def seconds_left(self) -> float | None:
        """Return about how long the run still takes, None if nothing is known of its jobs."""
        if not self._nodes:
            return None
        speed, elapsed = self._speed(), self._elapsed()
        left, never = [], set(self.failed.values())
        for node in self._nodes.values():
            if node.name in never or never.intersection(node.after):
                never.add(node.name)
            elif node.name not in self._finished:
                seconds = max(node.seconds * speed - elapsed.get(node.name, 0.0), 0.0)
                after = tuple(name for name in node.after if name not in self._finished)
                left.append(replace(node, seconds=seconds, after=after))
        return makespan(left, self.cores) if left else 0.0

    def _speed(self) -> float:
        """Return how many times its recorded time a job of this run takes."""
        known = self._expected > ENOUGH
        return min(max(self._took / self._expected, 1 / CORRECTION), CORRECTION) if known else 1.0

    def _elapsed(self) -> dict[str, float]:
        """Return {job name: seconds that it has been running}."""
        return {job.name: self.clock() - job.since for job in list(self.running.values())}

    def is_late(self) -> bool:
        """Return whether a running job takes so much longer than expected that nobody knows when it ends."""
        expected = {node.name: node.seconds for node in self._nodes.values() if node.seconds > ENOUGH}
        latest = LATE * self._speed()
        return any(name in expected and took > latest * expected[name] for name, took in self._elapsed().items())

    def status(self) -> str:
        """Return how far the run is, in one line."""
        words = [f"{self.done} of {self.total} jobs done" if self.total else f"{self.done} jobs done"]
        words += [f"{len(self.failed)} failed"] if self.failed else []
        words += [f"{len(self.running)} running"] if self.running else []
        seconds = self.seconds_left() if self.done < self.total else None
        late = self.is_late()
        if seconds is not None and seconds >= 1:
            words.append(f"{'at least' if late else 'about'} {short(seconds)} left")
        elif late:
            words.append("takes longer than before")
        return ", ".join(words)


def expected_jobs(params: Params, counts: Mapping[str, int], certain: Collection[str] = ()) -> list[Node]:
    """Return the jobs that a run is likely to make, with their recorded times.

    Args:
        params: in force.
        counts: {stage: number of jobs}; where that is not all of them, those that lack an output come first.
        certain: names of jobs that are among them, whatever their outputs.
    """
    times, means = recorded_times()
    jobs = dag.jobs(params)
    seconds = {job.name: times.get(job.name, means.get(job.stage.name, 0.0)) for job in jobs}
    chosen: set[str] = set()
    for stage, count in counts.items():
        own = [job for job in jobs if job.stage.name == stage]
        own.sort(key=lambda job: (job.name not in certain, records.is_made(job), -seconds[job.name]))
        chosen.update(job.name for job in own[:count])
    return graph([job for job in jobs if job.name in chosen], params, seconds)


def recorded_times() -> tuple[dict[str, float], dict[str, float]]:
    """Return {job name: CPU seconds} and {stage: their mean} of all timing records; damaged ones do not count."""
    times: dict[str, float] = {}
    stages = defaultdict(list)
    for path in Path().glob(paths.TIMING.format(preset="*", job="*")):
        with suppress(InputError, OSError, KeyError, TypeError, ValueError, AttributeError):
            record = read_json(path)
            name, seconds = str(record["job"]), float(record["cpu_seconds"])
            times[name] = seconds
            stages[name.partition("@")[0]].append(seconds)
    return times, {stage: sum(found) / len(found) for stage, found in stages.items()}


def short(seconds: float) -> str:
    """Return a time with its two largest units."""
    whole = round(seconds)
    for unit, length, below, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"
