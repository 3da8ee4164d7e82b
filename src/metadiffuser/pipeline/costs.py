"""What jobs cost: rates taken from timing records, kept in ``workflow/costs.json``, and estimates made with them.

A rate is CPU seconds per unit of the work that ``workload`` counts. Those of environment steps come from
``collect_dataset``, which does little else; every other one is what remains of its records after them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, isfinite, log
from pathlib import Path
from typing import Any

from metadiffuser.artifacts import read_json, write_json
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, dvc_lock
from metadiffuser.pipeline.workload import PHYSICS, Shape, Work, work_of

COSTS = Path("workflow/costs.json")
LEAST = 0.1  # of a record's time that stays for what is not environment steps


@dataclass(frozen=True)
class Estimate:
    """What one job takes.

    Attributes:
        cpu_seconds: on one core, or over all of its threads.
        memory_mb: MiB at its peak.
        disk: bytes of its outputs.
        guessed: {kind of work without a record: the kind whose rate was taken}.
    """

    cpu_seconds: float
    memory_mb: float
    disk: float
    guessed: Mapping[str, str]


@dataclass(frozen=True)
class Costs:
    """Measured rates.

    Attributes:
        seconds: {kind of work: CPU seconds for one unit}.
        memory: {stage: (MiB, MiB more for each byte held)}.
        disk: {stage: bytes for each unit written}.
        shapes: sizes of every family.
        records: {preset: timing records that this was made from}.
        machines: what they were recorded on.
        latest: when the last of them ended.
    """

    seconds: Mapping[str, float]
    memory: Mapping[str, tuple[float, float]]
    disk: Mapping[str, float]
    shapes: Mapping[str, Shape]
    records: Mapping[str, int]
    machines: Sequence[str]
    latest: str

    @classmethod
    def read(cls) -> Costs:
        """Read the committed rates. Raises ``InputError`` if they are missing or damaged."""
        tree = read_json(COSTS)
        try:
            shapes = {family: Shape(**sizes) for family, sizes in tree.pop("shapes").items()}
            memory = {stage: (float(base), float(slope)) for stage, (base, slope) in tree.pop("memory").items()}
            return cls(**tree, shapes=shapes, memory=memory)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{COSTS}: not as 'metadiffuser plan --measure' writes it; run that") from None

    def write(self) -> None:
        """Write the rates to be committed."""
        shapes = {family: vars(shape) for family, shape in self.shapes.items()}
        write_json(COSTS, {**vars(self), "shapes": shapes, "memory": {k: list(v) for k, v in self.memory.items()}})

    def estimate(self, job: dag.Job, params: Params) -> Estimate:
        """Return what a job takes; a kind of work without a record has the highest rate of its like."""
        work = work_of(job, params, self.shapes)
        name, guessed, seconds = job.stage.name, {}, 0.0
        for kind, amount in work.amounts.items():
            taken = self._nearest(kind)
            if taken != kind:
                guessed[kind] = taken
            seconds += amount * self.seconds[taken]
        base, slope = self.memory.get(name, (0.0, 0.0))
        return Estimate(seconds, base + slope * work.held, self.disk.get(name, 0.0) * work.written, guessed)

    def _nearest(self, kind: str) -> str:
        if kind in self.seconds:
            return kind
        like = [other for other in self.seconds if other.split("/")[0] == kind.split("/")[0]]
        if not like:
            raise InputError(f"{COSTS}: no rate of {kind}; run the quick preset, then 'metadiffuser plan --measure'")
        return max(like, key=lambda other: self.seconds[other])


@dataclass(frozen=True)
class Measured:
    """One job that was run: its work, its timing record and the bytes of its outputs (None if not recorded)."""

    job: dag.Job
    work: Work
    timing: Mapping[str, Any]
    size: float | None


def find(every: Iterable[Params], shapes: Mapping[str, Shape]) -> list[Measured]:
    """Return the jobs of some presets that were run on a CPU with the parameters that the presets have now."""
    lock = dvc_lock.read()
    found = []
    for params in every:
        for job in dag.jobs(params, timed_only=True):
            entry, path = lock.get(job.name), Path(dag.timing_path(job.name, params.preset))
            if entry is None or not path.exists() or dvc_lock.parameters(entry) != dict(job.params):
                continue
            timing = _read_timing(path)
            if timing["device"] == "cpu":
                sizes = [record.get("size") for record in entry.get("outs", [])]
                size = None if None in sizes else float(sum(sizes))
                found.append(Measured(job, work_of(job, params, shapes), timing, size))
    return found


def _read_timing(path: Path) -> Mapping[str, Any]:
    """Read a job's timing record. Raises ``InputError`` if it is not one."""
    timing = read_json(path)
    try:
        numbers = [timing[name] for name in ("cpu_seconds", "peak_memory_mb", "cores")]
        words = [timing[name] for name in ("device", "machine", "finished")]
        sound = all(isinstance(word, str) for word in words) and all(isfinite(number) for number in numbers)
    except (KeyError, TypeError, OverflowError):
        sound = False
    if not sound:
        raise InputError(f"{path}: not as a job writes it; 'git checkout -- {path}' or delete it, then run this again")
    return dict(timing)


def measure(measured: Sequence[Measured], shapes: Mapping[str, Shape]) -> Costs:
    """Return the rates that measured jobs tell: geometric means over the jobs of a kind.

    Raises:
        InputError: there are none.
    """
    if not measured:
        raise InputError("results/: no timing records of today's presets; run one of them first")
    physics: dict[str, list[float]] = defaultdict(list)
    for one in measured:
        if one.job.stage.name == "collect_dataset":
            ((kind, amount),) = one.work.amounts.items()
            physics[kind].append(one.timing["cpu_seconds"] / amount)
    rates = {kind: _mean(values) for kind, values in physics.items()}
    others: dict[str, list[float]] = defaultdict(list)
    for one in measured:
        whole = one.timing["cpu_seconds"]
        spent = sum(amount * rates.get(kind, 0.0) for kind, amount in one.work.amounts.items())
        for kind, amount in one.work.amounts.items():
            if not kind.startswith(f"{PHYSICS}/"):
                others[kind].append(max(whole - spent, LEAST * whole) / amount)
    rates |= {kind: _mean(values) for kind, values in others.items()}
    stages = {one.job.stage.name: [m for m in measured if m.job.stage == one.job.stage] for one in measured}
    sizes = {
        stage: [m.size / m.work.written for m in members if m.size is not None] for stage, members in stages.items()
    }
    return Costs(
        seconds={kind: _rounded(rate) for kind, rate in sorted(rates.items())},
        memory={stage: _line(members) for stage, members in stages.items()},
        disk={stage: _rounded(_mean(values)) for stage, values in sizes.items() if values},
        shapes=shapes,
        records=Counter(m.job.wildcards["preset"] for m in measured),
        machines=sorted({f"{m.timing['machine']}, {m.timing['cores']} cores" for m in measured}),
        latest=max(str(m.timing["finished"])[:10] for m in measured),
    )


def _mean(values: Sequence[float]) -> float:
    """The geometric mean: half and double cancel."""
    return exp(sum(log(max(value, 1e-30)) for value in values) / len(values))


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _line(measured: Sequence[Measured]) -> tuple[float, float]:
    """Fit peak memory as a line over the bytes held, by least squares; it does not fall."""
    held = [one.work.held for one in measured]
    peaks = [float(one.timing["peak_memory_mb"]) for one in measured]
    centre, mean = sum(held) / len(held), sum(peaks) / len(peaks)
    spread = sum((x - centre) ** 2 for x in held)
    slope = sum((x - centre) * (y - mean) for x, y in zip(held, peaks, strict=True)) / spread if spread else 0.0
    return (_rounded(mean - slope * centre), _rounded(slope)) if slope > 0 else (max(peaks), 0.0)


def family_shapes() -> dict[str, Shape]:
    """Return the sizes of all families, from their records."""
    from metadiffuser.envs.shared.registry import FAMILIES  # takes seconds to import, and only --measure needs it

    return {
        name: Shape(family.observation_size, family.action_size, family.episode_length)
        for name, family in FAMILIES.items()
    }
