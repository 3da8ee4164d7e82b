"""The longest chain of jobs, and the time that some cores need."""

from __future__ import annotations

import pytest

from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.schedule import Node, critical_path, graph, makespan
from tests.conftest import ROOT

DIAMOND = [
    Node("a", 2, 1, ()),
    Node("b", 3, 1, ("a",)),
    Node("c", 5, 1, ("a",)),
    Node("d", 4, 1, ("a",)),
    Node("e", 1, 1, ("b", "c", "d")),
]


def test_the_longest_chain() -> None:
    assert [node.name for node in critical_path(DIAMOND)] == ["a", "c", "e"]


@pytest.mark.parametrize(("cores", "takes"), [(1, 15), (2, 10), (3, 8), (9, 8)])
def test_jobs_fill_the_cores(cores: int, takes: float) -> None:
    assert makespan(DIAMOND, cores) == takes


def test_threads_occupy_cores() -> None:
    wide = [Node("a", 2, 2, ()), Node("b", 2, 1, ()), Node("c", 2, 1, ())]
    assert [makespan(wide, cores) for cores in (1, 2, 3, 4)] == [8, 4, 4, 2]


def test_threads_share_the_time_of_a_job_and_a_job_waits_for_what_it_reads() -> None:
    tree = load(ROOT / "presets" / "quick.yaml").model_dump()
    tree["context"]["threads"] = 4
    params = Params.model_validate(tree)
    jobs = [job for job in dag.jobs(params) if job.stage.name in ("collect_dataset", "train_context")]
    nodes = {node.name: node for node in graph(jobs, params, {job.name: 8.0 for job in jobs})}
    node = nodes["train_context@quick-cheetah_vel-generalised-0"]
    assert (node.threads, node.seconds, node.after) == (4, 2.0, ("collect_dataset@quick-cheetah_vel",))
