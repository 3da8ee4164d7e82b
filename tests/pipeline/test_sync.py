"""The records of the two engines agree after every order of their runs, and no order ends in a wrong result.

``made_from`` in a fake output is the fingerprint of what made it, so a wrong result shows in the file.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from metadiffuser.config.loading import load
from metadiffuser.pipeline import dag, locks, sync
from tests.helpers.stubbed import Stubbed, one_family

pytestmark = pytest.mark.engine

DENOISER = "artifacts/smoke/diffusion/point_robot/generalised/seed0.safetensors"
AFTER_DIFFUSION = [
    "train_diffusion@smoke-point_robot-generalised-0",
    "calibrate@smoke-point_robot-generalised-0",
    "evaluate@smoke-point_robot-generalised-0",
    "make_figures@smoke",
    "make_report@smoke",
    "make_tables@smoke",
    "render_rollouts@smoke-point_robot",
]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Stubbed:
    """A project with one family and nothing run."""
    return one_family(tmp_path_factory.mktemp("fresh") / "project")


@pytest.fixture(scope="module")
def by_snakemake(fresh: Stubbed, tmp_path_factory: pytest.TempPathFactory) -> Stubbed:
    """A project run by Snakemake."""
    project = fresh.twin(tmp_path_factory.mktemp("snakemake") / "project")
    project.snakemake()
    assert len(project.ran()) == len(dag.jobs(load(project.root / "params.yaml")))
    return project


@pytest.fixture
def project(by_snakemake: Stubbed, tmp_path: Path) -> Stubbed:
    """A twin of the project run by Snakemake."""
    return by_snakemake.twin(tmp_path / "project")


def set_rate(project: Stubbed, rate: float) -> None:
    path = project.root / "params.yaml"
    head, tail = path.read_text().split("\ndiffusion:\n")
    path.write_text(head + "\ndiffusion:\n" + re.sub(r"learning_rate: \S+", f"learning_rate: {rate}", tail, count=1))


def made_from(project: Stubbed) -> str:
    return str(json.loads((project.root / DENOISER).read_text())["made_from"])


def assert_settled(project: Stubbed) -> None:
    """Both engines have nothing to do, and say so."""
    assert project.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    assert "Nothing to be done" in project.snakemake("-n")
    project.run("dvc", "repro")
    assert project.ran() == []


def test_after_snakemake(project: Stubbed) -> None:
    assert_settled(project)
    assert "Nothing to be done" in project.snakemake()


def locked(project: Stubbed) -> dict[str, Any]:
    """Return what dvc.lock records of the preset in force; it may hold others beside it."""
    stages = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    preset = load(project.root / "params.yaml").preset
    return {name: record for name, record in stages.items() if re.match(rf"\w+@{preset}\b", name)}


def test_a_lost_record_is_made_again_when_there_is_nothing_to_do(project: Stubbed) -> None:
    before = locked(project)
    (project.root / "dvc.lock").unlink()
    assert "Nothing to be done" in project.snakemake()
    assert locked(project) == before
    assert_settled(project)


def test_after_dvc(fresh: Stubbed, tmp_path: Path) -> None:
    project = fresh.twin(tmp_path / "project")
    project.run("dvc", "repro")
    assert len(project.ran()) == len(dag.jobs(load(project.root / "params.yaml")))
    assert_settled(project)


def test_after_a_pull_into_a_fresh_clone(project: Stubbed, tmp_path: Path) -> None:
    project.run("dvc", "remote", "add", "--local", "store", str(tmp_path / "store"))
    project.run("dvc", "push", "-r", "store")
    project.run("git", "add", "dvc.lock", "results")
    project.run("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "results")
    project.run("git", "clone", "-q", str(project.root), str(tmp_path / "clone"))
    clone = Stubbed(tmp_path / "clone")
    clone.run("dvc", "remote", "add", "--local", "store", str(tmp_path / "store"))
    clone.run("dvc", "pull", "-r", "store")
    assert_settled(clone)


def test_no_silent_wrong_result_after_an_edit_reverted_between_the_engines(project: Stubbed) -> None:
    original, rate = made_from(project), 0.00077
    text = (project.root / "params.yaml").read_text()
    set_rate(project, rate)
    project.run("dvc", "repro")
    assert sorted(project.ran()) == sorted(AFTER_DIFFUSION)
    edited = made_from(project)
    assert edited != original
    (project.root / "params.yaml").write_text(text)
    project.snakemake()
    assert sorted(project.ran()) == sorted(AFTER_DIFFUSION)
    assert made_from(project) == original
    set_rate(project, rate)
    project.snakemake()
    assert made_from(project) == edited
    (project.root / "params.yaml").write_text(text)
    project.run("dvc", "repro")
    assert made_from(project) == original
    project.ran()
    assert_settled(project)


def test_no_silent_wrong_result_after_a_source_edit_reverted_between_the_engines(project: Stubbed) -> None:
    original = made_from(project)
    source = "src/metadiffuser/diffusion/__init__.py"
    text = (project.root / source).read_text()
    project.edit(source, '"""', '"""Edited. ')
    project.run("dvc", "repro", "train_diffusion@smoke-point_robot-generalised-0")
    assert made_from(project) != original
    (project.root / source).write_text(text)
    project.ran()
    project.snakemake()
    assert AFTER_DIFFUSION[0] in project.ran()
    assert made_from(project) == original
    assert_settled(project)


def test_a_failing_run_is_recorded_as_far_as_it_came(project: Stubbed) -> None:
    set_rate(project, 0.00077)
    said = project.snakemake(check=False, FAIL="make_tables")
    assert "make_tables" in said
    assert not (project.root / "results" / "smoke" / "tables").exists()
    done = [name for name in AFTER_DIFFUSION if name not in ("make_tables@smoke", "make_report@smoke")]
    assert set(project.ran()) == {*done, "make_tables@smoke"}
    changed = set(json.loads(project.run("dvc", "status", "--json").stdout))
    assert changed == {"make_tables@smoke", "make_report@smoke"}
    project.run("dvc", "repro")
    assert project.ran() == ["make_tables@smoke", "make_report@smoke"]
    assert_settled(project)


@pytest.mark.parametrize("engine", ["snakemake", "dvc"])
def test_damaged_outputs_are_made_again(project: Stubbed, engine: str) -> None:
    original = made_from(project)
    (project.root / DENOISER).write_text("{}")
    (project.root / "artifacts/smoke/datasets/point_robot/metrics.json").unlink()
    project.run("dvc", "repro") if engine == "dvc" else project.snakemake()
    ran = project.ran()
    # DVC may take the files from its cache, where nothing was damaged.
    assert engine == "dvc" or {"collect_dataset@smoke-point_robot", AFTER_DIFFUSION[0]} <= set(ran)
    assert made_from(project) == original
    assert (project.root / "artifacts/smoke/datasets/point_robot/metrics.json").exists()
    assert_settled(project)


def start_and_hang(project: Stubbed, stage: str) -> subprocess.Popen[bytes]:
    """Start Snakemake and wait until ``stage`` hangs."""
    process = subprocess.Popen(
        ["snakemake", "--cores", "2", "all"],
        cwd=project.root,
        env={**project.environment(), "HANG": stage},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # Where the tests run in a shell's background, interrupts are ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not (project.root / "hanging").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline, "the job that hangs was never started"
        time.sleep(0.05)
    return process


def test_what_a_killed_engine_finished_is_not_lost(project: Stubbed) -> None:
    set_rate(project, 0.00077)
    process = start_and_hang(project, "render_rollouts")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    first = project.ran()
    assert "evaluate@smoke-point_robot-generalised-0" in first
    project.snakemake()
    again = project.ran()
    assert "render_rollouts@smoke-point_robot" in again
    assert "train_diffusion@smoke-point_robot-generalised-0" not in again
    assert_settled(project)


def test_an_interrupted_engine_records_what_it_finished(project: Stubbed) -> None:
    set_rate(project, 0.00077)
    process = start_and_hang(project, "make_tables")
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=60)
    changed = set(json.loads(project.run("dvc", "status", "--json").stdout))
    assert {"train_diffusion@smoke-point_robot-generalised-0", "evaluate@smoke-point_robot-generalised-0"}.isdisjoint(
        changed
    )
    assert "make_tables@smoke" in changed


def test_a_dvc_at_work_is_waited_for(project: Stubbed) -> None:
    blocker = {"pid": os.getpid(), "cmd": "dvc repro"}
    lock = {"read": {}, "write": {str(project.root / DENOISER): blocker}}
    (project.root / ".dvc" / "tmp").mkdir(exist_ok=True)
    (project.root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(lock))
    said = project.snakemake(check=False)
    assert "dvc is at work in this checkout" in said
    assert "Traceback" not in said
    assert project.ran() == []


def test_a_record_cut_short_is_named_with_the_remedy(project: Stubbed) -> None:
    record = project.root / "dvc.lock"
    record.write_bytes(record.read_bytes()[:-20] + b"\n  : [")
    said = project.snakemake(check=False)
    assert "metadiffuser: dvc.lock: damaged or in the middle of a merge; 'git checkout -- dvc.lock' restores" in said
    assert "Traceback" not in said
    assert project.ran() == []


def test_calls_that_do_not_build_leave_the_records_alone(project: Stubbed) -> None:
    (project.root / "dvc.lock").unlink()
    project.run("snakemake", "--lint")
    project.run("snakemake", "--unlock")
    project.run("snakemake", "--mode", "subprocess", "--cores", "1", "-n", "all")
    assert not (project.root / "dvc.lock").exists()
    project.snakemake("-n")
    assert (project.root / "dvc.lock").exists()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("  horizon:", "  horizn:", r"unknown key 'diffusion.horizn'; did you mean 'horizon'\?"),
        ("seed: 0", "seed: 0.5", r"'seed' is 0.5"),
        ("preset: smoke", "preset: smoke\npreset: quick", "'preset' stands twice"),
    ],
)
def test_a_bad_key_stops_snakemake_with_a_sentence(project: Stubbed, old: str, new: str, named: str) -> None:
    project.edit("params.yaml", old, new)
    done = project.run("snakemake", "--cores", "1", "all", check=False)
    assert done.returncode == 2
    assert re.fullmatch(f"metadiffuser: params.yaml: .*{named}.*", done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr
    assert "File" not in done.stderr
    assert project.ran() == []


def test_parameters_on_snakemakes_command_line_are_refused(project: Stubbed) -> None:
    done = project.run("snakemake", "--cores", "1", "--config", "seed=7", "--", "all", check=False)
    assert done.returncode == 2
    assert "edit params.yaml" in done.stderr
    assert project.ran() == []


def test_a_lock_and_other_modes_keep_reconciling_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sync.wanted(["snakemake", "-n", "all"])
    for option in ("--lint", "--unlock", "--touch"):
        assert not sync.wanted(["snakemake", option])
    monkeypatch.setattr(locks, "engine_at_work", lambda: True)
    assert not sync.wanted(["snakemake", "all"])


def test_the_source_of_another_checkout_is_refused(project: Stubbed) -> None:
    other = str(Path(sync.__file__).parents[2])
    done = project.run(
        sys.executable,
        "-m",
        "metadiffuser.cli",
        "define_tasks",
        "--family",
        "point_robot",
        check=False,
        PYTHONPATH=other,
    )
    assert done.returncode == 2
    assert "not this checkout's" in done.stderr


def test_jobs_find_the_programs_of_an_environment_that_is_not_activated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    sync.find_programs()
    assert os.environ["PATH"].split(os.pathsep) == ["/usr/bin", str(Path(sys.executable).parent)]
