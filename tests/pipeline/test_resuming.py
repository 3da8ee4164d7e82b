"""Going on after a kill: from which checkpoint and with what time, and when a job starts again."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from metadiffuser import paths
from metadiffuser.artifacts import write_json, write_tensors
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.pipeline import dag, records
from metadiffuser.pipeline.run import Run, execute
from tests.conftest import ROOT
from tests.helpers.pretended import pretend

pytestmark = pytest.mark.usefixtures("empty")

PARAMS = load(ROOT / "presets" / "smoke.yaml")
TASKS = Path("artifacts/smoke/tasks/point_robot.json")


def test_a_killed_job_goes_on_from_its_work_folder(job: dag.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def work(run: Run) -> None:
        half = run.work / "half.txt"
        seen.append(half.read_text() if half.exists() else None)
        half.write_text("half done")
        if len(seen) == 1:
            raise KeyboardInterrupt
        write_json(run.path(paths.TASKS), [])

    pretend(monkeypatch, "define_tasks", work)
    with pytest.raises(KeyboardInterrupt):
        execute(job, PARAMS)
    assert not any(Path(path).exists() for path in job.outputs)
    assert not records.is_current(job)
    execute(job, PARAMS)
    assert seen == [None, "half done"]


def test_other_parameters_start_anew(job: dag.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def work(run: Run) -> None:
        seen.append((run.work / "half.txt").exists())
        (run.work / "half.txt").touch()
        raise KeyboardInterrupt

    pretend(monkeypatch, "define_tasks", work)
    tree = PARAMS.model_dump()
    tree["seed"] = 1
    other = Params.model_validate(tree)
    for params in (PARAMS, PARAMS, other, PARAMS):
        with pytest.raises(KeyboardInterrupt):
            execute(dag.find_job("define_tasks", {"family": "point_robot"}, params), params)
    assert seen == [False, True, False, False]


def test_time_is_summed_over_resumptions(job: dag.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []

    def work(run: Run) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            record = run.work / "spent.json"
            assert not record.exists()
            raise KeyboardInterrupt
        write_json(run.path(paths.TASKS), [])

    pretend(monkeypatch, "define_tasks", work)
    with pytest.raises(KeyboardInterrupt):
        execute(job, PARAMS)
    spent = Path(".work/smoke", job.name, "spent.json")
    spent.write_text(json.dumps({"wall": 1000.0, "cpu": 500.0}))
    execute(job, PARAMS)
    timing = json.loads(Path(dag.timing_path(job.name, "smoke")).read_text())
    assert timing["wall_seconds"] >= 1000
    assert timing["cpu_seconds"] >= 500


def test_time_is_kept_while_a_job_runs_for_it_may_be_killed(job: dag.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metadiffuser.checkpointing.INTERVAL", 0.01)

    def work(run: Run) -> None:
        record, deadline = run.work / "spent.json", time.monotonic() + 30
        while not record.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert 0 < json.loads(record.read_text())["wall"] < 30
        write_json(run.path(paths.TASKS), [])

    pretend(monkeypatch, "define_tasks", work)
    execute(job, PARAMS)


def interrupted(monkeypatch: pytest.MonkeyPatch, job: dag.Job) -> Path:
    """Leave a checkpoint of three steps in a work folder; return its path."""
    left: list[Path] = []

    def work(run: Run) -> None:
        left.append(run.work / "training.safetensors")
        write_tensors(left[0], {"weight": torch.ones(4)}, {"step": 3})
        raise KeyboardInterrupt

    pretend(monkeypatch, job.stage.name, work)
    with pytest.raises(KeyboardInterrupt):
        execute(job, PARAMS)
    return left[0]


def test_a_job_says_from_what_it_goes_on(
    job: dag.Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = interrupted(monkeypatch, job)
    pretend(monkeypatch, "define_tasks", lambda run: write_json(run.path(paths.TASKS), []))
    execute(job, PARAMS)
    assert caplog.messages == [f"goes on from {path}, step 3"]


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"not a checkpoint at all"])
def test_a_damaged_checkpoint_is_named_and_discarded(
    job: dag.Job, content: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = interrupted(monkeypatch, job)
    path.write_bytes(content)
    seen: list[bool] = []

    def work(run: Run) -> None:
        seen.append(path.exists())
        write_json(run.path(paths.TASKS), [])

    pretend(monkeypatch, "define_tasks", work)
    execute(job, PARAMS)
    assert seen == [False]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{path}: damaged (")


def test_a_checkpoint_that_does_not_fit_is_discarded(
    job: dag.Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = interrupted(monkeypatch, job)
    seen: list[bool] = []

    def work(run: Run) -> None:
        seen.append(path.exists())
        if path.exists():
            raise KeyError("weight")
        write_json(run.path(paths.TASKS), [])

    pretend(monkeypatch, "define_tasks", work)
    execute(job, PARAMS)
    assert seen == [True, False]
    assert caplog.messages[-1] == f"{job.name}: cannot resume from {path} ('weight'); it starts again"


def test_a_mistake_in_the_code_is_not_tried_again(job: dag.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def work(_: Run) -> None:
        tried.append(1)
        raise KeyError("x")

    pretend(monkeypatch, "define_tasks", work)
    with pytest.raises(KeyError):
        execute(job, PARAMS)
    assert tried == [1]


def test_what_a_killed_copy_had_begun_to_write_is_deleted(job: dag.Job) -> None:
    half = TASKS.with_name(".point_robot.json.x1y_.part")
    other = TASKS.with_name(".cheetah_vel.json.x1y_.part")
    for path in (half, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[")
    execute(job, PARAMS)
    assert not half.exists()
    assert other.exists()


@pytest.mark.parametrize("content", ["{", "{}", "3", '{"wall": "x", "cpu": 1}'])
def test_a_damaged_record_of_time_is_no_obstacle(job: dag.Job, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, job).with_name("spent.json").write_text(content)
    pretend(monkeypatch, "define_tasks", lambda run: write_json(run.path(paths.TASKS), []))
    execute(job, PARAMS)
