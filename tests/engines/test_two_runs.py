"""Two runs in one checkout, of one engine and of two: the second is refused; killed engines; edits during a run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from metadiffuser.config.loading import load
from metadiffuser.pipeline import dag, dvc_lock
from tests.helpers.stubbed import Stubbed, one_family

pytestmark = pytest.mark.engine

ENGINES = {"snakemake": ("snakemake", "--cores", "1", "all"), "dvc": ("dvc", "repro")}
HELD = "train_context"
MODEL = {"family": "point_robot", "representation": "generalised", "seed": "0"}
JOB = "train_context@smoke-point_robot-generalised-0"
CONTEXT = "artifacts/smoke/context/point_robot/generalised/seed0.safetensors"
ONE_JOB = {"snakemake": ("snakemake", "--cores", "1", CONTEXT), "dvc": ("dvc", "repro", JOB)}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Stubbed:
    """A project with one family and nothing run."""
    return one_family(tmp_path_factory.mktemp("fresh") / "project")


@pytest.fixture
def project(fresh: Stubbed, tmp_path: Path) -> Iterator[Stubbed]:
    """A twin of the project; what it started is ended with the test."""
    twin = fresh.twin(tmp_path / "project")
    yield twin
    for process in processes(twin):
        process.kill()


def processes(project: Stubbed) -> list[psutil.Process]:
    """The processes that work in the project's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(project.root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def eventually(holds: Callable[[], object], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def start(project: Stubbed, engine: str, held: str = HELD) -> subprocess.Popen[bytes]:
    """Start an engine and wait until its job of stage ``held`` hangs."""
    process = subprocess.Popen(
        ENGINES[engine],
        cwd=project.root,
        env={**project.environment(), "HANG": held},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    eventually(lambda: (project.root / "hanging").exists() or process.poll() is not None, "no job hangs")
    assert process.poll() is None
    return process


def contents(project: Stubbed) -> dict[str, bytes]:
    """The outputs that there are, without the logs."""
    roots = (project.root / "artifacts", project.root / "results")
    return {str(path): path.read_bytes() for root in roots for path in root.rglob("*.*") if path.is_file()}


@pytest.mark.parametrize("second", ["snakemake", "dvc"])
@pytest.mark.parametrize("first", ["snakemake", "dvc"])
def test_the_second_run_is_refused_before_any_job(project: Stubbed, first: str, second: str) -> None:
    process = start(project, first)
    before, ran = contents(project), project.ran()
    assert ran[-1] == JOB
    done = project.run(*ENGINES[second], check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in said
    assert project.ran() == []
    assert contents(project) == before
    if second == "dvc":
        assert re.search(rf"is busy, it is being blocked by:\n  \(PID {process.pid}\): ", said)
    elif first == "snakemake":
        assert said.splitlines()[-1] == (
            f"metadiffuser: Snakemake (process {process.pid}) is at work in this checkout; "
            "wait for it to end or stop it, then run this again"
        )
    else:
        assert re.search(rf"metadiffuser: {JOB} \(process \d+, started by dvc \(process {process.pid}\)\) is at", said)
    assert process.poll() is None
    by_hand = project.run("metadiffuser", "define_tasks", "--family", "point_robot", check=False)
    assert by_hand.returncode != 0
    assert "is at work in this checkout; wait" in by_hand.stderr
    for words in (("use", "quick"), ("import", "--family", "point_robot", "--from", "data")):
        parameters = (project.root / "params.yaml").read_bytes()
        done = project.run(sys.executable, "-m", "metadiffuser.cli", *words, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("metadiffuser: ")
        assert "is at work in this checkout; wait for it to end or stop it, then run this again" in done.stderr
        assert (project.root / "params.yaml").read_bytes() == parameters
        assert not (project.root / "params.yaml.old").exists()
        assert not (project.root / "imports").exists()
    assert contents(project) == before
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_looking_is_allowed_while_snakemake_works(project: Stubbed) -> None:
    process = start(project, "snakemake")
    project.ran()
    for words in (("snakemake", "-n", "all"), ("snakemake", "-np", "all"), ("snakemake", "--summary")):
        project.run(*words)
    assert project.ran() == []
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(
    ("killed", "again"), [("snakemake", "snakemake"), ("snakemake", "dvc"), ("dvc", "snakemake"), ("dvc", "dvc")]
)
def test_the_job_of_a_killed_engine_stops_and_the_next_run_waits_for_it(
    project: Stubbed, killed: str, again: str
) -> None:
    process = start(project, killed)
    (orphan,) = [job for job in processes(project) if HELD in job.cmdline() and "python" in job.cmdline()[0]]
    project.ran()
    os.kill(process.pid, signal.SIGKILL)  # the engine alone
    process.wait()
    # Were the orphan's output trusted, it would tell of the parameters that it was recorded.
    project.edit("params.yaml", "  latent_size: 4", "  latent_size: 5")
    (project.root / "hanging").unlink()
    project.run(*ONE_JOB[again])
    assert not orphan.is_running()
    assert project.ran().count(JOB) == 1
    job = dag.find_job(HELD, MODEL, load(project.root / "params.yaml"))
    made = json.loads((project.root / CONTEXT).read_text())["made_from"]
    record = json.loads((project.root / f".work/records/{JOB}.json").read_text())
    assert job.params["context"]["latent_size"] == 5
    assert made == record["made_from"]
    assert JOB not in project.waiting(again)


@pytest.mark.parametrize("again", ["snakemake", "dvc"])
def test_a_killed_run_leaves_no_lock_behind(project: Stubbed, again: str) -> None:
    process = start(project, "snakemake")
    os.killpg(process.pid, signal.SIGKILL)  # engine and jobs
    process.wait()
    assert list((project.root / ".snakemake/locks").iterdir())
    project.ran()
    project.run(*ONE_JOB[again])
    assert project.ran().count(JOB) == 1


def finish(project: Stubbed, process: subprocess.Popen[bytes]) -> int:
    """Let the job that hangs end, and the run with it."""
    (project.root / "released").touch()
    return process.wait(timeout=300)


def test_an_edit_during_a_run_is_not_recorded_for_what_was_made_before_it(project: Stubbed) -> None:
    shards = [f"train_behaviour@smoke-point_robot-{shard}" for shard in (0, 1)]
    process = start(project, "snakemake", "collect_dataset")
    assert set(shards) <= set(project.ran())
    project.edit("params.yaml", "  discount: 0.99", "  discount: 0.98")
    assert finish(project, process) == 0
    stages = dvc_lock.parse((project.root / "dvc.lock").read_bytes())
    assert "collect_dataset@smoke-point_robot" in stages, "what the edit has nothing to do with is recorded"
    recorded = [dvc_lock.parameters(stages[shard]) for shard in shards if shard in stages]
    assert all(one["behaviour"]["discount"] != 0.98 for one in recorded)
    assert set(shards) <= project.waiting("snakemake") & project.waiting("dvc")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_job_during_which_its_parameters_were_edited_is_run_again(project: Stubbed, engine: str) -> None:
    process = start(project, engine)
    project.edit("params.yaml", "  latent_size: 4", "  latent_size: 5")
    project.ran()
    assert finish(project, process) != 0
    assert set(project.ran()) <= {"describe_dataset@smoke-point_robot"}, "no job that reads its outputs"
    assert not (project.root / f".work/records/{JOB}.json").exists()
    assert JOB in project.waiting("dvc")
    project.run(*ONE_JOB[engine])
    assert project.ran().count(JOB) == 1
    made = json.loads((project.root / CONTEXT).read_text())["made_from"]
    assert made == json.loads((project.root / f".work/records/{JOB}.json").read_text())["made_from"]
    assert JOB not in project.waiting(engine)
