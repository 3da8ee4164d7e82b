"""The stages ``calibrate`` and ``calibrate_baseline`` on tiny models, with datasets of the training tasks alone."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metadiffuser import paths
from metadiffuser.artifacts import read_json, write_json
from metadiffuser.baselines import get_method
from metadiffuser.baselines.shared.interface import settings_of, with_settings
from metadiffuser.calibration import planner as planning
from metadiffuser.calibration.choice import BEYOND, read_beyond, read_chosen
from metadiffuser.calibration.judge import Judge, read_judge, spread
from metadiffuser.calibration.planner import KEYS, VALUED
from metadiffuser.config import plugins
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params, method_parameters
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.minari_store import Provenance, write_dataset
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.shared.tasks import draw_tasks, split
from metadiffuser.errors import InputError
from metadiffuser.evaluation import rollout
from metadiffuser.evaluation.blocks import play_cells
from metadiffuser.evaluation.cells import Cell
from metadiffuser.evaluation.outcomes import Outcome
from metadiffuser.evaluation.statistics import normalised_score
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.run import Run
from metadiffuser.planning.planner import Planner
from metadiffuser.stages import calibrate, calibrate_baseline, evaluate_baseline, train_baseline
from tests.conftest import ROOT
from tests.evaluation.test_evaluate_stage import episodes, models

FAMILY = get_family("point_robot")
TASKS = draw_tasks(FAMILY, 5, 2, np.random.default_rng(0))
ANCHORS = (-30.0, -5.0)
GRIDS = [name for name in plugins.names("method") if get_method(name).METHOD.calibrated]


def parameters(**calibration: Any) -> Params:
    params = load(ROOT / "presets" / "smoke.yaml")
    return params.model_copy(update={"calibration": params.calibration.model_copy(update=calibration)})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Task list and models; of the unseen tasks there is no dataset that could be read."""
    monkeypatch.chdir(tmp_path)
    place = {"preset": "smoke", "family": "point_robot", "representation": "generalised", "seed": "0"}
    tasks = {"family": "point_robot", "tasks": [task.to_json() for task in TASKS]}
    write_json(Path(paths.TASKS.format(**place)), tasks)
    for task in split(TASKS, "train"):
        for quality in ("expert", "medium", "random", "mixed"):
            root, provenance = Path(paths.DATASET.format(**place)), Provenance({"algorithm": "walk"}, *ANCHORS)
            write_dataset(root, FAMILY, task, quality, episodes(task), provenance)
    diffusion, context = models()
    context.save(Path(paths.CONTEXT.format(**place)), {})
    diffusion.save(Path(paths.DIFFUSION.format(**place)), {})
    return tmp_path


def job(stage: str, params: Params, work: str = "work", method: str = "") -> Run:
    named = {"method": method} if method else {"representation": "generalised"}
    made = dag.make_job(dag.STAGES[stage], {"family": "point_robot", **named, "seed": "0"}, params)
    return Run(made, Path(work), "cpu", {}, params)


def calibrated(params: Params, work: str = "work") -> dict[str, Any]:
    run = job("calibrate", params, work)
    calibrate.run(run)
    return dict(read_json(run.path(paths.CALIBRATION)))


def judge_of(params: Params, context: ContextModel) -> Judge:
    dataset = Path("artifacts/smoke/datasets/point_robot")
    return read_judge(FAMILY, TASKS, dataset, context, params.calibration, 0, "generalised", "0")


@pytest.mark.parametrize("simulator", [True, False])
def test_no_unseen_task_is_read_and_every_setting_has_its_score(project: Path, simulator: bool) -> None:
    record = calibrated(parameters(tasks=3, settings=9, simulator=simulator))
    assert (record["family"], record["representation"], record["seed"]) == ("point_robot", "generalised", 0)
    assert record["judged_by"] == ("simulator" if simulator else "models")
    assert record["tasks"] == [0, 2, 4]
    assert len(record["settings"]) == 9
    own = parameters().section("planning", "point_robot")
    assert record["settings"][0]["values"] == {key: getattr(own, key) for key in KEYS}
    for setting in record["settings"]:
        assert set(setting["scores"]) == {"0", "2", "4"}
        assert setting["score"] == pytest.approx(np.mean(list(setting["scores"].values())), abs=1e-4)
    assert record["chosen"] in [setting["values"] for setting in record["settings"]]
    assert len({setting["score"] for setting in record["settings"]}) > 3, "settings make no difference"


def test_tasks_are_spread_over_the_training_tasks() -> None:
    assert [task.index for task in spread(split(TASKS, "train"), 2)] == [0, 4]
    assert [task.index for task in spread(split(TASKS, "train"), 9)] == [0, 1, 2, 3, 4]


def test_score_and_error_are_what_the_evaluation_measures_of_the_setting(project: Path) -> None:
    params = parameters(tasks=2, episodes=2, settings=9, contexts=["expert", "zero_shot"])
    record, (diffusion, context) = calibrated(params), models()
    setup = judge_of(params, context).setup
    for setting in (record["settings"][0], record["settings"][4], record["settings"][-1]):
        section = params.section("planning", "point_robot").model_copy(update=setting["values"])
        planner = Planner(diffusion, context, section)
        played = [
            play_cells(planner, [Cell("metadiffuser", "dual", name)], setup, "alone")
            for name in params.calibration.contexts
        ]
        returns, squares = ([each.returns for each in played], [each.squares[1] for each in played])
        expected = normalised_score(np.reshape(returns, (2, 2, 2)).mean(axis=(0, 2)), *ANCHORS)
        assert list(setting["scores"].values()) == pytest.approx(expected, rel=1e-3, abs=1e-2)
        error = np.sqrt(np.reshape(squares, (2, 2, 2)).mean(axis=(0, 2))).mean()
        assert setting["error"] == pytest.approx(error, rel=1e-3)


def test_scales_of_the_guide_are_one_batch_and_an_interrupted_stage_ends_in_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = parameters(tasks=2, settings=14)
    batches: list[int] = []
    ordinary, stop = planning._play, [99]

    def counted(planners: Sequence[Planner], contexts: Sequence[str], judge: Judge) -> Outcome:
        if len(batches) == stop[0]:
            raise KeyboardInterrupt
        batches.append(len(planners))
        return ordinary(planners, contexts, judge)

    monkeypatch.setattr(planning, "_play", counted)
    calibrated(params)
    path = job("calibrate", params).path(paths.CALIBRATION)
    whole, made = path.read_bytes(), list(batches)
    assert made[0] == 6, "alpha: its own value and five others"
    assert 3 <= made[1] <= 4, "lambda"
    assert set(made[2:-2]) == {1}, "omega has no rows of its own"
    assert made[-2] == 6, "the planner with a value has scales of its own"
    assert 3 <= made[-1] <= 4
    path.unlink()
    batches.clear()
    stop[0] = len(made) - 1
    with pytest.raises(KeyboardInterrupt):
        calibrated(params, "parted")
    assert not path.exists()
    stop[0] = 99
    calibrated(params, "parted")
    assert batches == made, "a finished batch was played again"
    assert path.read_bytes() == whole


def test_the_planner_with_a_value_is_calibrated_from_where_the_papers_planner_ended(project: Path) -> None:
    record = calibrated(parameters(tasks=2, settings=14))
    beyond = record[BEYOND]
    kept = {key: record["chosen"][key] for key in ("guidance_weight", "sampler", "sampling_steps")}
    for setting in beyond["settings"]:
        assert {key: setting["values"][key] for key in VALUED} == VALUED
        assert {key: setting["values"][key] for key in kept} == kept
    assert beyond["settings"][0]["values"] == {**record["chosen"], **VALUED}
    assert beyond["chosen"] in [setting["values"] for setting in beyond["settings"]]
    assert {setting["score"] for setting in beyond["settings"]} != {setting["score"] for setting in record["settings"]}
    path = job("calibrate", parameters()).path(paths.CALIBRATION)
    assert read_beyond(path) == beyond["chosen"]
    assert read_chosen(path) == record["chosen"]
    assert BEYOND not in calibrated(parameters(tasks=2, settings=2, beyond=False), "without")
    assert read_beyond(path) is None


def test_without_access_to_the_simulator_none_is_made(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the simulator was used")

    monkeypatch.setattr(rollout.BatchedEnvs, "__init__", refuse)
    with pytest.raises(AssertionError):
        calibrated(parameters(simulator=True))
    assert calibrated(parameters(simulator=False), "other")["judged_by"] == "models"
    train_baseline.run(job("train_baseline", parameters(), "trained", "macaw"))
    run = job("calibrate_baseline", parameters(simulator=False), "third", "macaw")
    calibrate_baseline.run(run)
    assert read_json(run.path(paths.BASELINE_CALIBRATION))["judged_by"] == "models"


def test_where_no_task_has_a_score_the_own_setting_stands(project: Path) -> None:
    for path in Path("artifacts/smoke/datasets").rglob("metadata.json"):
        write_json(path, read_json(path) | {"ref_max_score": -99.0})
    record = calibrated(parameters())
    assert record["chosen"] == record["settings"][0]["values"]
    assert {setting["score"] for setting in record["settings"]} == {None}


@pytest.mark.parametrize("name", GRIDS)
def test_a_methods_grid_is_tried_and_its_choice_is_what_is_evaluated(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    method, params = get_method(name), parameters(settings=99)
    train_baseline.run(job("train_baseline", params, "trained", name))
    run = job("calibrate_baseline", params, "calibrated", name)
    calibrate_baseline.run(run)
    path = run.path(paths.BASELINE_CALIBRATION)
    first, record = path.read_bytes(), read_json(path)
    assert (record["method"], record["method_title"]) == (name, method.METHOD.title)
    for key, values in method.METHOD.calibrated.items():
        assert set(values) <= {setting["values"][key] for setting in record["settings"]}
    assert len({setting["score"] for setting in record["settings"]}) > 1, "settings make no difference"
    path.unlink()
    calibrate_baseline.run(run)
    assert path.read_bytes() == first

    seen: list[dict[str, Any]] = []
    module = importlib.import_module(method.Model.__module__)
    ordinary = module.adapt

    def watched(model: Any, *rest: Any) -> Any:
        seen.append(settings_of(model, method.METHOD.calibrated))
        return ordinary(model, *rest)

    monkeypatch.setattr(module, "adapt", watched)
    monkeypatch.setattr(evaluate_baseline, "episode_setups", lambda *_: (judge_of(params, models()[1]).setup,) * 2)
    other = record["settings"][-1]["values"]
    write_json(path, record | {"chosen": other})
    evaluation = params.evaluation.model_copy(update={"contexts": ["expert"]})
    run = job("evaluate_baseline", params.model_copy(update={"evaluation": evaluation}), "evaluated", name)
    evaluate_baseline.run(run)
    assert seen == [other, other]
    assert read_json(run.path(paths.BASELINE_METRICS))["settings"] == other


def test_a_method_without_a_grid_is_played_by_its_own_setting(project: Path) -> None:
    train_baseline.run(job("train_baseline", parameters(), "trained", "focal"))
    run = job("calibrate_baseline", parameters(), "calibrated", "focal")
    calibrate_baseline.run(run)
    record = read_json(run.path(paths.BASELINE_CALIBRATION))
    assert record["chosen"] == {}
    assert [setting["values"] for setting in record["settings"]] == [{}]
    assert isinstance(record["settings"][0]["score"], float)


def test_a_grid_of_a_key_that_the_section_lacks_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = get_method("bc")
    train_baseline.run(job("train_baseline", parameters(), "trained", "bc"))
    monkeypatch.setattr(method, "METHOD", replace(method.METHOD, calibrated={"sharpness": (1, 2)}))
    with pytest.raises(InputError, match=r"method 'bc': MethodInfo\.calibrated names 'sharpness'"):
        calibrate_baseline.run(job("calibrate_baseline", parameters(), "calibrated", "bc"))


@pytest.mark.parametrize("name", plugins.names("method"))
def test_every_value_of_a_grid_is_one_that_the_section_can_have(name: str) -> None:
    section, grid = method_parameters(name), get_method(name).METHOD.calibrated
    for key, values in grid.items():
        assert section.model_fields[key].default in values, "the default is what the others are compared with"
        for value in values:
            assert getattr(section.model_validate({key: value}), key) == value


def test_other_settings_leave_the_model_as_it_is(project: Path) -> None:
    train_baseline.run(job("train_baseline", parameters(), "trained", "macaw"))
    model, _ = get_method("macaw").Model.load(job("train_baseline", parameters(), "x", "macaw").path(paths.BASELINE))
    changed = with_settings(model, {"adaptation_steps": 4})
    assert (model.config.adaptation_steps, changed.config.adaptation_steps) == (1, 4)
    assert torch.equal(next(model.parameters()), next(changed.parameters()))
    with pytest.raises(InputError, match=r"method 'macaw'.*adaptation_steps"):
        with_settings(model, {"adaptation_steps": 0})


def test_tasks_of_the_judge_are_all_of_the_training_split(project: Path) -> None:
    setup = judge_of(parameters(tasks=99), models()[1]).setup
    assert [task.split for task in setup.tasks] == ["train"] * 5
    assert not {task.index for task in setup.tasks} & {task.index for task in TASKS if task.split == "test"}
    assert isinstance(setup.tasks[0], Task)
