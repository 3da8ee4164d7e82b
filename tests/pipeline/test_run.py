"""One job at work: what it may see, one copy at a time, and edits while it runs."""

from __future__ import annotations

import importlib
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from metadiffuser import paths
from metadiffuser.artifacts import read_json, write_json
from metadiffuser.config.loading import PARAMS as PARAMS_FILE
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, records
from metadiffuser.pipeline.locks import exclusive
from metadiffuser.pipeline.run import Run, execute
from tests.conftest import ROOT, whole
from tests.helpers.pretended import pretend

pytestmark = pytest.mark.usefixtures("empty")

PARAMS = load(ROOT / "presets" / "smoke.yaml")
TASKS = Path("artifacts/smoke/tasks/point_robot.json")


def test_a_job_writes_outputs_time_and_record_and_clears_up(job: dag.Job) -> None:
    execute(job, PARAMS)
    assert all(Path(path).exists() for path in job.outputs)
    assert records.is_current(job)
    assert not list(Path(".work/smoke").iterdir())
    first = TASKS.read_bytes()
    shutil.rmtree("artifacts")
    execute(job, PARAMS)
    assert TASKS.read_bytes() == first


def test_memory_is_recorded_in_mebibytes(job: dag.Job) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    execute(job, PARAMS)
    recorded = read_json(Path(dag.timing_path(job.name, "smoke")))["peak_memory_mb"]
    assert before // 1024 <= recorded <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


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


def test_a_missing_device_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    run = importlib.import_module("metadiffuser.pipeline.run")
    monkeypatch.setattr(run.torch.cuda, "is_available", lambda: False)
    assert run.pick_device("auto") == "cpu"
    with pytest.raises(InputError, match="'device' is cuda, but torch finds no CUDA device"):
        run.pick_device("cuda")
    monkeypatch.setattr(run.torch.cuda, "is_available", lambda: True)
    assert [run.pick_device(wanted) for wanted in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
