"""The console of a run: what is printed for each event of Snakemake."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from metadiffuser import cli
from metadiffuser.pipeline import sync
from snakemake_logger_plugin_metadiffuser import TAIL, LogHandler, summary, tail
from tests.helpers.console import event, handler, said, wildcards
from tests.helpers.stubbed import Stubbed, one_family

pytestmark = pytest.mark.usefixtures("project")

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


def test_a_dry_run_names_what_changed_where_a_record_was_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    edited = {"src/1.py": "modified", "params.yaml": {"seed": "modified", "tasks": "modified"}}
    status: list[Any] = [{"changed deps": edited}, {"changed outs": {"results/x": "deleted"}}, "changed command"]
    monkeypatch.setitem(sync.CHANGED, "define_tasks@smoke-x", sync._changes(status))
    made = handler(dryrun=True)
    job = {"rule_name": "define_tasks", "jobid": 3, "log": [], "rule_msg": None, "reason": REASON}
    event(made, LogEvent.JOB_INFO, None, **job, wildcards=wildcards(family="x"))
    event(made, LogEvent.JOB_INFO, None, **job, wildcards=wildcards(family="y"))
    assert said(made) == [
        "define_tasks smoke x (changed since it ran: src/1.py, seed, tasks and 1 more)",
        f"define_tasks smoke y ({summary(REASON)})",
    ]


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
