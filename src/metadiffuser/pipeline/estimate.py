"""``metadiffuser plan``: the job graph of a preset with its hours, memory and disk, before anything is run."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metadiffuser.config.params import Params
from metadiffuser.pipeline import dag, presets
from metadiffuser.pipeline.costs import COSTS, Costs, Estimate, family_shapes, find, measure

COLUMNS = ("stage", "jobs", "CPU hours", "on a GPU", "longest job", "peak memory", "disk")


@dataclass(frozen=True)
class Node:
    """A job in time.

    Attributes:
        name: of the job.
        seconds: that it takes.
        threads: cores that it occupies.
        after: names of the jobs whose outputs it reads.
    """

    name: str
    seconds: float
    threads: int
    after: tuple[str, ...]


def graph(jobs: Sequence[dag.Job], params: Params, estimates: Mapping[str, Estimate]) -> list[Node]:
    """Return the jobs with what they wait for, producers before consumers; threads share a job's time."""
    writer = {path: job.name for job in jobs for path in job.outputs}
    nodes = []
    for job in jobs:
        threads = dag.threads(job, params)
        after = tuple(dict.fromkeys(writer[path] for path in job.inputs))
        nodes.append(Node(job.name, estimates[job.name].cpu_seconds / threads, threads, after))
    return nodes


def tails(nodes: Sequence[Node]) -> dict[str, float]:
    """Return the seconds from the start of each job to the end of the longest chain that begins with it."""
    ahead = {node.name: 0.0 for node in nodes}
    for node in reversed(nodes):
        ahead[node.name] += node.seconds
        for name in node.after:
            ahead[name] = max(ahead[name], ahead[node.name])
    return ahead


def _followers(nodes: Sequence[Node]) -> dict[str, list[Node]]:
    """Return the jobs that wait for each job."""
    found: dict[str, list[Node]] = {node.name: [] for node in nodes}
    for node in nodes:
        for name in node.after:
            found[name].append(node)
    return found


def critical_path(nodes: Sequence[Node]) -> list[Node]:
    """Return the longest chain of jobs that wait for each other: no number of cores beats it."""
    ahead, followers = tails(nodes), _followers(nodes)
    starts = [node for node in nodes if not node.after]
    chain: list[Node] = []
    while starts:
        chain.append(max(starts, key=lambda node: ahead[node.name]))
        starts = followers[chain[-1].name]
    return chain


def schedule(nodes: Sequence[Node], cores: int) -> float:
    """Return the seconds that the jobs take on some cores, if of those that can start the longest chain does first.

    A job with more threads than there are cores has all of them, and takes longer in proportion.
    """
    ahead, followers = tails(nodes), _followers(nodes)
    waits = {node.name: len(node.after) for node in nodes}
    ready = [(-ahead[node.name], index) for index, node in enumerate(nodes) if not node.after]
    place = {node.name: index for index, node in enumerate(nodes)}
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    free, now = cores, 0.0
    while ready or running:
        while ready and min(nodes[ready[0][1]].threads, cores) <= free:
            index = heapq.heappop(ready)[1]
            node = nodes[index]
            used = min(node.threads, cores)
            free -= used
            heapq.heappush(running, (now + node.seconds * node.threads / used, index))
        now, index = heapq.heappop(running)
        free += min(nodes[index].threads, cores)
        for follower in followers[nodes[index].name]:
            waits[follower.name] -= 1
            if not waits[follower.name]:
                heapq.heappush(ready, (-ahead[follower.name], place[follower.name]))
    return now


def plan(params: Params, cores: int) -> None:
    """Print what a preset takes, stage by stage and in all.

    Raises:
        InputError: the measured rates are missing or damaged.
    """
    costs = Costs.read()
    jobs = dag.jobs(params)
    estimates = {job.name: costs.estimate(job, params) for job in jobs}
    nodes = graph(jobs, params, estimates)
    rows = [_row(stage, [job for job in jobs if job.stage.name == stage], params, estimates) for stage in dag.STAGES]
    _print_table([COLUMNS, *rows, _row("in all", jobs, params, estimates)])
    path = critical_path(nodes)
    length = sum(node.seconds for node in path)
    print(f"\nAt least {duration(length)} on any number of cores: {' -> '.join(node.name for node in path)}")
    print(f"With --cores {cores}: about {duration(schedule(nodes, cores))}")
    print("\nThis is an estimate.", _basis(costs))
    for line in _reservations(jobs, params, estimates):
        print(f"- {line}")


def measure_costs() -> None:
    """Take the rates anew from the timing records in results/, and write them."""
    shapes = family_shapes()
    costs = measure(find([presets.read(name) for name in presets.names()], shapes), shapes)
    costs.write()
    print(f"{COSTS}: {_basis(costs)}")


def _basis(costs: Costs) -> str:
    records = " and ".join(f"{count} jobs of the preset {preset}" for preset, count in costs.records.items())
    return f"Its rates are those of {records}, on {' and '.join(costs.machines)}, run up to {costs.latest}."


def _on_gpu(job: dag.Job, params: Params) -> bool:
    # The report is told every parameter, and prints the device; it is the one job that keeps no time.
    return params.device != "cpu" and "device" in job.stage.params and job.stage.timed


def _row(
    label: str, jobs: Sequence[dag.Job], params: Params, estimates: Mapping[str, Estimate]
) -> tuple[str, str, str, str, str, str, str]:
    own = [estimates[job.name] for job in jobs]
    gpu = sum(estimates[job.name].cpu_seconds for job in jobs if _on_gpu(job, params))
    return (
        label,
        str(len(jobs)),
        _hours(sum(estimate.cpu_seconds for estimate in own)),
        _hours(gpu) if any(_on_gpu(job, params) for job in jobs) else "-",
        duration(max((estimate.cpu_seconds for estimate in own), default=0.0)),
        size(max((estimate.memory_mb for estimate in own), default=0.0) * 2**20),
        size(sum(estimate.disk for estimate in own)),
    )


def _reservations(jobs: Sequence[dag.Job], params: Params, estimates: Mapping[str, Estimate]) -> list[str]:
    """Return what the reader has to know of how the numbers came about."""
    lines = ["A rate of a small run is taken to hold for a large one; large networks and batches tend to be faster."]
    guessed: dict[str, set[str]] = {}
    for estimate in estimates.values():
        for kind, taken in estimate.guessed.items():
            guessed.setdefault(taken, set()).add(kind.partition("/")[2])
    for taken, others in sorted(guessed.items()):
        what, _, measured = taken.partition("/")
        lines.append(
            f"{what.replace('_', ' ')}: never measured for {', '.join(sorted(others))}; "
            f"the highest rate that was, that of {measured}, is taken instead."
        )
    if any(_on_gpu(job, params) for job in jobs):
        where = "would run on CUDA" if params.device == "cuda" else "would run on CUDA where there is one"
        lines.append(f"'on a GPU' are those of the CPU hours that {where}, at the CPU's speed: no GPU was measured.")
    lines.append("make_report keeps no timing record and counts as nothing; checkpoints in .work/ are not in 'disk'.")
    return lines


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
