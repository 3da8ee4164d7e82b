"""Tuning: settings are tried on held-out training tasks, equally many for each method, and never on unseen tasks."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from metadiffuser import cli, paths
from metadiffuser.artifacts import read_json
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.data.minari_store import Provenance, read_anchors, read_dataset, read_family, write_dataset
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import draw_tasks, read_tasks, split
from metadiffuser.errors import InputError
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.pipeline import dag, run
from metadiffuser.tuning import record, trial
from metadiffuser.tuning.holdout import hold_out, write_split
from metadiffuser.tuning.settings import Trial, Tuning, methods, read_settings, trials
from metadiffuser.tuning.tune import tune
from tests.baselines.test_baseline_stages import random_walks
from tests.conftest import ROOT, put_in_force

FAMILY = get_family("point_robot")
SMOKE = load(ROOT / "presets" / "smoke.yaml").model_copy(update={"families": ["point_robot"]})
WANTED = {
    "held_out": 1,
    "folds": 1,
    "episodes": 2,
    "contexts": ["expert", "random"],
    "settings": {
        "metadiffuser": {"every_family": [{}, {"planning.temperature": 0.0}, {"diffusion.width": 16}]},
        "bc": {"every_family": [{}, {"baseline.bc.hidden": [8]}, {"baseline.bc.steps": 5}]},
    },
}
PLACE = {"preset": "smoke", "family": "point_robot"}


def write_settings(**changes: Any) -> Path:
    path = Path("tuning.yaml")
    path.write_text(yaml.safe_dump({**WANTED, **changes}, sort_keys=False))
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with tasks and random datasets of every quality, unseen tasks included."""
    monkeypatch.chdir(tmp_path)
    put_in_force(tmp_path)
    run.execute(dag.find_job("define_tasks", {"family": "point_robot"}, SMOKE), SMOKE)
    generator = np.random.default_rng(0)
    for task in read_tasks(Path(paths.TASKS.format(**PLACE))):
        for quality in SMOKE.dataset.qualities:
            episodes = random_walks(generator, np.array(task.parameters["goal"], np.float32))
            provenance = Provenance({"algorithm": "uniform"}, -20.0 - task.index, -10.0)
            write_dataset(Path(paths.DATASET.format(**PLACE)), FAMILY, task, quality, episodes, provenance)
    return tmp_path


def test_the_last_training_tasks_are_held_out_and_unseen_ones_have_no_part() -> None:
    tasks = draw_tasks(FAMILY, 45, 5, np.random.default_rng(0))
    (found,) = hold_out(tasks, 5)
    assert [source.task.index for source in found] == list(range(45))
    assert [source.task.index for source in found if source.task.split == "test"] == [40, 41, 42, 43, 44]
    assert [source.task.parameters for source in found] == [task.parameters for task in split(tasks, "train")]
    assert Counter(source.task.split for source in hold_out(tasks, 40)[0])["test"] == 15, "at most a third"


def test_each_fold_holds_out_other_tasks_while_there_are_enough() -> None:
    tasks = draw_tasks(FAMILY, 13, 5, np.random.default_rng(0))
    found = [[source.task.index for source in part if source.task.split == "test"] for part in hold_out(tasks, 4, 9)]
    assert found == [[9, 10, 11, 12], [5, 6, 7, 8], [1, 2, 3, 4]]
    for part in hold_out(tasks, 4, 9):
        assert [source.index for source in part] == list(range(13)), "the others are trained on"
    assert hold_out(tasks, 4) == hold_out(tasks, 4, 9)[:1]
    assert len(hold_out(tasks[:2], 4, 9)) == 1, "two tasks are held out by episodes, which is one split"


def test_two_training_tasks_are_held_out_by_episodes(tmp_path: Path) -> None:
    tasks = draw_tasks(FAMILY, 2, 2, np.random.default_rng(0))
    generator = np.random.default_rng(0)
    everything = {task.index: random_walks(generator, np.zeros(2, np.float32), 9) for task in tasks}
    for task in tasks:
        write_dataset(tmp_path / "all", FAMILY, task, "expert", everything[task.index], Provenance({}, -9.0, -1.0))
    write_split(
        {"family": "point_robot"},
        tmp_path / "all",
        FAMILY,
        hold_out(tasks, 5, 3)[0],
        tmp_path / "tasks.json",
        tmp_path / "some",
    )
    written = read_tasks(tmp_path / "tasks.json")
    assert [(task.index, task.split) for task in written] == [(0, "train"), (1, "train"), (2, "test"), (3, "test")]
    assert [task.parameters for task in written[2:]] == [task.parameters for task in tasks[:2]]
    for index, origin, rows in ((0, 0, slice(0, 4)), (1, 1, slice(0, 4)), (2, 0, slice(4, 8)), (3, 1, slice(4, 8))):
        part = read_dataset(tmp_path / "some", "point_robot", index, "expert")
        assert np.array_equal(part.rewards, everything[origin].rewards[rows])
        assert read_anchors(tmp_path / "some", "point_robot", index) == (-9.0, -1.0)


@pytest.mark.slow
def test_tune_tries_every_setting_once_and_records_the_best(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    ordinary = run.execute

    def counting(job: dag.Job, params: Params) -> None:
        ran.append(job.stage.name)
        assert list(params.families) == ["point_robot"]
        ordinary(job, params)

    monkeypatch.setattr(trial, "execute", counting)
    file = write_settings()
    tune(SMOKE, file, None, None)
    assert Counter(ran) == {
        "train_context": 1,
        "train_diffusion": 2,
        "calibrate": 3,
        "evaluate": 3,
        "train_baseline": 3,
        "calibrate_baseline": 3,
        "evaluate_baseline": 3,
    }
    rows = record.read_record(project / "results/smoke/tuning.csv")
    assert [row["method"] for row in rows] == ["metadiffuser"] * 3 + ["bc"] * 3
    assert rows[0]["setting"] == record.PRESET
    assert rows[0]["values"] == "planning.temperature=0.5; diffusion.width=8"
    assert (rows[4]["setting"], rows[4]["values"]) == (
        "baseline.bc.hidden=[8]",
        "baseline.bc.hidden=[8]; baseline.bc.steps=20",
    )
    for method in ("metadiffuser", "bc"):
        own = [row for row in rows if row["method"] == method]
        best = max(own, key=lambda row: float(row["score"]))
        assert [row["chosen"] for row in own] == ["yes" if row is best else "no" for row in own]
        assert len({row["score"] for row in own}) == 3, "settings matter"
    assert {(row["tasks"], row["episodes"]) for row in rows} == {("1", "2")}
    page = (project / "results/smoke/tuning.md").read_text()
    assert "Settings tried per family: MetaDiffuser 3, Behaviour cloning with z 3." in page

    ran.clear()
    tune(SMOKE, file, "bc", "point_robot")
    assert ran == [], "what has been run is not run again"
    assert record.read_record(project / "results/smoke/tuning.csv") == rows
    assert "bc, point_robot, baseline.bc.hidden=[8]: " in capsys.readouterr().out

    metrics = next((project / ".work/tuning").glob("*/*/results/t*/metrics/planner/**/seed0.json"))
    held = split(read_tasks(Path(paths.TASKS.format(**PLACE))), "train")[-1]
    cells = read_json(metrics)["cells"]
    assert {task for cell in cells for task in cell["returns"]} == {str(held.index)}
    assert {cell["context"] for cell in cells if cell["method"] == "metadiffuser"} == {"expert", "random"}
    assert {cell["guide"] for cell in cells if cell["method"] == "metadiffuser"} == {"dual"}


def test_folds_are_trained_apart_and_scored_together(project: Path) -> None:
    only: Any = {"bc": {"every_family": [{}]}}
    found = []
    for folds in (1, 3):
        tune(SMOKE, write_settings(folds=folds, settings=only), None, None)
        (row,) = record.read_record(project / "results/smoke/tuning.csv")
        found.append((row["tasks"], row["score"]))
    assert [tasks for tasks, _ in found] == ["1", "3"]
    assert found[0][1] != found[1][1]
    scores = []
    for metrics in (project / ".work/tuning").glob("*/*/results/t*/metrics/baselines/**/seed0.json"):
        cells = [cell for cell in read_json(metrics)["cells"] if cell["method"] == "bc"]
        (held,) = {task for cell in cells for task in cell["returns"]}
        low, high = read_anchors(Path(paths.DATASET.format(**PLACE)), "point_robot", int(held))
        scores += [100 * (np.mean(cell["returns"][held]) - low) / (high - low) for cell in cells]
    assert float(found[1][1]) == pytest.approx(np.mean(scores), abs=0.01)
    assert len(scores) == 3 * 2
    (one,) = trials(read_settings(Path("tuning.yaml")), SMOKE, "bc", "point_robot")
    (first,) = trial.Scratch.prepare(SMOKE, "point_robot", 1, 1)
    (timing,) = first.root.glob("results/t*/timings/train_baseline-*.json")
    assert first.run(one).seconds == read_json(timing)["cpu_seconds"], "the encoder's time is not a baseline's"


def test_the_scratch_folder_holds_links_to_training_data_and_nothing_of_unseen_tasks(project: Path) -> None:
    (scratch,) = trial.Scratch.prepare(SMOKE, "point_robot", 1, 1)
    tasks, data = (
        scratch.root / template.format(preset="data", family="point_robot") for template in (paths.TASKS, paths.DATASET)
    )
    true = read_tasks(Path(paths.TASKS.format(**PLACE)))
    unseen = [task.parameters for task in split(true, "test")]
    written = read_tasks(tasks)
    assert [task.split for task in written] == ["train", "train", "test"]
    assert not [task for task in written if task.parameters in unseen]
    files = sorted(data.rglob("main_data.hdf5"))
    assert len(files) == 3 * 4
    assert all(path.is_symlink() and path.resolve().is_relative_to(project / "artifacts") for path in files)
    metadata = read_json(data / "metadiffuser/point_robot/002-expert-v0/data/metadata.json")
    assert metadata["task"]["split"] == "test"
    assert "(test)" in metadata["description"]
    original = read_json(
        Path(paths.DATASET.format(**PLACE)) / "metadiffuser/point_robot/002-expert-v0/data/metadata.json"
    )
    assert original["task"]["split"] == "train", "the data themselves are left alone"
    assert list(read_family(data, written, ["expert"])["expert"]) == [0, 1, 2]
    before = tasks.stat().st_mtime_ns
    trial.Scratch.prepare(SMOKE, "point_robot", 1, 1)
    assert tasks.stat().st_mtime_ns == before
    write_dataset(
        Path("more"),
        FAMILY,
        true[0],
        "expert",
        random_walks(np.random.default_rng(5), np.zeros(2, np.float32)),
        Provenance({}, -9.0, -1.0),
    )
    place = Path(paths.DATASET.format(**PLACE)) / "metadiffuser/point_robot/000-expert-v0"
    shutil.rmtree(place)
    shutil.copytree("more/metadiffuser/point_robot/000-expert-v0", place)
    trial.Scratch.prepare(SMOKE, "point_robot", 1, 1)
    assert read_anchors(data, "point_robot", 0) == (-9.0, -1.0), "made anew when the data change"


def judged(method: str, scores: dict[str, dict[str, list[float]]], **overrides: Any) -> record.Judged:
    recorded = Trial(method, "point_robot", overrides, overrides, SMOKE)
    arrays = {context: {task: np.array(v) for task, v in by.items()} for context, by in scores.items()}
    return record.Judged(recorded, trial.Score(arrays, 7.0))


def test_a_score_is_the_mean_over_contexts_and_tasks() -> None:
    own = judged(
        "bc", {"expert": {"1": [80.0, 100.0], "2": [70.0, 70.0]}, "random": {"1": [0.0, 0.0], "2": [40.0, 40.0]}}
    )
    same = judged("bc", {"expert": {"1": [50.0, 50.0]}, "random": {"1": [50.0, 50.0]}}, x=1)
    assert own.mean == 50.0
    rows = record.judge([own, same], Bootstrap(0.95, 200), 0)
    assert [row["chosen"] for row in rows] == ["yes", "no"], "of equals the first, which is the preset's own"
    assert rows[0]["by_context"] == "expert=80.0; random=20.0"
    assert float(rows[0]["low"]) < 50.0 < float(rows[0]["high"])
    assert rows[0]["training_seconds"] == "7"


def test_rows_of_other_methods_and_families_stay() -> None:
    def row(method: str, family: str, score: str) -> record.Row:
        return dict.fromkeys(record.COLUMNS, "") | {"method": method, "family": family, "score": score, "values": score}

    former = [row("bc", "point_robot", "1"), row("metadiffuser", "ant_dir", "2"), row("bc", "ant_dir", "3")]
    fresh = [row("bc", "point_robot", "4"), row("bc", "point_robot", "5")]
    found = record.merged(former, fresh, ["metadiffuser", "bc"], ["point_robot", "ant_dir"])
    assert [entry["score"] for entry in found] == ["2", "4", "5", "3"]
    assert record.distinct(found) == {"metadiffuser": "1", "bc": "1 to 2"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bc": {"every_family": [{}, {}]}, "focal": {"every_family": [{}]}}, "settings.focal.every_family has 1"),
        ({"bc": {"every_family": [{"baseline.bc.steps": 5}]}}, "the first setting must be {}"),
        ({"bcc": {"every_family": [{}]}}, "unknown method; did you mean 'bc'?"),
        ({"bc": {"ant": [{}]}}, "unknown family; did you mean 'ant_dir'?"),
        ({"bc": {"every_family": [{}, {"baseline.bc.step": 5}]}}, "did you mean 'steps'?"),
        ({"bc": {"every_family": [{}, {"planning.candidates": 5}]}}, "keys begin with baseline.bc"),
        ({"bc": {"every_family": []}}, "at least 1 item"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"tuning\.yaml: ") as raised:
        read_settings(write_settings(settings=settings))
    assert said in str(raised.value)


def test_mistakes_on_the_command_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_settings(settings={"bc": {"point_robot": [{}, {"baseline.bc.steps": 0}]}})
    for words, said in (
        (["--method", "focal"], "--method focal: expected one of bc"),
        (["--family", "ant_dir"], "--family ant_dir: expected one of point_robot, cheetah_vel"),
        (["--family", "cheetah_vel"], "settings.bc: nothing for cheetah_vel"),
        (["--family", "point_robot"], "'overrides.point_robot.baseline.bc.steps' is 0"),
        (["--settings", "none.yaml"], "metadiffuser: none.yaml: cannot be read"),
    ):
        assert cli.main(["tune", "--settings", "tuning.yaml", *words]) == 2
        assert said in capsys.readouterr().err
    write_settings(settings={"bc": {"every_family": [{}]}})
    assert cli.main(["tune", "--settings", "tuning.yaml", "--family", "cheetah_vel"]) == 2
    assert "artifacts/smoke/tasks/cheetah_vel.json: missing; run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("third", "said"),
    [
        ({"diffusion.horizon": 12, "diffusion.multipliers": [1, 1, 1, 1]}, "diffusion.horizon is 12, but the 4 levels"),
        ({"planning.sampling_steps": 900}, "planning.sampling_steps is 900, but diffusion.denoising_steps is 4;"),
        ({"planning.actions_per_plan": 9}, "planning.actions_per_plan is 9, but a plan has 8 actions"),
        ({"context.qualities": ["expert", "expert"]}, "context.qualities: the list ['expert', 'expert'] names"),
    ],
)
@pytest.mark.usefixtures("project")
def test_inconsistent_settings_are_refused_before_the_first_trial(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], third: Any, said: str
) -> None:
    monkeypatch.setattr(trial, "execute", lambda *_: pytest.fail("a trial was run"))
    write_settings(settings={"metadiffuser": {"every_family": [{}, {"diffusion.width": 16}, third]}})
    assert cli.main(["tune", "--settings", "tuning.yaml", "--family", "point_robot"]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"metadiffuser: settings.metadiffuser, point_robot: overrides.point_robot.{said}")
    assert message.count("\n") == 1


def test_what_is_asked_of_the_evaluation_on_unseen_tasks_is_not_asked_of_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tuning = read_settings(write_settings(contexts=["expert", "wrong_task"], held_out=2))
    few = SMOKE.model_copy(update={"tasks": SMOKE.tasks.model_copy(update={"train": 6, "test": 1})})
    assert len(trials(tuning, few, "metadiffuser", "point_robot")) == 3


def test_the_file_of_the_project_fits_its_presets() -> None:
    tuning: Tuning = read_settings(ROOT / "workflow" / "tuning.yaml")
    assert set(tuning.settings) == set(methods()), "every method is tuned"
    for preset in ("quick", "laptop", "paper"):
        params = load(ROOT / "presets" / f"{preset}.yaml")
        for family in params.families:
            for method in tuning.settings:
                found = trials(tuning, params, method, family)
                assert len(found) == 4
                assert preset != "laptop" or len({record.text(trial.values) for trial in found}) == 4
                assert found[0].params.section("planning", family) == params.section("planning", family)


def test_the_file_for_walkers_fits_the_laptop_preset() -> None:
    tuning = read_settings(ROOT / "workflow" / "tuning_walker.yaml")
    found = trials(tuning, load(ROOT / "presets" / "laptop.yaml"), "metadiffuser", "walker_param")
    assert len({record.text(trial.values) for trial in found}) == 4
