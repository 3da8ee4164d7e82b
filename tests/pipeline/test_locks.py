"""Who is at work in a checkout, by locks that end with their process."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from metadiffuser.errors import InputError
from metadiffuser.pipeline import locks
from metadiffuser.pipeline.engine import LOCKS, RUN, Engine
from tests.conftest import ROOT

JOB = "train_context@smoke-point_robot"
# Does what its words say, then waits to be killed.
HELPER = """
import sys, time
from metadiffuser.pipeline import locks
from metadiffuser.pipeline.engine import LOCKS, RUN, Engine
kind, *words = sys.argv[1:]
if kind == "engine":
    locks.hold_checkout("Snakemake")
else:
    job = locks.job_at_work(words[0])
    job.__enter__()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locks, "MOMENT", 0.1)
    monkeypatch.setattr(locks, "POLL", 0.05)
    for name in (locks.VARIABLE, "DVC_STAGE"):
        monkeypatch.setenv(name, "")  # so that what a test sets is undone
        monkeypatch.delenv(name)
    return tmp_path


class Helpers:
    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables}
        process = subprocess.Popen(
            [sys.executable, "-c", HELPER, *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def helpers() -> Iterator[Helpers]:
    found = Helpers()
    yield found
    found.end()


def engine_of(process: subprocess.Popen[str]) -> Engine:
    engine = Engine.of("Snakemake", process.pid)
    assert engine is not None
    return engine


def test_an_engine_keeps_others_out_until_it_is_killed(helpers: Helpers) -> None:
    process = helpers.start("engine")
    assert locks.engine_at_work()

    def start_a_job() -> None:
        with locks.job_at_work(JOB):
            pass

    def start_an_engine() -> None:
        locks.hold_checkout("Snakemake")

    for attempt in (start_a_job, start_an_engine):
        with pytest.raises(
            InputError, match=rf"^Snakemake \(process {process.pid}\) is at work in this checkout; wait"
        ):
            attempt()
    process.kill()
    process.wait()
    assert not locks.engine_at_work()
    with locks.job_at_work(JOB):
        pass


def test_whatever_is_at_work_is_named(helpers: Helpers, project: Path) -> None:
    locks.check_idle()
    job = helpers.start("job", JOB)
    with pytest.raises(InputError, match=rf"^{JOB} \(process {job.pid}\) is at work in this checkout; wait"):
        locks.check_idle()
    job.kill()
    job.wait()
    engine = helpers.start("engine")
    with pytest.raises(InputError, match=rf"^Snakemake \(process {engine.pid}\) is at work in this checkout; wait"):
        locks.check_idle()
    engine.kill()
    engine.wait()
    locks.check_idle()
    (project / ".dvc/tmp").mkdir(parents=True)
    for listed in (
        {"write": {"out": {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}},
        {
            "write": {},
            "read": {"out": [{"pid": engine.pid, "cmd": "killed"}, {"pid": os.getpid(), "cmd": "dvc repro"}]},
        },
    ):
        locks.RWLOCK.write_text(json.dumps(listed))
        with pytest.raises(InputError, match=rf"^dvc \(process {os.getpid()}\) is at work in this checkout; wait"):
            locks.check_idle()
    locks.RWLOCK.write_text("{")
    locks.check_idle()
    with locks.DVC_LOCK.open("w") as stream:  # between two jobs, dvc holds no more than this
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"^dvc is at work in this checkout; wait"):
            locks.check_idle()
    locks.check_idle()


def test_a_job_by_hand_keeps_an_engine_out_and_lets_others_by_hand_run(helpers: Helpers) -> None:
    process = helpers.start("job", JOB)
    with pytest.raises(InputError, match=rf"^{JOB} \(process {process.pid}\) is at work in this checkout"):
        locks.hold_checkout("Snakemake")
    with pytest.raises(InputError, match=rf"^{JOB} is already running in this checkout \(process {process.pid}\)"):
        locks.job_at_work(JOB).__enter__()
    with locks.job_at_work("define_tasks@smoke-point_robot"):
        pass


def test_a_job_stops_when_its_engine_is_killed(helpers: Helpers) -> None:
    engine = helpers.start("engine")
    job = helpers.start("job", JOB, **{locks.VARIABLE: engine_of(engine).text()})
    time.sleep(3 * locks.POLL)
    assert job.poll() is None
    engine.kill()
    engine.wait()
    _, said = job.communicate(timeout=30)
    assert job.returncode
    assert f"Snakemake (process {engine.pid}), which started this job, has ended; stopping" in said


def test_a_job_does_not_start_for_an_engine_that_has_died(helpers: Helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = helpers.start("engine")
    monkeypatch.setenv(locks.VARIABLE, engine_of(engine).text())
    engine.kill()
    engine.wait()
    with pytest.raises(InputError, match="which started this job, has ended; run the pipeline again"):
        locks.job_at_work(JOB).__enter__()


def test_a_new_run_waits_for_an_orphan_and_refuses_one_that_stays(
    helpers: Helpers, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = helpers.start("job", JOB)
    held = LOCKS / f"{JOB}.lock"
    own = Engine.of("dvc", os.getpid())
    assert own is not None
    gone = replace(own, since=own.since - 1000)
    held.write_text(json.dumps({"pid": job.pid, "engine": vars(gone)}))
    monkeypatch.setattr(locks, "PATIENCE", 0.2)
    with pytest.raises(InputError, match=rf"^{JOB} \(process {job.pid}, started by dvc .* is at work"):
        locks.job_at_work("other@smoke").__enter__()
    monkeypatch.setattr(locks, "PATIENCE", 30)
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {job.pid}"]).wait()
    with locks.job_at_work("other@smoke"):
        assert job.poll() is not None or job.wait(5)


def test_dvc_is_known_by_its_own_record(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", JOB)
    assert locks._starter(("out",)) == Engine.of("dvc", os.getppid())
    record = {"write": {str(project / "out"): {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}
    (project / ".dvc/tmp").mkdir(parents=True)
    (project / ".dvc/tmp/rwlock").write_text(json.dumps(record))
    assert locks._starter(("other", "out")) == Engine.of("dvc", os.getpid())


def test_an_engine_elsewhere_is_judged_by_its_lock(helpers: Helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    process = helpers.start("engine")
    text = RUN.read_text()
    monkeypatch.setattr(platform, "node", lambda: "another machine")
    locks.pass_on()
    assert os.environ[locks.VARIABLE] == text
    engine = Engine.read(text)
    assert engine is not None
    assert not engine.died()
    with locks.job_at_work(JOB):
        pass
    process.kill()
    process.wait()
    assert engine.died()
    with locks.job_at_work(JOB):  # where no lock tells, it goes on
        pass


@pytest.mark.parametrize("text", ["", "{", "3", '{"name": "x"}'])
def test_a_damaged_lock_is_no_obstacle(text: str) -> None:
    for path in (RUN, LOCKS / f"{JOB}.lock"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert not locks.engine_at_work()
    with locks.job_at_work(JOB):
        pass
