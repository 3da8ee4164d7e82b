"""The stage ``train_diffusion``: what it gives to the training, and what it keeps of it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.config.loading import load
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import Provenance, write_dataset
from metadiffuser.data.windows import TaskData
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.run import Run
from metadiffuser.stages import train_diffusion as stage
from tests.conftest import ROOT
from tests.evaluation.test_evaluate_stage import episodes, models

FAMILY = get_family("point_robot")
TASKS = draw_tasks(FAMILY, 3, 2, np.random.default_rng(0))
SIGNS = {"expert": 1.0, "medium": -1.0}  # of actions, which tell the qualities apart


def walks(task: Task, quality: str) -> Episodes:
    found = episodes(task)
    return Episodes(found.observations, np.float32(SIGNS[quality]) * found.actions, found.rewards)


@dataclass
class Given:
    """What the training was given, with its next random numbers, and the model that the stage kept."""

    described: TaskData
    model: DiffusionModel
    data: TaskData
    numbers: list[float]
    kept: DiffusionModel


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    return begin(tmp_path, monkeypatch)


def begin(folder: Path, monkeypatch: pytest.MonkeyPatch, seed: str = "0") -> Given:
    """Run the stage with expert contexts and medium data to imitate; its training returns weights of nought."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    params = load(ROOT / "presets" / "smoke.yaml")
    params = params.model_copy(update={"diffusion": params.diffusion.model_copy(update={"qualities": ["medium"]})})
    named = {"family": FAMILY.name, "representation": "generalised", "seed": seed}
    run = Run(dag.make_job(dag.STAGES["train_diffusion"], named, params), folder / "work", "cpu", {}, params)
    write_json(run.path(paths.TASKS), {"family": FAMILY.name, "tasks": [task.to_json() for task in TASKS]})
    for task in TASKS:
        for quality in SIGNS:
            provenance = Provenance({}, 0.0, 1.0)
            write_dataset(run.path(paths.DATASET), FAMILY, task, quality, walks(task, quality), provenance)
    models()[1].save(run.path(paths.CONTEXT), {})
    noted: dict[str, Any] = {}

    def describe(context: object, data: TaskData, generator: torch.Generator) -> torch.Tensor:
        noted["described"] = data
        return torch.zeros(len(data.rewards), 1, 4)

    def train(
        model: DiffusionModel, data: TaskData, latents: object, generator: torch.Generator, *rest: object
    ) -> tuple[DiffusionModel, list[dict[str, float]]]:
        noted.update(model=model, data=data, numbers=torch.rand(4, generator=generator).tolist())
        averaged = copy.deepcopy(model).requires_grad_(False)
        for weights in averaged.parameters():
            weights.zero_()
        return averaged, [{"step": 1.0, "loss": 0.0}]

    monkeypatch.setattr(stage, "task_latents", describe)
    monkeypatch.setattr(stage, "train_diffusion", train)
    stage.run(run)
    return Given(**noted, kept=DiffusionModel.load(run.path(paths.DIFFUSION))[0])


def stacked(quality: str) -> TaskData:
    training = TASKS[:3]
    return TaskData.stack({quality: {task.index: walks(task, quality) for task in training}}, range(3))


def test_the_denoiser_normalises_as_the_context_model_does(given: Given) -> None:
    found, expected = given.model.normaliser.state_dict(), models()[1].normaliser.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_denoiser_imitates_its_own_qualities_and_z_is_of_those_that_contexts_are_of(given: Given) -> None:
    assert torch.equal(given.data.actions, stacked("medium").actions)
    assert torch.equal(given.described.actions, stacked("expert").actions)


def test_the_moving_average_is_what_is_kept(given: Given) -> None:
    assert not any(weights.any() for weights in given.kept.parameters())


def test_another_seed_begins_with_other_weights_and_draws_other_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, again, other = (begin(tmp_path / str(n), monkeypatch, seed) for n, seed in enumerate(("0", "0", "1")))
    first, same, different = ([weights.tolist() for weights in run.model.parameters()] for run in (own, again, other))
    assert first == same != different
    assert own.numbers == again.numbers != other.numbers
