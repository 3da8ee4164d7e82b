"""The console of a run: what is printed for each event of Snakemake, and the state that is shown below it."""

from __future__ import annotations

import io
import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import OutputSettingsLoggerInterface

from metadiffuser import cli
from metadiffuser.config.loading import load
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.board import Board, expected_jobs, recorded_times, short
from snakemake_logger_plugin_metadiffuser import TAIL, LogHandler, summary, tail
from tests.conftest import ROOT
from tests.helpers.stubbed import Stubbed, one_family

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


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the smoke preset in force and nothing made."""
    shutil.copy(ROOT / "presets" / "smoke.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record_time(name: str, seconds: float, preset: str = "smoke") -> None:
    path = Path(dag.timing_path(name, preset))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"job": name, "cpu_seconds": seconds}))


def wildcards(**values: str) -> dict[str, str]:
    return {"preset": "smoke", **values}


def start(board: Board, number: int, stage: str, **values: str) -> None:
    board.start(number, stage, wildcards(**values), f"{stage} {' '.join(values.values())}")


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
    for family in ("point_robot", "cheetah_vel"):
        record_time(f"define_tasks@smoke-{family}", 100.0)
    board = Board(clock=clock)
    board.begin({"define_tasks": 2})
    start(board, 1, "define_tasks", family="point_robot")
    clock.now = 300
    board.finish(1)
    assert board.seconds_left() == 300
    start(board, 2, "define_tasks", family="cheetah_vel")
    clock.now = 500
    assert board.seconds_left() == 100
    clock.now = 5000
    assert board.seconds_left() == 0, "longer than expected, but never below zero"


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


def handler(**settings: Any) -> LogHandler:
    """A handler that writes to a string."""
    common = {
        "printshellcmds": False,
        "nocolor": True,
        "quiet": (),
        "debug_dag": False,
        "verbose": False,
        "show_failed_logs": False,
        "stdout": False,
        "dryrun": False,
    }
    made = LogHandler(cast(OutputSettingsLoggerInterface, SimpleNamespace(**{**common, **settings})), None)
    made.stream = io.StringIO()
    made.setFormatter(logging.Formatter("%(message)s"))
    return made


def said(made: LogHandler) -> list[str]:
    """The lines without the time of day."""
    assert isinstance(made.stream, io.StringIO)
    return [line.partition("] ")[2] if line.startswith("[") else line for line in made.stream.getvalue().splitlines()]


def event(made: LogHandler, kind: LogEvent | None, message: str | None = None, **fields: Any) -> None:
    record = logging.LogRecord("snakemake", fields.pop("level", logging.INFO), "", 0, message, None, None)
    vars(record).update(fields)
    if kind is not None:
        record.event = kind
    made.handle(record)


REASON = (
    "Missing output files: artifacts/a.json, results/b.json; Updated input files: src/1.py, src/2.py, src/3.py, "
    "src/4.py; Params have changed since last execution: before: 'x' now: 'y'; Input files updated by another job: c, d"
)


def run_one(made: LogHandler, *, fail: bool = False) -> None:
    """The events of a run of one job, as Snakemake 9.27 emits them."""
    job: dict[str, Any] = {"rule_name": "define_tasks", "jobid": 3, "log": ["logs/x.log"], "shellcmd": "metadiffuser x"}
    event(made, LogEvent.WORKFLOW_STARTED, "Workflow has started!")
    event(made, None, "Building DAG of jobs...")
    event(made, LogEvent.RESOURCES_INFO, "Provided cores: 2", cores=2)
    event(made, LogEvent.RUN_INFO, "Job stats:\n...", stats={"define_tasks": 1, "all": 1, "total": 2})
    event(made, None, "Select jobs to execute...")
    event(made, LogEvent.JOB_INFO, None, **job, rule_msg="drawing", reason=REASON, wildcards=wildcards(family="x"))
    event(made, LogEvent.JOB_STARTED, "Execute 1 jobs...", jobs=[3])
    if fail:
        event(made, LogEvent.ERROR, "RuleException:\nCalledProcessError in file x", level=logging.ERROR)
        event(made, LogEvent.JOB_ERROR, None, **job, level=logging.ERROR)
        event(made, None, "Exiting because a job execution failed. Look above for error messages", level=logging.ERROR)
        return
    event(made, LogEvent.JOB_FINISHED, "Finished jobid: 3", job_id=3)
    event(made, LogEvent.PROGRESS, None, done=1, total=2)
    event(made, LogEvent.JOB_INFO, None, rule_name="all", jobid=0, rule_msg=None, reason="x", wildcards={}, log=[])
    event(made, LogEvent.JOB_FINISHED, "Finished jobid: 0", job_id=0)
    event(made, None, "Complete log(s): /x")


def test_a_job_is_one_line_without_a_path() -> None:
    made = handler()
    run_one(made)
    made.close()
    assert said(made) == [
        "1 job to run: 1 define_tasks",
        "1 of 1 jobs done: drawing (0 s)",
        "Complete log(s): /x",
    ]


def test_a_failed_job_is_named_with_the_end_of_its_log(project: Path) -> None:
    (project / "logs").mkdir()
    (project / "logs" / "x.log").write_text("".join(f"line {n}\n" for n in range(40)) + "the \033[31mcause\n")
    made = handler()
    run_one(made, fail=True)
    made.close()
    lines = said(made)
    assert lines[1:4] == [
        "Error in rule define_tasks: drawing: failed after 0 s",
        "  metadiffuser x",
        f"  logs/x.log (the last {TAIL} of 41 lines):",
    ]
    assert lines[3 + TAIL :] == ["    the \\x1b[31mcause", "0 of 1 jobs done, 1 failed: drawing"]


def test_a_log_may_be_missing_or_empty(project: Path) -> None:
    assert tail(Path("nothing.log")) == ["  nothing.log: No such file or directory"]
    (project / "empty.log").touch()
    assert tail(Path("empty.log")) == ["  empty.log: empty"]


def test_a_dry_run_gives_reasons_with_few_files() -> None:
    made = handler(dryrun=True)
    event(made, LogEvent.RUN_INFO, None, stats={"define_tasks": 1, "total": 1})
    job = {"rule_name": "define_tasks", "jobid": 3, "log": [], "wildcards": wildcards(family="x"), "rule_msg": None}
    event(made, LogEvent.JOB_INFO, None, **job, reason=REASON)
    event(made, LogEvent.RUN_INFO, None, stats={"define_tasks": 1, "total": 1})
    event(made, None, "Reasons:\n    (check individual jobs above for details)")
    event(made, None, "This was a dry-run (flag -n).")
    assert said(made) == [
        "1 job to run: 1 define_tasks",
        f"define_tasks smoke x ({summary(REASON)})",
        "This was a dry-run (flag -n).",
    ]
    assert summary(REASON) == (
        "missing output files; updated input files: src/1.py, src/2.py, src/3.py and 1 more; "
        "params have changed since last execution; input files updated by another job"
    )
    assert summary("") == "no reason given"


def test_messages_that_matter_are_printed_and_others_are_not() -> None:
    made = handler()
    for message in (
        "Nothing to be done (all requested files are present).",
        "Job 3 has been submitted with SLURM jobid 9",
    ):
        event(made, None, message)
    event(made, None, "Select jobs to execute...")
    event(made, None, "Using shell: none is found", level=logging.WARNING)
    event(made, LogEvent.ERROR, "MissingInputException in rule x", level=logging.ERROR)
    assert said(made) == [
        "Nothing to be done (all requested files are present).",
        "Job 3 has been submitted with SLURM jobid 9",
        "Using shell: none is found",
        "MissingInputException in rule x",
    ]


def test_a_stream_that_is_closed_does_not_stop_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    made = handler()
    made.stream.close()
    run_one(made)
    made.close()
    assert capsys.readouterr().err == ""


def test_with_progress_quiet_the_start_of_a_job_is_said() -> None:
    made = handler(quiet=("Quietness.PROGRESS",))
    event(made, LogEvent.JOB_INFO, None, rule_name="x", jobid=1, rule_msg="doing", wildcards={}, log=[], reason="")
    assert said(made) == ["doing"]


def test_a_long_silence_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snakemake_logger_plugin_metadiffuser.SILENCE", 0.05)
    made = handler()
    event(made, LogEvent.RUN_INFO, None, stats={"define_tasks": 2, "total": 2})
    event(made, LogEvent.JOB_INFO, None, rule_name="x", jobid=1, rule_msg="doing", wildcards={}, log=[], reason="")
    for _ in range(200):
        if "0 of 2 jobs done, 1 running: doing" in said(made):
            break
        made._ended.wait(0.05)
    else:
        pytest.fail("nothing was said")
    made.close()


@pytest.mark.engine
def test_a_first_run_is_a_line_a_job_and_a_failure_is_seen(tmp_path: Path) -> None:
    copy: Stubbed = one_family(tmp_path / "project")
    target = "artifacts/smoke/datasets/point_robot"  # of tasks, two shards of policies, and the dataset itself

    def snakemake(*options: str, **variables: str) -> list[str]:
        done = copy.run("snakemake", *options, "--cores", "2", target, check=False, **variables)
        return (done.stdout + done.stderr).splitlines()

    failed = snakemake(FAIL="collect_dataset")
    said = "\n".join(failed)
    assert "Error in rule collect_dataset: point_robot: collecting the datasets: failed after" in said, said
    assert "    failed on purpose" in failed
    assert "drawing the tasks" in said
    done = snakemake()
    assert "1 of 1 jobs done: point_robot: collecting the datasets" in "\n".join(done)
    assert not [line for line in done if "drawing the tasks" in line], "it goes on from where it failed"
    for lines in (failed, done):
        assert "src/metadiffuser" not in "\n".join(lines)
        assert len(lines) < 25
    assert len(snakemake("--forceall", "--quiet", "all")) < 4


def test_the_summary_names_the_report_and_the_main_result(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def result(folder: Path) -> list[str]:
        assert folder == Path("results/smoke/tables")
        return ["one", "two"]

    monkeypatch.setattr("metadiffuser.pipeline.summary.main_result", result)
    assert cli.main(["summary"]) == 2
    assert "metadiffuser: results/smoke/report.html: missing; run 'snakemake" in capsys.readouterr().err
    Path("results/smoke").mkdir(parents=True)
    Path("results/smoke/report.html").touch()
    assert cli.main(["summary"]) == 0
    assert capsys.readouterr().out == f"one\ntwo\nReport: {project}/results/smoke/report.html\n"
