"""The stages from ``train_context`` on, run with every representation at the smoke preset's size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from metadiffuser import dag, paths
from metadiffuser.artifacts import read_json
from metadiffuser.config import Params, Representation
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import Provenance, write_dataset
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.tasks import read_tasks
from metadiffuser.parameters import load
from metadiffuser.run import execute
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


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with tasks and episodes."""
    monkeypatch.chdir(tmp_path)
    stage("define_tasks")
    for task in read_tasks(Path(paths.TASKS.format(**NAMES))):
        for quality in QUALITIES:
            root = Path(paths.DATASET.format(**NAMES))
            write_dataset(root, FAMILY, task, quality, walks(task), Provenance({}, 0.0, 1.0))
    return tmp_path


@pytest.mark.parametrize("representation", get_args(Representation))
def test_every_representation_goes_through_the_stages(representation: str, dataset: Path) -> None:
    for name in ("train_context", "train_diffusion", "evaluate"):
        stage(name, representation=representation, seed="0")
    context: dict[str, Any] = read_json(Path(paths.CONTEXT_METRICS.format(**NAMES, representation=representation)))
    assert context["representation"] == representation
    assert set(context["probe_by_quality"]) == set(QUALITIES)
    assert set(context["rollout_errors"]["test"]) == {"1", "4", "8", "16"}
    if representation == "true_task":
        assert context["probe"]["test_r2"] == pytest.approx(1.0)
    played: dict[str, Any] = read_json(Path(paths.PLANNER_METRICS.format(**NAMES, representation=representation)))
    assert played["representation"] == representation
    assert all(np.isfinite(list(cell["returns"].values())).all() for cell in played["cells"])
