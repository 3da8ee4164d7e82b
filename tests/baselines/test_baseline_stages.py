"""The stages of the baselines: from tasks, datasets and a context model to metrics that tables can read."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from metadiffuser import paths
from metadiffuser.artifacts import read_json
from metadiffuser.baselines import get_method
from metadiffuser.baselines.shared.interface import BaselineModel
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import Provenance, write_dataset
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.run import execute
from tests.conftest import ROOT

PARAMS = load(ROOT / "presets" / "smoke.yaml").model_copy(update={"families": ["point_robot"]})
FAMILY = get_family("point_robot")
JOB = {"family": "point_robot", "method": "bc", "seed": "0"}
PLACE = {"preset": "smoke", **JOB, "representation": "generalised"}


def random_walks(generator: np.random.Generator, goal: np.ndarray, count: int = 3) -> Episodes:
    """Episodes of uniform actions in Point-Robot."""
    actions = generator.uniform(-1, 1, (count, FAMILY.episode_length, 2)).astype(np.float32)
    moves = np.concatenate([np.zeros((count, 1, 2), np.float32), 0.1 * actions], axis=1)
    states = moves.cumsum(axis=1, dtype=np.float32)
    rewards = -np.linalg.norm(states[:, 1:] - goal, axis=-1).astype(np.float32)
    return Episodes(states, actions, rewards)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with tasks, random datasets of every quality and an untrained context model."""
    monkeypatch.chdir(tmp_path)
    execute(dag.find_job("define_tasks", {"family": "point_robot"}, PARAMS), PARAMS)
    generator = np.random.default_rng(0)
    root = Path(paths.DATASET.format(**PLACE))
    for task in read_tasks(Path(paths.TASKS.format(**PLACE))):
        for quality in PARAMS.dataset.qualities:
            episodes = random_walks(generator, np.array(task.parameters["goal"], np.float32))
            write_dataset(root, FAMILY, task, quality, episodes, Provenance({"algorithm": "uniform"}, -1.0, 0.0))
    torch.manual_seed(0)
    context = ContextModel(FAMILY.observation_size, FAMILY.action_size, PARAMS.context)
    context.save(Path(paths.CONTEXT.format(**PLACE)), {"family": "point_robot"})
    return tmp_path


def run_both(params: Params = PARAMS) -> bytes:
    for stage in ("train_baseline", "calibrate_baseline", "evaluate_baseline"):
        execute(dag.find_job(stage, JOB, params), params)
    return Path(paths.BASELINE_METRICS.format(**PLACE)).read_bytes()


def test_a_baseline_goes_from_data_to_metrics_and_gives_the_same_bytes_again(project: Path) -> None:
    first = run_both()
    record = read_json(Path(paths.BASELINE_METRICS.format(**PLACE)))
    model = Path(paths.BASELINE.format(**PLACE)).read_bytes()
    assert (record["family"], record["representation"], record["seed"]) == ("point_robot", "generalised", 0)
    given = [name for name in PARAMS.evaluation.contexts if name != "oracle"]
    assert [cell["context"] for cell in record["cells"]] == given
    unseen = [str(task.index) for task in read_tasks(Path(paths.TASKS.format(**PLACE))) if task.split == "test"]
    for cell in record["cells"]:
        assert (cell["method"], cell["guide"], cell["plan_error"]) == ("bc", "none", None)
        assert list(cell["returns"]) == unseen
        assert all(len(returns) == PARAMS.evaluation.episodes for returns in cell["returns"].values())
        assert all(-60 < value < 0 for returns in cell["returns"].values() for value in returns)
    assert len({str(cell["returns"]) for cell in record["cells"]}) > 1, "the warm start changes what is done"
    (trained,) = record["training_tasks"]
    assert (trained["method"], trained["guide"], trained["context"]) == ("bc", "none", "expert")
    assert list(trained["returns"]) == [str(index) for index in range(PARAMS.evaluation.study_tasks)]
    assert all(len(returns) == PARAMS.evaluation.study_episodes for returns in trained["returns"].values())
    hidden = 2 + PARAMS.context.latent_size
    assert record["parameters"] == (hidden + 1) * 32 + 33 * 32 + 33 * 4
    assert record["qualities"] == PARAMS.section("baseline.bc", "point_robot").qualities
    context, _ = ContextModel.load(Path(paths.CONTEXT.format(**PLACE)))
    assert record["context_parameters"] == sum(weights.numel() for weights in context.parameters()), "bc acts on its z"
    timing = read_json(Path("results/smoke/timings/evaluate_baseline-point_robot-bc-0.json"))
    assert timing["decisions"] == FAMILY.episode_length * len(unseen) * len(given)
    assert run_both() == first
    assert Path(paths.BASELINE.format(**PLACE)).read_bytes() == model


def test_the_method_learns_what_its_own_section_says(project: Path) -> None:
    first = run_both()
    tree = PARAMS.model_dump()
    tree["overrides"]["point_robot"]["baseline"]["bc"] = {"hidden": [8]}
    run_both(Params.model_validate(tree))
    record = read_json(Path(paths.BASELINE_METRICS.format(**PLACE)))
    assert record["parameters"] == (2 + PARAMS.context.latent_size + 1) * 8 + 9 * 4
    assert Path(paths.BASELINE_METRICS.format(**PLACE)).read_bytes() != first


def trained(params: Params = PARAMS, seed: str = "0") -> BaselineModel:
    execute(dag.find_job("train_baseline", {**JOB, "seed": seed}, params), params)
    return get_method("bc").Model.load(Path(paths.BASELINE.format(**{**PLACE, "seed": seed})))[0]


def test_a_baseline_normalises_as_the_shared_encoder_does(project: Path) -> None:
    path = Path(paths.CONTEXT.format(**PLACE))
    context, _ = ContextModel.load(path)
    draws = torch.Generator().manual_seed(0)
    context.normaliser.fit(5 + torch.randn(3, 9, 2, generator=draws), -7 * torch.rand(3, 8, generator=draws))
    context.save(path, {"family": "point_robot"})
    found, expected = trained().normaliser.state_dict(), context.normaliser.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_another_seed_begins_with_other_weights(project: Path) -> None:
    params = PARAMS.model_copy(update={"seeds": [0, 1]})
    first, second = (Path(paths.CONTEXT.format(**{**PLACE, "seed": seed})) for seed in (0, 1))
    second.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(first, second)  # so that the seed alone makes the difference
    one, other = (list(trained(params, seed).parameters()) for seed in ("0", "1"))
    assert not any(torch.equal(mine, yours) for mine, yours in zip(one, other, strict=True))


def test_the_moving_average_is_what_is_kept(project: Path) -> None:
    """With a decay of one the average stays as the weights began, however long the training."""
    kept = []
    for steps in (1, 9):
        tree = PARAMS.model_dump()
        tree["overrides"]["point_robot"]["baseline"]["bc"] = {"ema_decay": 1.0, "steps": steps}
        kept.append(list(trained(Params.model_validate(tree)).parameters()))
    assert all(torch.equal(few, many) for few, many in zip(*kept, strict=True))
