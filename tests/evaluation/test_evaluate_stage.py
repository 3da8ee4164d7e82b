"""The stage ``evaluate`` on tiny models: what it writes, in blocks, and after an interruption."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metadiffuser import paths
from metadiffuser.artifacts import read_json, write_json
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import keep_hypotheses
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.windows import TaskData
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.evaluation import blocks as blocks_module
from metadiffuser.evaluation import planner as evaluation
from metadiffuser.evaluation import setup as setups
from metadiffuser.evaluation.blocks import blocks, play_cells
from metadiffuser.evaluation.cells import Cell, agent_inputs, make_cells, valued_cells
from metadiffuser.evaluation.outcomes import Outcome, load_or_play
from metadiffuser.evaluation.setup import EpisodeSetup
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.run import Run
from metadiffuser.planning.planner import Planner
from metadiffuser.stages import evaluate
from metadiffuser.viewing.rollouts import read_rollouts
from tests.conftest import ROOT
from tests.helpers.models import CONTEXT, DIFFUSION, PLANNING, Z

FAMILY = get_family("point_robot")
TASKS = draw_tasks(FAMILY, 3, 2, np.random.default_rng(0))
CHOSEN = {"return_scale": 7.0, "sampler": "ddim", "sampling_steps": 3}


def parameters() -> Params:
    params = load(ROOT / "presets" / "smoke.yaml")
    return params.model_copy(update={"planning": params.planning.model_copy(update={"zero_shot": "hypotheses"})})


def episodes(task: Task) -> Episodes:
    """Three episodes of random walks, paid by the distance to the goal."""
    generator = np.random.default_rng(task.index)
    actions = generator.uniform(-1, 1, (3, 20, 2)).astype(np.float32)
    places = np.concatenate([np.zeros((3, 1, 2)), 0.1 * actions.cumsum(axis=1)], axis=1).astype(np.float32)
    rewards = -np.linalg.norm(places[:, 1:] - np.array(task.parameters["goal"]), axis=-1)
    return Episodes(places, actions, rewards.astype(np.float32))


def read_family(_: Path, tasks: Sequence[Task], qualities: Sequence[str]) -> dict[str, dict[int, Episodes]]:
    return {quality: {task.index: episodes(task) for task in tasks} for quality in qualities}


def models() -> tuple[DiffusionModel, ContextModel]:
    data = TaskData.stack(read_family(Path(), TASKS, ["expert"]), range(len(TASKS)))
    torch.manual_seed(0)
    context, diffusion = ContextModel(2, 2, CONTEXT), DiffusionModel(2, 2, Z, DIFFUSION)
    context.normaliser.fit(data.observations, data.rewards)
    keep_hypotheses(context, data, torch.Generator().manual_seed(0))
    diffusion.normaliser.load_state_dict(context.normaliser.state_dict())
    diffusion.set_range(data.observations)
    torch.nn.init.normal_(diffusion.network.null)
    return diffusion.eval().requires_grad_(False), context.eval().requires_grad_(False)


def make_setup(count: int = 2, stream: tuple[str, ...] = ("evaluate",)) -> EpisodeSetup:
    tasks = TASKS[:2]
    found = read_family(Path(), tasks, ["expert", "medium", "random"])
    warm_start = {name: TaskData.stack({name: by_task}, [0, 1]) for name, by_task in found.items()}
    return EpisodeSetup(FAMILY, tasks, count, warm_start, 1, 0, stream, ("start",))


def test_blocks_hold_every_cell_once_and_are_about_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = make_cells(parameters().evaluation)
    for rows, size in itertools.product((1, 30, 200), (1, 7, 50, 500)):
        monkeypatch.setattr(blocks_module, "ROWS", rows)
        found = blocks(cells, size)
        assert list(itertools.chain(*found)) == cells
        lengths = {len(block) for block in found}
        assert max(lengths) - min(lengths) <= 1
        assert max(lengths) == 1 or max(lengths) * size <= rows


def test_a_cell_comes_to_the_same_in_whatever_block_it_is_played() -> None:
    planner, setup = Planner(*models(), PLANNING), make_setup()
    cells = [
        Cell("metadiffuser", "dual", "expert"),
        Cell("metadiffuser", "dual", "zero_shot"),
        Cell("metadiffuser", "none", "oracle"),
        Cell("unconditional", "return", "expert"),
    ]
    together = play_cells(planner, cells, setup, "together")
    assert together.returns.shape == (4 * 4,)
    for index, cell in enumerate(cells):
        alone, part = play_cells(planner, [cell], setup, "alone"), together.cell(index, setup.size)
        np.testing.assert_allclose(part.returns, alone.returns, rtol=1e-3)
        np.testing.assert_allclose(part.predicted, alone.predicted, rtol=1e-3)
        np.testing.assert_allclose(part.squares[1], alone.squares[1], rtol=1e-2)
    others = play_cells(planner, cells[:1], make_setup(stream=("elsewhere",)), "other noise")
    assert not np.allclose(others.returns, together.returns[:4], rtol=1e-3)
    pairs = together.returns.reshape(4, 4)
    assert len({tuple(np.round(row, 4)) for row in pairs}) == 4, "two cells are one"


def test_the_oracles_z_is_the_mean_over_many_contexts_of_its_own_task() -> None:
    planner = Planner(*models(), PLANNING)
    cell = Cell("metadiffuser", "dual", "oracle")
    oracle, again = (agent_inputs(planner, cell, make_setup(stream=(name,))).latents for name in ("here", "elsewhere"))
    assert torch.equal(oracle[0], oracle[1]), "episodes of a task"
    one = agent_inputs(planner, replace(cell, context="expert"), make_setup(stream=("here",))).latents
    assert (oracle - again).norm() < 0.5 * (oracle - one).norm(), "a single context is no oracle"
    expert = replace(cell, context="expert")
    drawn = [agent_inputs(planner, expert, make_setup(stream=(str(number),))).latents[::2] for number in range(16)]
    mean = torch.stack(drawn).mean(dim=0)
    assert torch.cdist(oracle[::2], mean).argmin(dim=1).tolist() == [0, 1], "tasks are mixed up"


def test_an_outcome_is_what_was_kept_and_a_damaged_one_is_played_again(tmp_path: Path) -> None:
    outcome = Outcome(
        np.array([1.0, 1 / 3]),
        {5: np.array([0.1, 0.2]), 15: np.array([0.3, 0.4])},
        np.array([1.5, 2.5]),
        np.array([3.5, 4.5]),
        {"made": np.array([0, 0, 2])},
        0.25,
        7,
    )
    played: list[int] = []

    def play() -> Outcome:
        played.append(1)
        return outcome

    path = tmp_path / "block.safetensors"
    for damage, plays in ((False, 1), (False, 1), (True, 2)):
        if damage:
            path.write_bytes(b"damaged")
        found = load_or_play(path, play)
        assert len(played) == plays
        assert found.returns.tolist() == outcome.returns.tolist()
        assert list(found.squares) == [5, 15]
        assert found.squares[15].tolist() == [0.3, 0.4]
        assert found.film["made"].tolist() == [0, 0, 2]
        assert (found.seconds, found.decisions) == (0.25, 7)
    assert outcome.milliseconds_per_decision == pytest.approx(1000 * 0.25 / 7)
    assert outcome.cell(1, 1).predicted.tolist() == [2.5]


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return the stage's job in ``folder``, its models and task list in place."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(setups, "read_family", read_family)
    job = dag.make_job(
        dag.STAGES["evaluate"], {"family": "point_robot", "representation": "generalised", "seed": "0"}, parameters()
    )
    run = Run(job, folder / "work", "cpu", {}, parameters())
    write_json(run.path(paths.TASKS), {"family": "point_robot", "tasks": [task.to_json() for task in TASKS]})
    diffusion, context = models()
    context.save(run.path(paths.CONTEXT), {})
    diffusion.save(run.path(paths.DIFFUSION), {})
    valued = {**CHOSEN, "value_scale": 1.0, "candidates": 2}
    write_json(run.path(paths.CALIBRATION), {"chosen": CHOSEN, "beyond": {"chosen": valued}})
    return run


@pytest.fixture
def plays(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels of the blocks that were played; blocks are of about four cells."""
    labels: list[str] = []

    def counted(
        planner: Planner, cells: Sequence[Cell], setup: EpisodeSetup, label: str, shown: Sequence[int] = ()
    ) -> Any:
        labels.append(label)
        if "cells" in label:
            assert CHOSEN.items() <= planner.config.model_dump().items(), "not the calibrated settings"
        return play_cells(planner, cells, setup, label, shown)

    monkeypatch.setattr(evaluation, "play_cells", counted)
    monkeypatch.setattr(blocks_module, "ROWS", 8)
    return labels


def test_after_an_interruption_the_stage_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plays: list[str]
) -> None:
    assert parameters().section("planning", "point_robot").zero_shot == "hypotheses", "which has a state of its own"
    whole = prepare(tmp_path / "whole", monkeypatch)
    evaluate.run(whole)
    first = [(whole.path(name)).read_bytes() for name in (paths.PLANNER_METRICS, paths.ROLLOUTS)]
    count = len(plays)
    assert count == 7 + len(parameters().evaluation.samplers)

    parted = prepare(tmp_path / "parted", monkeypatch)
    plays.clear()

    def refuse(*_: object) -> Outcome:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "play_random", refuse)
        with pytest.raises(KeyboardInterrupt):
            evaluate.run(parted)
    assert len(plays) == 6
    assert not parted.path(paths.PLANNER_METRICS).exists()
    evaluate.run(parted)
    assert len(plays) == count, "a finished block was played again"
    assert first == [(parted.path(name)).read_bytes() for name in (paths.PLANNER_METRICS, paths.ROLLOUTS)]

    metrics, section = read_json(whole.path(paths.PLANNER_METRICS)), parameters().evaluation
    cells = [Cell(cell["method"], cell["guide"], cell["context"]) for cell in metrics["cells"]]
    assert [cell for cell in cells if cell.method != "with_value"] == make_cells(section)
    assert [cell for cell in cells if cell.method == "with_value"] == valued_cells(section)
    returns = {
        (cell["method"], cell["context"]): cell["returns"] for cell in metrics["cells"] if cell["guide"] == "dual"
    }
    assert returns["with_value", "expert"] != returns["metadiffuser", "expert"], "its settings are not used"
    for cell in metrics["cells"]:
        assert list(cell["returns"]) == ["3", "4"]
        assert (cell["predicted_return"] is None) == (cell["context"] == "none")
        assert (cell["plan_error"] is None) == (cell["method"] == "random")
        for ahead, error in (cell["plan_error"] or {}).items():
            by_task = cell["plan_error_by_task"][ahead]
            assert list(by_task) == ["3", "4"]
            assert error == pytest.approx(np.sqrt(np.mean(np.square(list(by_task.values())))), abs=1e-5)
    (own,) = metrics["training_tasks"]
    assert (own["method"], own["guide"], own["context"]) == ("metadiffuser", "dual", "expert")
    assert set(own["returns"]) == {"0", "1"}
    assert metrics["settings"] == CHOSEN
    assert metrics["qualities"] == ["expert"]
    sizes = [sum(weights.numel() for weights in model.parameters()) for model in models()]
    assert [metrics["parameters"], metrics["context_parameters"]] == sizes, "of the denoiser, and of the context model"
    study = metrics["sampler_study"]
    assert [(entry["sampler"], entry["steps"]) for entry in study] == [(s.sampler, s.steps) for s in section.samplers]
    assert all(set(entry["returns"]) == {"0", "1"} for entry in study), "the study may see training tasks only"
    names = {f"milliseconds_per_decision_{entry['sampler']}_{entry['steps']}" for entry in study}
    assert names <= whole.notes.keys()
    assert all(whole.notes[name] > 0 for name in names)
    kept = [Outcome.load(path) for path in whole.work.glob("cells*.safetensors")]
    seconds, decisions = sum(part.seconds for part in kept), sum(part.decisions for part in kept)
    assert whole.notes["decisions"] == decisions
    assert whole.notes["milliseconds_per_decision"] == pytest.approx(1000 * seconds / decisions, abs=1e-4)

    rollouts = read_rollouts(whole.path(paths.ROLLOUTS))
    assert [(episode.task.index, episode.guide) for episode in rollouts] == [
        (task, guide) for guide in ("dual", "none") for task in (3, 4)
    ]
    for episode, trace in zip(rollouts, metrics["traces"], strict=True):
        assert (trace["task"], trace["guide"]) == (episode.task.index, episode.guide)
        np.testing.assert_allclose(episode.path, trace["executed"], atol=1e-4)
        np.testing.assert_allclose(episode.plans[trace["step"]], trace["planned"], atol=1e-4)
        cell = next(c for c in metrics["cells"] if (c["guide"], c["context"]) == (episode.guide, "expert"))
        assert cell["returns"][str(episode.task.index)][0] == pytest.approx(episode.rewards.sum(), abs=1e-3)
