"""``metadiffuser estimate``: the jobs of a preset with their hours, memory and disk, before anything is run.

The time of a job is that of a recorded job, scaled by the ratio of their work (``metadiffuser.pipeline.work``). Records
are ``results/*/timings/*.json``, which hold the work. Where one of an earlier version does not, the parameters that the
job ran with are those of its entry in dvc.lock.
"""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite, log
from pathlib import Path
from typing import Any

from metadiffuser import paths
from metadiffuser.artifacts import read_json
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, dvc_lock, work
from metadiffuser.pipeline.schedule import critical_path, graph, makespan

COLUMNS = ("stage", "jobs", "CPU hours", "longest job", "peak memory", "disk")
# Of the growth of a dataset on disk, so much is held in memory by a job that reads it; by the records of two presets.
COPIES = 4
# {most ratio of work to the record's: what to expect}; by scaling the records of one preset to another's.
TRUST = ((2, "expect an error of up to a factor of two"), (20, "expect an error of up to a factor of three"))


@dataclass(frozen=True)
class Record:
    """A job that was run on a CPU.

    Attributes:
        stage, preset, family, kind: of the job; ``kind`` is its method or representation, "" if it has neither.
        work: its declared work.
        cpu_seconds: over all of its threads.
        memory_mb: MiB at its peak.
        disk: bytes of its outputs.
        machine: what it ran on.
    """

    stage: str
    preset: str
    family: str
    kind: str
    work: float
    cpu_seconds: float
    memory_mb: float
    disk: float
    machine: str


@dataclass(frozen=True)
class Estimate:
    """What one job takes.

    Attributes:
        cpu_seconds: over all of its threads.
        memory_mb: MiB at its peak.
        disk: bytes of its outputs.
        record: that this is scaled from.
        ratio: of the job's work to the record's.
    """

    cpu_seconds: float
    memory_mb: float
    disk: float
    record: Record
    ratio: float


def _kind(wildcards: Mapping[str, str]) -> str:
    return wildcards.get("method", wildcards.get("representation", ""))


def read_records() -> list[Record]:
    """Return the recorded jobs of all presets whose work is known.

    Raises:
        InputError: a timing record or dvc.lock is damaged.
    """
    lock = dvc_lock.read()
    everything: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, entry in lock.items():
        everything[_preset(name)] |= dvc_lock.parameters(entry)
    found = []
    for path in sorted(Path("results").glob("*/timings/*.json")):
        preset, (stage, *values) = path.parts[1], path.stem.split("-")
        names = ("preset", *dag.STAGES[stage].wildcards) if stage in dag.STAGES else ()
        if len(names) != 1 + len(values):
            continue
        timing, wildcards = _read_timing(path), dict(zip(names, (preset, *values), strict=True))
        entry = lock.get(dag.job_name(stage, wildcards), {})
        with suppress(KeyError, AttributeError, TypeError, InputError):  # of another version, or a method that is gone
            ran_with = ChainMap(dvc_lock.parameters(entry), everything[preset])
            amount = timing["work"] if "work" in timing else work.of(stage, wildcards, ran_with)
            if timing["device"] == "cpu" and amount > 0 and ("work" in timing or entry):
                locked = sum(out.get("size", 0) for out in entry.get("outs", []))
                machine = f"{timing['machine']}, {timing['cores']} cores"
                spent = (timing["cpu_seconds"], timing["peak_memory_mb"], timing.get("bytes", locked), machine)
                found.append(Record(stage, preset, wildcards.get("family", ""), _kind(wildcards), amount, *spent))
    return found


def _preset(name: str) -> str:
    return name.partition("@")[2].partition("-")[0]


def _read_timing(path: Path) -> Mapping[str, Any]:
    """Read a job's timing record. Raises ``InputError`` if it is not one."""
    timing = read_json(path)
    try:
        numbers = [timing[name] for name in ("cpu_seconds", "peak_memory_mb", "cores")]
        numbers += [timing[name] for name in ("work", "bytes") if name in timing]
        words = [timing[name] for name in ("device", "machine")]
        sound = all(isinstance(word, str) for word in words) and all(isfinite(number) for number in numbers)
    except (KeyError, TypeError, OverflowError):
        sound = False
    if not sound:
        raise InputError(f"{path}: not as a job writes it; 'git checkout -- {path}' or delete it, then run this again")
    return dict(timing)


def estimate_jobs(jobs: Sequence[dag.Job], records: Sequence[Record]) -> dict[str, Estimate]:
    """Return {job name: what the job takes}; jobs that keep no time are taken to need nothing.

    Raises:
        InputError: a stage has no record at all.
    """
    everything: dict[str, Any] = {}
    for job in jobs:
        everything |= job.params
    stages = defaultdict(list)
    for record in records:
        stages[record.stage].append(record)
    datasets = {(record.preset, record.family): record.disk for record in stages["collect_dataset"]}
    found: dict[str, Estimate] = {}
    grown: dict[str, float] = {}  # {family: bytes of its dataset to come}
    for job in (job for job in jobs if job.stage.timed):
        amount = work.of(job.stage.name, job.wildcards, ChainMap(dict(job.params), everything))
        record = _closest(job, amount, stages[job.stage.name])
        ratio, family = amount / record.work, job.wildcards.get("family", "")
        memory, disk = record.memory_mb, record.disk
        if job.stage.name == "collect_dataset":
            disk *= ratio
            grown[family] = disk
        if paths.DATASET in job.stage.inputs:
            more = grown[family] - datasets.get((record.preset, record.family), grown[family])
            memory += COPIES * max(more, 0.0) / 2**20
        found[job.name] = Estimate(record.cpu_seconds * ratio, memory, disk, record, ratio)
    return found


def _closest(job: dag.Job, amount: float, records: Sequence[Record]) -> Record:
    """Return the record of the job's family, and method or representation, whose work is closest to ``amount``.

    Without one, that of the slowest recorded family; without one of the kind, that of the family's slowest kind.
    """
    if not records:
        raise InputError(f"results/*/timings: no record of {job.stage.name} that holds its work; run one first")
    kind, family = _kind(job.wildcards), job.wildcards.get("family", "")
    alike = [record for record in records if record.kind == kind]
    alike = alike or [record for record in records if record.family == family] or list(records)
    own = [record for record in alike if (record.family, record.kind) == (family, kind)]
    if own:
        preset, least = job.wildcards["preset"], 1e-9  # of a job with nothing to do, which has no logarithm
        return min(own, key=lambda record: (abs(log(max(amount, least) / record.work)), record.preset != preset))
    return max(alike, key=lambda record: record.cpu_seconds / record.work)


def estimate(params: Params, cores: int) -> None:
    """Print what a preset takes, stage by stage and in all.

    Raises:
        InputError: a record is damaged, or a stage has none.
    """
    jobs = dag.jobs(params)
    estimates = estimate_jobs(jobs, read_records())
    rows = [_row(stage, [job.name for job in jobs if job.stage.name == stage], estimates) for stage in dag.STAGES]
    _print_table([COLUMNS, *rows, _row("total", [job.name for job in jobs], estimates)])
    seconds = {job.name: estimates[job.name].cpu_seconds if job.name in estimates else 0.0 for job in jobs}
    nodes = graph(jobs, params, seconds)
    path = critical_path(nodes)
    length = sum(node.seconds for node in path)
    print(f"\nAt least {duration(length)} on any number of cores: {' -> '.join(node.name for node in path)}")
    print(f"With --cores {cores}: about {duration(makespan(nodes, cores))}")
    for line in _reservations(params, jobs, estimates):
        print(line)


def _row(label: str, names: Sequence[str], estimates: Mapping[str, Estimate]) -> tuple[str, str, str, str, str, str]:
    own = [estimates[name] for name in names if name in estimates]
    return (
        label,
        str(len(names)),
        _hours(sum(one.cpu_seconds for one in own)),
        duration(max((one.cpu_seconds for one in own), default=0.0)),
        size(max((one.memory_mb for one in own), default=0.0) * 2**20),
        size(sum(one.disk for one in own)),
    )


def _reservations(params: Params, jobs: Sequence[dag.Job], estimates: Mapping[str, Estimate]) -> Iterator[str]:
    """Yield what the numbers come from and how far they can be trusted."""
    used = [one.record for one in estimates.values()]
    presets = ", ".join(sorted({record.preset for record in used}))
    machines = ", ".join(sorted({record.machine for record in used}))
    yield f"\nBased on recorded times of {presets} ({machines}), scaled in proportion to the work of each job."
    least = sum(one.cpu_seconds for one in estimates.values()) / 100  # shorter jobs do not matter
    ratios = [one.ratio for one in estimates.values() if one.ratio > 0 and one.cpu_seconds >= least]
    spread = max((max(ratio, 1 / ratio) for ratio in ratios), default=1.0)
    trust = next((words for most, words in TRUST if spread <= most), "only the order of magnitude is to be trusted")
    yield f"- Between the longer jobs and their records, work differs by a factor of up to {spread:,.1f}: {trust}."
    guessed: dict[tuple[str, str, str], set[str]] = defaultdict(set)  # {(stage, of what, taken): without a record}
    for job in (job for job in jobs if job.name in estimates):
        family, record = job.wildcards.get("family", ""), estimates[job.name].record
        if family != record.family:
            guessed[job.stage.name, "family", record.family].add(family)
        if _kind(job.wildcards) != record.kind:
            what = "method" if "method" in job.wildcards else "representation"
            guessed[job.stage.name, what, record.kind].add(_kind(job.wildcards))
    for (stage, what, taken), names in sorted(guessed.items()):
        verb = "has" if len(names) == 1 else "have"
        yield (
            f"- {stage}: {', '.join(sorted(names))} {verb} no record; that of {taken}, the slowest recorded {what}, is "
            "taken instead."
        )
    if params.device != "cpu":
        yield "- 'device' is not cpu, but all hours are a CPU's: no GPU was measured."
    yield "- make_report keeps no timing record and counts as nothing; checkpoints in .work/ are not in 'disk'."


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())
        if number in (0, len(rows) - 2):
            print("  ".join("-" * width for width in widths))


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.3f}"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, length in (("days", 2 * 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / (86400 if unit == 'days' else length):.1f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit, length in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return "-"
