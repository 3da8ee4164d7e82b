"""``metadiffuser estimate``: recorded times come back, and other times follow what drives them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from metadiffuser import cli
from metadiffuser.artifacts import write_json
from metadiffuser.config import plugins
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.pipeline import dag, work
from metadiffuser.pipeline.estimate import COPIES, Record, duration, estimate_jobs, read_records, size
from tests.conftest import ROOT, put_in_force

QUICK = load(ROOT / "presets" / "quick.yaml")
PAPER = load(ROOT / "presets" / "paper.yaml")
FAMILY = {"family": "cheetah_vel"}
MODEL = {**FAMILY, "representation": "generalised", "seed": "0"}
BASELINE = {**FAMILY, "method": "bc", "seed": "0"}
MIB = 2**20


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with presets, params.yaml and a record of every timed job of the quick preset: 10 s, 300 MiB, 11 B."""
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    put_in_force(tmp_path, "quick")
    monkeypatch.chdir(tmp_path)
    jobs = dag.jobs(QUICK, timed_only=True)
    write_lock({job.name: entry(job.params) for job in jobs})
    for job in jobs:
        write_json(Path(dag.timing_path(job.name, "quick")), TIMING)
    return tmp_path


TIMING = {"cpu_seconds": 10.0, "peak_memory_mb": 300, "cores": 4, "machine": "Linux", "device": "cpu"}


def entry(params: Any) -> dict[str, Any]:
    outs = [{"path": "x", "size": 5, "md5": ""}, {"path": "y", "size": 6, "md5": ""}]
    return {"params": {"params.yaml": dict(params)}, "outs": outs}


def write_lock(stages: dict[str, Any]) -> None:
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))  # JSON is YAML, and quickly written


def edited(params: Params, **sections: dict[str, Any]) -> Params:
    """Return parameters with some keys of sections replaced, also where cheetah_vel overrides them."""
    tree = params.model_dump()
    for name, values in sections.items():
        tree[name] |= values
        if name in tree["overrides"]["cheetah_vel"]:
            tree["overrides"]["cheetah_vel"][name] = {}
    return Params.model_validate(tree)


def seconds(stage: str, wildcards: dict[str, str], params: Params) -> float:
    """The estimated time of one job."""
    name = dag.find_job(stage, wildcards, params).name
    return estimate_jobs(dag.jobs(params), read_records())[name].cpu_seconds


def test_committed_records_of_the_quick_preset_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    records = [record for record in read_records() if record.preset == "quick"]
    assert {record.stage for record in records} == {name for name, stage in dag.STAGES.items() if stage.timed}
    for record in records:
        assert record.cpu_seconds > 0
        assert record.work > 0
        assert record.memory_mb > 100
        assert record.disk > 100


def test_a_job_takes_the_time_of_its_own_record(project: Path) -> None:
    for job in dag.jobs(QUICK, timed_only=True):
        path = Path(dag.timing_path(job.name, "quick"))
        write_json(path, TIMING | {"cpu_seconds": 77.0})
        found = estimate_jobs(dag.jobs(QUICK), read_records())[job.name]
        assert found.cpu_seconds == pytest.approx(77.0), job.name
        assert (found.memory_mb, found.disk, found.ratio) == (300, 11, 1)
        write_json(path, TIMING)


@pytest.mark.parametrize(
    ("stage", "wildcards", "section", "change", "factor"),
    [
        ("train_behaviour", {**FAMILY, "shard": "0"}, "behaviour", {"updates_per_step": 0.125}, 2),
        ("train_behaviour", {**FAMILY, "shard": "0"}, "behaviour", {"sharing": "per_task", "copies": 1}, 50 / 4),
        ("train_behaviour", {**FAMILY, "shard": "0"}, "behaviour", {"teachers": 1}, 2 / 4),
        ("train_diffusion", MODEL, "diffusion", {"steps": 8000}, 2),
        ("train_diffusion", MODEL, "diffusion", {"batch_size": 384}, 3),
        ("train_diffusion", MODEL, "diffusion", {"width": 128}, 4),
        ("train_diffusion", MODEL, "diffusion", {"horizon": 32}, 4),
        ("train_context", MODEL, "context", {"steps": 2000}, 0.5),
        ("train_context", MODEL, "context", {"task_batch": 32}, 2),
        ("collect_dataset", FAMILY, "dataset", {"episodes": 60}, 3),
        ("evaluate", MODEL, "evaluation", {"episodes": 8, "study_episodes": 4}, 2),
        ("evaluate", MODEL, "planning", {"candidates": 5}, 5),
        ("evaluate", MODEL, "planning", {"actions_per_plan": 2}, 0.5),
        ("calibrate", MODEL, "calibration", {"episodes": 8}, 4),
        ("calibrate", MODEL, "calibration", {"settings": 6}, 0.5),
        ("calibrate_baseline", BASELINE, "calibration", {"tasks": 10}, 2),
        ("calibrate_baseline", BASELINE, "calibration", {"settings": 1}, 1 / 3),
        ("evaluate_baseline", BASELINE, "evaluation", {"episodes": 40}, 10),
        ("render_rollouts", FAMILY, "rendering", {"frames": 100}, 0.5),
        ("make_tables", {}, "report", {"bootstrap_samples": 6000}, 3),
        ("describe_dataset", FAMILY, "dataset", {"episodes": 60}, 1),
    ],
)
def test_time_follows_what_drives_it(
    stage: str, wildcards: dict[str, str], section: str, change: dict[str, Any], factor: float
) -> None:
    base = edited(QUICK, behaviour={"updates_per_step": 0.0625, "sharing": "task_conditioned"})
    before, after = seconds(stage, wildcards, base), seconds(stage, wildcards, edited(base, **{section: change}))
    assert after / before == pytest.approx(factor)


def test_more_steps_of_a_baseline_take_longer() -> None:
    tree = QUICK.model_dump()
    tree["baseline"]["bc"]["steps"] *= 3
    tree["overrides"]["point_robot"]["baseline"]["bc"] = {"steps": 5 * QUICK.section("baseline.bc").steps}
    params = Params.model_validate(tree)
    assert seconds("train_baseline", BASELINE, params) == pytest.approx(30)
    assert seconds("train_baseline", {**BASELINE, "family": "point_robot"}, params) == pytest.approx(50)


def test_a_family_s_override_counts() -> None:
    tree = QUICK.model_dump()
    tree["overrides"]["cheetah_vel"]["diffusion"] = {"steps": 5 * QUICK.diffusion.steps}
    params = Params.model_validate(tree)
    assert seconds("train_diffusion", MODEL, params) == pytest.approx(50)
    assert seconds("train_diffusion", {**MODEL, "family": "point_robot"}, params) == pytest.approx(10)


def test_the_parameters_of_a_record_are_those_that_it_ran_with() -> None:
    stages = json.loads(Path("dvc.lock").read_text())["stages"]
    name = dag.find_job("train_diffusion", MODEL, QUICK).name
    stages[name]["params"]["params.yaml"]["diffusion"] |= {"steps": QUICK.diffusion.steps // 2}
    write_lock(stages)
    assert seconds("train_diffusion", MODEL, QUICK) == pytest.approx(20)


def test_a_record_with_its_work_needs_no_lock() -> None:
    job = dag.find_job("train_diffusion", MODEL, QUICK)
    own = work.of(job.stage.name, job.wildcards, work.settings(QUICK))
    write_json(Path(dag.timing_path(job.name, "quick")), TIMING | {"work": own / 4, "bytes": 1234})
    found = estimate_jobs(dag.jobs(QUICK), read_records())[job.name]
    assert found.cpu_seconds == pytest.approx(40), "its own work comes before that of dvc.lock"
    assert found.disk == 1234
    Path("dvc.lock").unlink()
    (record,) = read_records()
    assert (record.stage, record.preset, record.family, record.kind) == (
        *("train_diffusion", "quick", "cheetah_vel", "generalised"),
    )
    assert (record.work, record.disk) == (own / 4, 1234)


def test_a_method_may_declare_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("bc")
    module.work = lambda parameters: parameters.batch_size  # type: ignore[attr-defined]
    monkeypatch.setattr(plugins, "load", lambda kind, name: module)
    settings = {"baseline.bc": {"batch_size": 64}, "overrides.cheetah_vel.baseline.bc": "none"}
    assert work.of("train_baseline", BASELINE, settings) == 64


def test_shards_share_the_tasks_and_one_without_a_task_takes_nothing() -> None:
    tree = PAPER.model_dump()
    tree["overrides"]["cheetah_vel"]["tasks"] = {"train": 2, "test": 1}
    few = Params.model_validate(tree)
    took = [seconds("train_behaviour", {**FAMILY, "shard": str(n)}, few) for n in range(4)]
    assert took[0] == took[1] == took[2] > 0
    assert took[3] == 0
    assert seconds("train_behaviour", {**FAMILY, "shard": "0"}, PAPER) == pytest.approx(7 * took[0])


def a_record(family: str, kind: str, amount: float, took: float, preset: str = "quick") -> Record:
    return Record("train_context", preset, family, kind, amount, took, 300.0, 11.0, "Linux, 4 cores")


def test_the_closest_record_of_the_same_family_and_kind_is_scaled() -> None:
    job = dag.find_job("train_context", MODEL, QUICK)
    amount = work.of("train_context", MODEL, job.params)
    wrong = [a_record("point_robot", "generalised", amount, 1e6), a_record("cheetah_vel", "corro", amount, 1e6)]
    near = a_record("cheetah_vel", "generalised", 2 * amount, 30.0)
    far = [a_record("cheetah_vel", "generalised", factor * amount, 30.0) for factor in (1 / 9, 9)]
    others = [record for record in read_records() if record.stage != "train_context"]
    for records in ([*far, near, *wrong], [*wrong, near, *far]):
        found = estimate_jobs(dag.jobs(QUICK), [*others, *records])[job.name]
        assert found.record == near
        assert found.cpu_seconds == pytest.approx(15.0)


def test_of_records_of_equal_work_that_of_the_same_preset_is_taken() -> None:
    job = dag.find_job("train_context", MODEL, QUICK)
    amount = work.of("train_context", MODEL, job.params)
    equal = [a_record("cheetah_vel", "generalised", amount, 30.0, preset) for preset in ("laptop", "quick", "smoke")]
    others = [record for record in read_records() if record.stage != "train_context"]
    assert estimate_jobs(dag.jobs(QUICK), [*others, *equal])[job.name].record.preset == "quick"


def test_without_a_record_the_slowest_one_is_taken_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    write_json(Path("results/quick/timings/collect_dataset-point_robot.json"), TIMING | {"cpu_seconds": 2000.0})
    found = estimate_jobs(dag.jobs(PAPER), read_records())
    assert found["collect_dataset@paper-ant_dir"].record.family == "point_robot"
    taken = found["train_baseline@paper-point_robot-focal-0"].record
    assert (taken.family, taken.kind) == ("point_robot", "bc"), "a method without one takes one of its family"
    assert cli.main(["estimate", "--preset", "paper"]) == 0
    said = capsys.readouterr().out
    others = "ant_dir, cheetah_dir, hopper_param, walker_param"
    assert f"- collect_dataset: {others} have no record; that of point_robot, the slowest recorded family" in said
    assert "cvae_planner, focal, macaw, meta_dt, prompt_dt have no record; that of bc, the slowest" in said


def test_a_stage_without_any_record_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("results")
    assert cli.main(["estimate"]) == 2
    assert capsys.readouterr().err == (
        "metadiffuser: results/*/timings: no record of define_tasks that holds its work; run one first\n"
    )


def test_disk_and_memory_grow_with_the_dataset() -> None:
    params = edited(QUICK, dataset={"episodes": 2 * QUICK.dataset.episodes})
    found = estimate_jobs(dag.jobs(params), read_records())
    assert found["collect_dataset@quick-cheetah_vel"].disk == pytest.approx(22)
    assert found["train_context@quick-cheetah_vel-generalised-0"].disk == 11
    assert found["train_context@quick-cheetah_vel-generalised-0"].memory_mb == pytest.approx(300 + COPIES * 11 / MIB)
    assert found["describe_dataset@quick-cheetah_vel"].memory_mb == 300


@pytest.mark.parametrize(
    "timing",
    [{}, [], 3, {"device": "cpu"}, TIMING | {"cpu_seconds": "1"}, TIMING | {"machine": None}, TIMING | {"work": "x"}],
)
def test_a_timing_record_that_is_none_is_one_sentence(capsys: pytest.CaptureFixture[str], timing: object) -> None:
    path = dag.timing_path(dag.find_job("train_context", MODEL, QUICK).name, "quick")
    write_json(Path(path), timing)
    assert cli.main(["estimate"]) == 2
    assert capsys.readouterr().err == (
        f"metadiffuser: {path}: not as a job writes it; 'git checkout -- {path}' or delete it, then run this again\n"
    )


def test_records_of_a_gpu_of_another_version_or_of_unknown_jobs_do_not_count() -> None:
    before = read_records()
    stages = json.loads(Path("dvc.lock").read_text())["stages"]
    write_json(Path("results/quick/timings/train_context-cheetah_vel-generalised-0.json"), TIMING | {"device": "cuda"})
    del stages["train_diffusion@quick-cheetah_vel-generalised-0"]["params"]["params.yaml"]["diffusion"]["steps"]
    stages |= {"former_stage@quick-x": entry({}), "train_baseline@quick-cheetah_vel-former-0": entry({})}
    for name in ("former_stage-x", "train_baseline-cheetah_vel-former-0"):
        write_json(Path(f"results/quick/timings/{name}.json"), TIMING)
    write_lock(stages)
    gone = {("train_context", "cheetah_vel"), ("train_diffusion", "cheetah_vel")}
    assert [r for r in before if (r.stage, r.family) not in gone] == read_records()
    assert len(before) == len(read_records()) + 2


def test_units() -> None:
    assert [duration(t) for t in (3, 90, 5400, 86400, 259200)] == ["3 s", "1.5 min", "1.5 h", "24.0 h", "3.0 days"]
    assert [size(n) for n in (0, 2048, 3 * 2**20, 5 * 2**29)] == ["-", "2.0 KiB", "3.0 MiB", "2.5 GiB"]


def table(text: str) -> dict[str, list[str]]:
    """The rows of the table by stage."""
    lines = text.partition("\n\n")[0].splitlines()
    cells = [re.split(r"  +", line) for line in lines if not line.startswith("-")]
    return {row[0]: row[1:] for row in cells}


def test_the_table_has_every_stage_and_says_how_far_it_can_be_trusted(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["estimate", "--preset", "paper", "--cores", "16"]) == 0
    text = capsys.readouterr().out
    rows = table(text)
    assert list(rows) == ["stage", *dag.STAGES, "total"]
    jobs = dag.jobs(PAPER)
    assert rows["total"][0] == str(len(jobs))
    assert rows["train_baseline"][0] == str(sum(job.stage.name == "train_baseline" for job in jobs))
    for said in ("With --cores 16: about", "only the order of magnitude", "no GPU was measured", "times of quick ("):
        assert said in text


def test_without_a_preset_it_is_that_of_params(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["estimate", "--cores", "2"]) == 0
    here = capsys.readouterr().out
    rounding = 2  # seconds: hours are shown with three decimals
    assert rows_sum(here) == pytest.approx(len(dag.jobs(QUICK, timed_only=True)) * 10, abs=rounding)
    assert "work differs by a factor of up to 1.0: expect an error of up to a factor of two" in here
    assert cli.main(["estimate", "--cores", "2", "--preset", "quick"]) == 0
    assert capsys.readouterr().out == here


def test_work_that_is_less_than_the_records_is_warned_of_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    job = dag.find_job("train_diffusion", MODEL, QUICK)
    own = work.of(job.stage.name, job.wildcards, work.settings(QUICK))
    write_json(Path(dag.timing_path(job.name, "quick")), TIMING | {"work": 8 * own, "cpu_seconds": 80_000.0})
    assert cli.main(["estimate"]) == 0
    assert "by a factor of up to 8.0: expect an error of up to a factor of three" in capsys.readouterr().out


def rows_sum(text: str) -> int:
    """The seconds of the last row."""
    return round(float(table(text)["total"][1]) * 3600)


def test_the_former_verb_says_the_new_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["estimate", "--cores", "2"]) == 0
    expected = capsys.readouterr().out
    assert cli.main(["plan", "--cores", "2"]) == 0
    said = capsys.readouterr()
    assert said.out == expected
    assert said.err == "metadiffuser plan: this verb is now called 'metadiffuser estimate'\n"


@pytest.mark.parametrize(
    ("spoil", "words", "said"),
    [
        (
            lambda: None,
            ("--preset", "huge"),
            "preset 'huge' is unknown; expected one of expert, extrapolation, laptop, literature, medium, paper",
        ),
        (lambda: Path("dvc.lock").write_text("stages: 3"), (), "dvc.lock: damaged or in the middle of a merge"),
        (lambda: Path("dvc.lock").write_text(""), (), "dvc.lock: damaged or in the middle of a merge"),
        (lambda: Path("dvc.lock").unlink(), (), "results/*/timings: no record of define_tasks"),
    ],
)
def test_mistakes_are_one_sentence(
    capsys: pytest.CaptureFixture[str], spoil: Callable[[], object], words: tuple[str, ...], said: str
) -> None:
    spoil()
    assert cli.main(["estimate", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_no_cores_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["estimate", "--cores", "0"])
    assert "expected a whole number from 1 on, got '0'" in capsys.readouterr().err
