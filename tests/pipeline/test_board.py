"""The state of a run that is shown below its console: jobs counted, and the time that is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metadiffuser.config.loading import load
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.board import Board, expected_jobs, recorded_times, short
from tests.conftest import ROOT
from tests.helpers.console import wildcards

pytestmark = pytest.mark.usefixtures("project")

SMOKE = load(ROOT / "presets" / "smoke.yaml")


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock at zero."""
    return Clock()


def record_time(name: str, seconds: float, preset: str = "smoke") -> None:
    path = Path(dag.timing_path(name, preset))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"job": name, "cpu_seconds": seconds}))


def start(board: Board, number: int, stage: str, **values: str) -> None:
    board.start(number, stage, wildcards(**values), f"{stage} {' '.join(values.values())}")


def two_jobs(clock: Clock) -> Board:
    """The board of a run of two jobs of one core that took 100 seconds each before."""
    for family in ("point_robot", "cheetah_vel"):
        record_time(f"define_tasks@smoke-{family}", 100.0)
    board = Board(clock=clock)
    board.begin({"define_tasks": 2})
    return board


def test_jobs_are_counted(clock: Clock) -> None:
    board = Board(clock=clock)
    board.begin({"define_tasks": 2, "train_behaviour": 1})
    assert board.status() == "0 of 3 jobs done"
    start(board, 7, "define_tasks", family="point_robot")
    start(board, 8, "define_tasks", family="cheetah_vel")
    clock.now = 12
    assert board.status() == "0 of 3 jobs done, 2 running"
    assert board.finish(7) == ("define_tasks point_robot", 12)
    assert board.fail(8) == ("define_tasks cheetah_vel", 12)
    assert board.fail(8) is None, "Snakemake says it twice"
    assert board.status() == "1 of 3 jobs done, 1 failed"
    start(board, 8, "define_tasks", family="cheetah_vel")  # tried again
    assert board.status() == "1 of 3 jobs done, 1 running"
    assert board.finish(8) == ("define_tasks cheetah_vel", 0)


def test_the_time_left_is_that_of_recorded_jobs_on_these_cores(clock: Clock) -> None:
    for family, seconds in (("point_robot", 100.0), ("cheetah_vel", 40.0)):
        record_time(f"define_tasks@smoke-{family}", seconds)
        record_time(f"collect_dataset@smoke-{family}", 30.0)
    board = Board(clock=clock, cores=1)
    board.begin({"define_tasks": 2, "collect_dataset": 2})
    assert board.seconds_left() == 200
    board.cores = 2
    assert board.seconds_left() == 130, "the chain of one family"
    start(board, 1, "define_tasks", family="point_robot")
    clock.now = 60
    assert board.seconds_left() == 70
    assert board.status() == "0 of 4 jobs done, 1 running, about 1 min 10 s left"


def test_a_slower_machine_is_taken_into_account(clock: Clock) -> None:
    board = two_jobs(clock)
    start(board, 1, "define_tasks", family="point_robot")
    clock.now = 300
    board.finish(1)
    assert board.seconds_left() == 300
    start(board, 2, "define_tasks", family="cheetah_vel")
    clock.now = 500
    assert board.seconds_left() == 100
    clock.now = 5000
    assert board.seconds_left() == 0, "longer than expected, but never below zero"
    assert board.status() == "1 of 2 jobs done, 1 running, takes longer than before"


def test_a_job_that_takes_longer_makes_the_time_left_a_lower_bound(clock: Clock) -> None:
    board = two_jobs(clock)
    start(board, 1, "define_tasks", family="point_robot")
    clock.now = 149
    assert board.status() == "0 of 2 jobs done, 1 running, about 1 min 40 s left"
    clock.now = 151
    assert board.status() == "0 of 2 jobs done, 1 running, at least 1 min 40 s left"


def test_the_jobs_that_run_are_those_that_are_waited_for(clock: Clock) -> None:
    """Of two jobs that lack an output a run makes one: the longer one is expected, until the other one starts."""
    for family, seconds in (("point_robot", 100.0), ("cheetah_vel", 40.0)):
        record_time(f"define_tasks@smoke-{family}", seconds)
    board = Board(clock=clock)
    board.begin({"define_tasks": 1})
    assert board.seconds_left() == 100
    start(board, 1, "define_tasks", family="cheetah_vel")
    clock.now = 10
    assert board.seconds_left() == 30
    board.finish(1)
    assert board.seconds_left() == 0


def test_what_depends_on_a_failed_job_is_not_waited_for(clock: Clock) -> None:
    for stage in ("define_tasks", "collect_dataset", "describe_dataset"):
        for family in ("point_robot", "cheetah_vel"):
            record_time(f"{stage}@smoke-{family}", 50.0)
    board = Board(clock=clock)
    board.begin({"define_tasks": 2, "collect_dataset": 2, "describe_dataset": 2})
    start(board, 1, "define_tasks", family="point_robot")
    assert board.seconds_left() == 300
    board.fail(1)
    assert board.seconds_left() == 150


def test_jobs_without_an_output_are_expected_to_run_and_unknown_times_are_those_of_the_stage() -> None:
    record_time("define_tasks@quick-ant_dir", 10.0, "quick")
    record_time("define_tasks@quick-point_robot", 30.0, "quick")
    damaged = Path("results/quick/timings/x.json")
    damaged.write_text("{")
    job = dag.find_job("define_tasks", {"family": "point_robot"}, SMOKE)
    for path in map(Path, job.outputs):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    (node,) = expected_jobs(SMOKE, {"define_tasks": 1})
    assert (node.name, node.seconds) == ("define_tasks@smoke-cheetah_vel", 20.0)
    assert recorded_times()[1] == {"define_tasks": 20.0}


def test_nothing_is_said_about_time_if_nothing_is_known(project: Path) -> None:
    (project / "params.yaml").unlink()
    board = Board()
    board.begin({"define_tasks": 2})
    assert board.seconds_left() is None
    assert board.status() == "0 of 2 jobs done"


def test_times_have_two_units() -> None:
    assert [short(t) for t in (0.4, 59.6, 61, 3600, 3725, 90000)] == [
        "0 s",
        "1 min",
        "1 min 1 s",
        "1 h",
        "1 h 2 min",
        "1 d 1 h",
    ]
