"""The stages from ``train_context`` on, run with every representation at the smoke preset's size."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from metadiffuser import paths
from metadiffuser.artifacts import read_json
from metadiffuser.config import plugins
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.config.schema import Representation
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import Provenance, write_dataset
from metadiffuser.data.windows import TaskData
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.run import Run, execute
from metadiffuser.stages import train_context
from tests.conftest import ROOT

FAMILY = get_family("point_robot")
NAMES = {"preset": "smoke", "family": FAMILY.name, "seed": 0}
QUALITIES = ("expert", "medium", "random")


def parameters() -> Params:
    smoke = load(ROOT / "presets" / "smoke.yaml").model_dump()
    smoke |= {"families": [FAMILY.name], "representations": list(get_args(Representation))}
    return Params.model_validate(smoke)


def walks(task: Task) -> Episodes:
    """Three episodes of random walks, paid by the distance to the goal."""
    generator = np.random.default_rng(task.index)
    actions = generator.uniform(-1, 1, (3, 20, 2)).astype(np.float32)
    places = np.concatenate([np.zeros((3, 1, 2)), 0.1 * actions.cumsum(axis=1)], axis=1).astype(np.float32)
    rewards = -np.linalg.norm(places[:, 1:] - np.array(task.parameters["goal"]), axis=-1)
    return Episodes(places, actions, rewards.astype(np.float32))


def stage(name: str, **wildcards: str) -> None:
    params = parameters()
    execute(dag.find_job(name, {"family": FAMILY.name, **wildcards}, params), params)


def collect(strange: Callable[[Task], bool] = lambda _: False) -> None:
    """Write the episodes of all tasks in place of what is there; those of ``strange`` tasks are of another world."""
    root = Path(paths.DATASET.format(**NAMES))
    shutil.rmtree(root, ignore_errors=True)
    for task in read_tasks(Path(paths.TASKS.format(**NAMES))):
        episodes = walks(task)
        if strange(task):
            episodes = Episodes(3.0 * episodes.observations + 1.0, -episodes.actions, 5.0 * episodes.rewards)
        for quality in (*QUALITIES, "mixed"):
            write_dataset(root, FAMILY, task, quality, episodes, Provenance({}, 0.0, 1.0))


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with tasks and episodes."""
    monkeypatch.chdir(tmp_path)
    stage("define_tasks")
    collect()
    return tmp_path


@pytest.mark.parametrize("representation", get_args(Representation))
def test_every_representation_goes_through_the_stages(representation: str, dataset: Path) -> None:
    for name in ("train_context", "train_diffusion", "calibrate", "evaluate"):
        stage(name, representation=representation, seed="0")
    context: dict[str, Any] = read_json(Path(paths.CONTEXT_METRICS.format(**NAMES, representation=representation)))
    assert context["representation"] == representation
    assert set(context["probe_by_quality"]) == set(parameters().context.qualities)
    assert context["probe_parameters"]["names"] == ["goal 1", "goal 2"]
    assert set(context["errors_by_latent"]["test"]) == {"right", "wrong", "mean", "fitted"}
    assert set(context["rollout_errors"]["test"]) == {"1", "4", "8", "16"}
    if representation == "true_task":
        points = context["embeddings"]
        goals = np.array([point["parameters"] for point in points if point["split"] == "train"])
        for point in points:
            expected = (np.array(point["parameters"]) - goals.mean(axis=0)) / goals.std(axis=0)
            assert point["z"] == pytest.approx(expected, abs=1e-4)
        assert context["errors_by_latent"]["train"]["wrong"] != context["errors_by_latent"]["train"]["right"]
    played: dict[str, Any] = read_json(Path(paths.PLANNER_METRICS.format(**NAMES, representation=representation)))
    assert played["representation"] == representation
    assert all(np.isfinite(list(cell["returns"].values())).all() for cell in played["cells"])


@pytest.mark.parametrize("representation", get_args(Representation))
def test_another_seed_begins_with_other_weights_and_draws_other_batches(
    representation: str, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[list[Any], list[float]]] = []

    class StoppedError(Exception):
        pass

    def stop(model: ContextModel, data: TaskData, generator: torch.Generator, checkpoint: Path) -> None:
        numbers = torch.rand(4, generator=generator).tolist()
        begun.append(([weights.tolist() for weights in model.parameters()], numbers))
        raise StoppedError

    monkeypatch.setattr(train_context, "train_context", stop)
    params = parameters()
    for seed in ("0", "0", "1"):
        named = {"family": FAMILY.name, "representation": representation, "seed": seed}
        job = dag.make_job(dag.STAGES["train_context"], named, params)
        with pytest.raises(StoppedError):
            train_context.run(Run(job, dataset / "work", "cpu", {}, params))
    for own, again, other in zip(*begun, strict=True):
        assert own == again != other


@pytest.mark.parametrize("representation", get_args(Representation))
@pytest.mark.slow
def test_no_model_learns_anything_of_unseen_tasks(representation: str, dataset: Path) -> None:
    named = {**NAMES, "representation": representation}

    def trained() -> list[bytes]:
        for name in ("train_context", "train_diffusion"):
            stage(name, representation=representation, seed="0")
        files = [paths.CONTEXT.format(**named), paths.DIFFUSION.format(**named)]
        if representation == "generalised":  # which the baselines share
            for method in plugins.names("method"):
                stage("train_baseline", method=method, seed="0")
                files.append(paths.BASELINE.format(**named, method=method))
        return [Path(file).read_bytes() for file in files]

    before = trained()
    collect(lambda task: task.split == "test")
    assert trained() == before
    collect(lambda task: task.index == 0)
    assert not {*trained()} & {*before}, "a training task's data count"
