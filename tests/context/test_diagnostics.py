"""The diagnosis of a representation: errors by z and by steps ahead, probes, embeddings; values, not keys alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metadiffuser.context.diagnostics import diagnose, parameter_names
from metadiffuser.context.errors import errors_by_latent, fit_latents, rollout_errors
from metadiffuser.context.probe import PENALTY, probe
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.normaliser import Normaliser
from metadiffuser.data.windows import TaskData
from metadiffuser.envs import Task
from tests.helpers.models import CONTEXT, A, S, Z, make_context, make_data

SPEEDS = [0.0, 1.0, -1.0, 2.0, -2.0, 0.5]  # of the toy tasks; the last two are unseen


def last(network: nn.Module) -> nn.Linear:
    layer = network[-1]  # type: ignore[index]
    assert isinstance(layer, nn.Linear)
    return layer


def silent(representation: str = "generalised") -> ContextModel:
    """Models that predict zero, in the environment's units."""
    torch.manual_seed(0)
    model = ContextModel(S, A, CONTEXT, (), representation, 1).eval().requires_grad_(False)  # type: ignore[arg-type]
    for part in (model.reward_model, model.dynamics_model):
        for parameter in part.parameters():
            parameter.zero_()
    return model


class Given(nn.Module):
    """Models that say what z's first entry is: the reward is z, and every change of state is z."""

    def __init__(self, size: int | None):
        super().__init__()
        self.size = size

    def forward(self, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        first = latents[..., :1]
        return first[..., 0] if self.size is None else first.expand(*first.shape[:-1], self.size)


def world(rewards: float = 0.0, steps: int = 20) -> tuple[TaskData, Tensor]:
    """Tasks in which every entry of the state grows by the task's speed a step, and the reward is that speed too."""
    by_task = {}
    for task, speed in enumerate(SPEEDS):
        states = np.broadcast_to(speed * np.arange(steps + 1.0)[None, :, None], (2, steps + 1, S)).astype(np.float32)
        paid = np.full((2, steps), speed + rewards, np.float32)
        by_task[task] = Episodes(states, np.zeros((2, steps, A), np.float32), paid, np.array([speed], np.float32))
    data = TaskData.stack({"expert": by_task}, list(range(len(SPEEDS))))
    return data, torch.arange(len(SPEEDS)) < 4


def with_own_parameters() -> ContextModel:
    """A model whose z is the task's parameter, unscaled, and whose predictions are z."""
    model = silent("true_task")
    model.reward_model, model.dynamics_model = Given(None), Given(S)  # type: ignore[assignment]
    return model


def test_errors_by_z_are_those_of_the_z_that_is_named() -> None:
    data, trained = world()
    found = errors_by_latent(with_own_parameters(), data, trained, torch.Generator().manual_seed(0))
    for split, rows in (("train", slice(0, 4)), ("test", slice(4, 6))):
        speeds = np.array(SPEEDS[rows])
        assert found[split]["right"] == pytest.approx({"reward": 0.0, "dynamics": 0.0}, abs=1e-6)
        size = float(np.sqrt(np.square(speeds).mean()))
        assert found[split]["mean"] == pytest.approx({"reward": size, "dynamics": size}, rel=1e-5)
        assert found[split]["fitted"]["dynamics"] < 0.05 * size
        apart = np.abs(speeds[:, None] - np.array(SPEEDS))
        nearest = float(np.sqrt(np.square(np.where(apart > 0, apart, np.inf).min(axis=1)).mean()))
        assert nearest <= found[split]["wrong"]["dynamics"] <= apart.max() + 1e-6, "never a task's own z"


def test_reward_and_dynamics_errors_are_not_mixed_up() -> None:
    data, trained = world(rewards=7.0)
    found = errors_by_latent(with_own_parameters(), data, trained, torch.Generator().manual_seed(0))
    for split in ("train", "test"):
        assert found[split]["right"] == pytest.approx({"reward": 7.0, "dynamics": 0.0}, abs=1e-5)
    diagnosis = diagnosed(with_own_parameters(), rewards=7.0)
    for split in ("train", "test"):
        assert diagnosis["errors"][split] == pytest.approx({"reward": 7.0, "dynamics": 0.0}, abs=1e-5)


def test_wrong_z_is_of_other_parameters_even_where_two_tasks_are_one() -> None:
    data, _ = world()
    twice = TaskData(*(torch.cat([getattr(data, name)[[1, 2]]] * 2) for name in TaskData.__dataclass_fields__))
    found = errors_by_latent(
        with_own_parameters(), twice, torch.tensor([True, True, False, False]), torch.Generator().manual_seed(0)
    )
    for split in ("train", "test"):
        assert found[split]["wrong"]["dynamics"] == pytest.approx(2.0, rel=1e-5), "the other of speeds 1 and -1"


def test_a_fitted_z_is_as_good_as_the_encoders_or_better() -> None:
    data = make_data()
    model = make_context()
    trained = torch.tensor([True, True, False, False])
    found = errors_by_latent(model, data, trained, torch.Generator().manual_seed(0))
    for split in ("train", "test"):
        total = {name: errors["reward"] ** 2 + errors["dynamics"] ** 2 for name, errors in found[split].items()}
        assert total["fitted"] < min(total["right"], total["wrong"], total["mean"])
    assert fit_latents(model, data, torch.Generator().manual_seed(0)).shape == (4, Z)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_rollout_errors_are_zero_for_models_that_are_right_and_grow_for_models_that_are_not() -> None:
    model, generator = silent(), torch.Generator().manual_seed(0)
    velocity = torch.tensor([0.1, -0.2, 0.3])
    last(model.dynamics_model.network).bias.copy_(velocity)
    time = np.arange(13, dtype=np.float32)[None, :, None]
    exact = Episodes(time * velocity.numpy(), np.zeros((1, 12, A), np.float32), np.zeros((1, 12), np.float32))
    errors = rollout_errors(model, TaskData.stack({"expert": {0: exact}}, [0]), generator)
    assert set(errors) == {"1", "4", "8"}, "an episode of 12 steps has no 16th"
    assert all(error["state"] < 1e-5 and error["reward"] == 0.0 for error in errors.values())
    faster = Episodes(2 * exact.observations, exact.actions, exact.rewards + 0.5)
    errors = rollout_errors(model, TaskData.stack({"expert": {0: faster}}, [0]), generator)
    size = float(velocity.square().mean().sqrt())
    for ahead in (1, 4, 8):
        assert errors[str(ahead)] == pytest.approx({"reward": 0.5, "state": ahead * size}, rel=1e-4)


def diagnosed(model: ContextModel, rewards: float = 0.0) -> dict[str, Any]:
    """The diagnosis of a model in the toy world, with contexts of two qualities."""
    tasks = [Task(index, "train" if index < 4 else "test", {"speed": (speed,)}) for index, speed in enumerate(SPEEDS)]
    data, _ = world(rewards)
    episodes = {
        task.index: Episodes(
            data.observations[row].numpy(),
            data.actions[row].numpy(),
            data.rewards[row].numpy(),
            data.parameters[row].numpy(),
        )
        for row, task in enumerate(tasks)
    }
    by_quality = {"expert": episodes, "random": episodes}
    return diagnose(model, by_quality, tasks, torch.Generator().manual_seed(0), np.random.default_rng(0))


def test_a_diagnosis_says_what_is_so_in_a_world_that_is_known() -> None:
    model = with_own_parameters()
    found = diagnosed(model)
    names = {"train_r2", "test_r2"}
    speeds = np.array(SPEEDS)
    squares = np.zeros((2, 6))  # of residuals and of deviations, with each of the six tasks left out
    for task in range(6):
        kept = np.arange(6) != task
        mean, centred = speeds[kept].mean(), speeds[kept] - speeds[kept].mean()
        slope = centred @ centred / (centred @ centred + PENALTY * speeds.var())  # z is the parameter
        squares[:, task] = np.square([(1 - slope) * (speeds[task] - mean), speeds[task] - mean])
    parts = {"train_r2": squares[:, :4].sum(axis=1), "test_r2": squares[:, 4:].sum(axis=1)}
    by_hand = {name: left / spread for name, (left, spread) in parts.items()}
    by_hand = {name: 1 - share for name, share in by_hand.items()}
    assert set(found["probe_by_quality"]) == {"expert", "random"}
    for probed in (found["probe"], *found["probe_by_quality"].values()):
        assert set(probed) == names
        assert probed == pytest.approx(by_hand, rel=1e-6)
    assert found["probe_parameters"]["names"] == ["speed"]
    assert found["errors"]["test"] == found["errors_by_latent"]["test"]["right"]
    assert found["errors_by_latent"]["train"]["mean"]["reward"] == pytest.approx(np.sqrt(6 / 4), rel=1e-5)
    assert found["rollout_errors"]["test"]["16"] == pytest.approx({"reward": 0.0, "state": 0.0}, abs=1e-4)
    assert found["value"]["train"] < 0.5, "an untrained V explains nothing"
    points = found["embeddings"]
    assert [(point["task"], point["quality"]) for point in points] == [
        (task, quality) for quality in ("expert", "random") for task in range(6)
    ]
    assert [point["split"] for point in points] == (["train"] * 4 + ["test"] * 2) * 2
    for point in points:
        assert point["z"] == point["parameters"] == [SPEEDS[point["task"]]]
        assert abs(point["xy"][0]) == pytest.approx(abs(SPEEDS[point["task"]] - 0.5)), "0.5 is the training mean"


def test_the_probe_can_be_computed_again_from_the_embeddings_that_are_stored() -> None:
    torch.manual_seed(0)
    found = diagnosed(ContextModel(S, A, CONTEXT).eval().requires_grad_(False))
    points = found["embeddings"]
    latents = np.array([point["z"] for point in points]).reshape(2, 6, Z).mean(axis=0)
    parameters = np.array([point["parameters"] for point in points[:6]])
    again = probe(latents, parameters, np.random.default_rng(0))
    assert again.to_json().items() <= found["probe_parameters"].items()
    assert found["probe_identifiable"]["parameters"] == again.identified.sum()


def test_values_are_judged_by_the_variance_they_explain() -> None:
    model = with_own_parameters()
    model.normaliser.load_state_dict(Normaliser(S).state_dict())

    class Exact(nn.Module):
        def forward(self, states: Tensor, latents: Tensor) -> Tensor:
            return latents[..., 0]

    model.value_model = Exact()  # type: ignore[assignment]
    model.config = CONTEXT.model_copy(update={"value_discount": 0.0})  # the return to go is the reward, which is z
    assert diagnosed(model)["value"] == pytest.approx({"train": 1.0, "test": 1.0})
    model.value_std.fill_(0.5)  # and so V is half of z
    parts = {"train": np.array(SPEEDS[:4]), "test": np.array(SPEEDS[4:])}
    halves = {name: 1 - np.square(speeds / 2).mean() / speeds.var() for name, speeds in parts.items()}
    assert diagnosed(model)["value"] == pytest.approx(halves), "in units of reward, whatever V is trained in"


def test_the_probe_of_what_z_carries_is_of_those_parameters_and_no_others() -> None:
    found = diagnosed(with_own_parameters())
    assert found["probe_identifiable"] == {"parameters": 1, **found["probe"]}, "the only parameter, which is z"


def test_parameters_are_named_in_the_order_of_their_vector() -> None:
    task = Task(0, "train", {"mass": (1.0, 2.0), "friction": (3.0,)})
    assert task.vector.tolist() == [3.0, 1.0, 2.0]
    assert parameter_names(task) == ["friction", "mass 1", "mass 2"]
