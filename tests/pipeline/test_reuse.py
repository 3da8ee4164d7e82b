"""A job of one preset takes the outputs of the same job of another."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from metadiffuser import paths
from metadiffuser.artifacts import write_json, write_text
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.pipeline import dag, records
from metadiffuser.pipeline.run import Run, execute
from tests.conftest import ROOT

SMOKE = load(ROOT / "presets" / "smoke.yaml")
OTHER = SMOKE.model_copy(update={"preset": "other"})
TASKS, DATA = (Path(path.format(preset="other", family="point_robot")) for path in (paths.TASKS, paths.DATASET))


@pytest.fixture(autouse=True)
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An empty project in which two stages write what they ran as; their presets, in order."""
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []

    def draw(run: Run) -> None:
        seen.append(run.job.wildcards["preset"])
        write_json(run.path(paths.TASKS), len(seen))

    def collect(run: Run) -> None:
        seen.append(run.job.wildcards["preset"])
        write_text(run.path(paths.DATASET) / "task0" / "data.txt", f"run {len(seen)}")
        write_json(run.path(paths.DATASET_METRICS), len(seen))

    for stage, action in {"define_tasks": draw, "collect_dataset": collect}.items():
        module = ModuleType(f"metadiffuser.stages.{stage}")
        module.run = action  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return seen


def job(stage: str, params: Params) -> dag.Job:
    return dag.find_job(stage, {"family": "point_robot"}, params)


def test_the_same_job_of_another_preset_is_not_run_again(ran: list[str], caplog: pytest.LogCaptureFixture) -> None:
    execute(job("define_tasks", SMOKE), SMOKE)
    execute(job("define_tasks", OTHER), OTHER)
    assert ran == ["smoke"]
    assert json.loads(TASKS.read_text()) == 1
    assert records.is_current(job("define_tasks", OTHER))
    assert "takes the outputs of define_tasks@smoke-point_robot" in caplog.text
    files = [Path(f"results/{name}/timings/define_tasks-point_robot.json") for name in ("smoke", "other")]
    timing = [json.loads(file.read_text()) for file in files]
    assert timing[1].pop("job") == "define_tasks@other-point_robot"
    timing[0].pop("job")
    assert (timing[0]["work"], timing[0]["bytes"]) == (1, TASKS.stat().st_size)
    assert timing[0] == timing[1], "the time that it took where it ran"


def test_folders_are_copied_without_the_engines_files(ran: list[str]) -> None:
    for params in (SMOKE, OTHER):
        shard = [dag.expand(paths.BEHAVIOUR, {"preset": params.preset, "family": "point_robot"}, params)]
        for path in shard[0]:
            write_text(Path(path), "weights")
        execute(job("define_tasks", params), params)
        source = Path(paths.DATASET.format(preset="smoke", family="point_robot"))
        execute(job("collect_dataset", params), params)
        (source / ".snakemake_timestamp").touch()
    assert ran == ["smoke", "smoke"]
    assert [path.relative_to(DATA).as_posix() for path in DATA.rglob("*") if path.is_file()] == ["task0/data.txt"]
    assert (DATA / "task0" / "data.txt").read_text() == "run 2"
    assert (DATA / "task0" / "data.txt").stat().st_ino != (source / "task0" / "data.txt").stat().st_ino


def change_parameters() -> Params:
    tree = OTHER.model_dump()
    tree["tasks"]["train"] += 1
    return Params.model_validate(tree)


def change_outputs() -> Params:
    Path(paths.TASKS.format(preset="smoke", family="point_robot")).write_text("3")
    return OTHER


def lose_outputs() -> Params:
    shutil.rmtree("artifacts/smoke")
    return OTHER


def lose_record() -> Params:
    shutil.rmtree(".work/records")
    return OTHER


def lose_time() -> Params:
    shutil.rmtree("results/smoke/timings")
    return OTHER


@pytest.mark.parametrize("change", [change_parameters, change_outputs, lose_outputs, lose_record, lose_time])
def test_another_job_or_a_changed_one_is_not_taken(ran: list[str], change: object) -> None:
    execute(job("define_tasks", SMOKE), SMOKE)
    params = change()  # type: ignore[operator]
    execute(job("define_tasks", params), params)
    assert ran == ["smoke", "other"]
    assert json.loads(TASKS.read_text()) == 2


def test_what_was_made_from_other_inputs_is_not_taken(ran: list[str]) -> None:
    for params, weights in ((SMOKE, "weights"), (OTHER, "others")):
        for path in dag.expand(paths.BEHAVIOUR, {"preset": params.preset, "family": "point_robot"}, params):
            write_text(Path(path), weights)
        execute(job("define_tasks", params), params)
        execute(job("collect_dataset", params), params)
    assert ran == ["smoke", "smoke", "other"]
    assert (DATA / "task0" / "data.txt").read_text() == "run 3"


def test_another_family_is_not_taken(ran: list[str]) -> None:
    execute(job("define_tasks", SMOKE), SMOKE)
    execute(dag.find_job("define_tasks", {"family": "cheetah_vel"}, OTHER), OTHER)
    assert ran == ["smoke", "other"]
