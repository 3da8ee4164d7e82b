"""One job at work: what it may see, one copy at a time, and going on after a kill."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from metadiffuser import paths
from metadiffuser.artifacts import write_json, write_tensors
from metadiffuser.config.loading import PARAMS as PARAMS_FILE
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, records
from metadiffuser.pipeline.locks import exclusive
from metadiffuser.pipeline.run import Run, execute
from tests.conftest import ROOT, whole

PARAMS = load(ROOT / "presets" / "smoke.yaml")
TASKS = Path("artifacts/smoke/tasks/point_robot.json")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def job() -> dag.Job:
    """The job that needs no input."""
    return dag.find_job("define_tasks", {"family": "point_robot"}, PARAMS)


def pretend(monkeypatch: pytest.MonkeyPatch, stage: str, action: object) -> None:
    """Put a function in place of a stage."""
    module = ModuleType(f"metadiffuser.stages.{stage}")
    module.run = action  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_a_job_writes_outputs_time_and_record_and_clears_up(job: dag.Job) -> None:
    execute(job, PARAMS)
    assert all(Path(path).exists() for path in job.outputs)
    assert records.is_current(job)
    assert not list(Path(".work/smoke").iterdir())
    first = TASKS.read_bytes()
    shutil.rmtree("artifacts")
    execute(job, PARAMS)
    assert TASKS.read_bytes() == first


def test_a_stage_sees_what_it_declares_and_nothing_else(job: dag.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(run: Run) -> None:
        assert run.root_seed == PARAMS.seed
        assert run.section("tasks") == PARAMS.tasks
        assert run.wildcard("family") == "point_robot"
        assert run.path(paths.TASKS) == TASKS
        for forbidden in (lambda: run.section("diffusion"), lambda: run.value("device"), lambda: run.whole()):
            with pytest.raises(KeyError, match="does not declare parameter"):
                forbidden()
        with pytest.raises(KeyError, match="does not declare"):
            run.path(paths.DATASET)
        write_json(run.path(paths.TASKS), [])

    pretend(monkeypatch, "define_tasks", look)
    execute(job, PARAMS)


def test_overrides_reach_the_stage(job: dag.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = PARAMS.model_dump()
    tree["overrides"]["point_robot"]["tasks"] = {"train": 9}
    seen: list[int] = []

    def look(run: Run) -> None:
        seen.append(run.section("tasks").train)
        write_json(run.path(paths.TASKS), [])

    pretend(monkeypatch, "define_tasks", look)
    execute(job, Params.model_validate(tree))
    assert seen == [9]


def test_a_second_copy_is_refused(job: dag.Job) -> None:
    with exclusive(job.name), pytest.raises(InputError, match="already running in this checkout"):
        execute(job, PARAMS)
    execute(job, PARAMS)


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


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda text: text.replace("seed: 0", "seed: 1", 1), "params.yaml was changed while the job ran"),
        (lambda text: text.replace("preset: smoke", "preset: quick", 1), "params.yaml was changed while the job ran"),
        (lambda _: "seed: [", "params.yaml: not valid YAML"),
    ],
    ids=["parameter", "preset", "broken"],
)
def test_an_edit_while_a_job_runs_leaves_it_to_be_run_again(
    job: dag.Job, monkeypatch: pytest.MonkeyPatch, edit: Callable[[str], str], said: str
) -> None:
    before = whole()
    PARAMS_FILE.write_text(before)
    seen: list[bool] = []

    def work(run: Run) -> None:
        seen.append((run.work / "half.txt").exists())
        (run.work / "half.txt").touch()
        write_json(run.path(paths.TASKS), len(seen))
        if len(seen) == 1:
            assert before != edit(before)
            PARAMS_FILE.write_text(edit(before))

    pretend(monkeypatch, "define_tasks", work)
    with pytest.raises(InputError, match=re.escape(said)):
        execute(job, PARAMS, PARAMS_FILE)
    assert records.read(job) is None
    PARAMS_FILE.write_text(before)
    execute(job, PARAMS, PARAMS_FILE)
    assert seen == [False, True], "with the edit undone, it goes on"
    assert records.is_current(job)


def test_an_edit_of_other_parameters_does_not_matter(job: dag.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    before = whole()
    PARAMS_FILE.write_text(before)

    def work(run: Run) -> None:
        PARAMS_FILE.write_text(before.replace("  horizon: 8", "  horizon: 16", 1))
        write_json(run.path(paths.TASKS), [])

    pretend(monkeypatch, "define_tasks", work)
    execute(job, PARAMS, PARAMS_FILE)
    assert records.is_current(job)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's files that jobs take for the code that runs."""
    target = tmp_path / "copy" / "metadiffuser"
    shutil.copytree(ROOT / "src" / "metadiffuser", target, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(records, "__file__", str(target / "pipeline" / "records.py"))
    return target


@pytest.mark.parametrize("edited", ["source", "input", "neither"])
def test_an_edit_of_source_or_input_while_a_job_runs_leaves_it_to_be_run_again(
    source: Path, monkeypatch: pytest.MonkeyPatch, edited: str
) -> None:
    job = dag.find_job("describe_dataset", {"family": "point_robot"}, PARAMS)
    (metrics,) = map(Path, job.inputs)
    write_json(metrics, {"bytes": 1})
    files = {"source": source / "reporting" / "card.py", "input": metrics, "neither": source / "cli.py"}

    def work(run: Run) -> None:
        write_json(run.path(paths.DATASET_CARD) / "card.json", {})
        path = files[edited]
        path.write_text(path.read_text() + "\n")

    pretend(monkeypatch, "describe_dataset", work)
    if edited == "neither":
        execute(job, PARAMS)
        assert records.is_current(job)
        return
    with pytest.raises(InputError, match="its source or an input was changed while the job ran"):
        execute(job, PARAMS)
    assert records.read(job) is None
    assert not records.is_current(job)


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


def test_a_missing_device_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    run = importlib.import_module("metadiffuser.pipeline.run")
    monkeypatch.setattr(run.torch.cuda, "is_available", lambda: False)
    assert run.pick_device("auto") == "cpu"
    with pytest.raises(InputError, match="'device' is cuda, but torch finds no CUDA device"):
        run.pick_device("cuda")
    monkeypatch.setattr(run.torch.cuda, "is_available", lambda: True)
    assert [run.pick_device(wanted) for wanted in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]


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
