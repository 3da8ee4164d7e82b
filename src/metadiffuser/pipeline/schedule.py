"""Jobs in time: the longest chain of jobs that wait for each other, and how long all take on some cores."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metadiffuser.config.params import Params
from metadiffuser.pipeline import dag


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


def graph(jobs: Sequence[dag.Job], params: Params, cpu_seconds: Mapping[str, float]) -> list[Node]:
    """Return the jobs with what they wait for, producers before consumers; threads share a job's time.

    Args:
        jobs: producers before consumers; inputs that none of them writes are taken to be there.
        params: where the jobs' threads stand.
        cpu_seconds: {job name: its CPU seconds, over all of its threads}.
    """
    writer = {path: job.name for job in jobs for path in job.outputs}
    nodes = []
    for job in jobs:
        threads = dag.threads(job, params)
        after = tuple(dict.fromkeys(writer[path] for path in job.inputs if path in writer))
        nodes.append(Node(job.name, cpu_seconds[job.name] / threads, threads, after))
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


def makespan(nodes: Sequence[Node], cores: int) -> float:
    """Return the seconds that the jobs take on some cores; of those that can start, the longest chain goes first.

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
