"""Task representations: FOCAL, CORRO, true parameters, a variational z."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from metadiffuser.config.schema import Representation
from metadiffuser.context.corro import Relabeller, info_nce, other_tasks
from metadiffuser.context.focal import EPSILON, distance_metric_loss
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import divergence, encode_tasks, train_context
from metadiffuser.data.normaliser import Normaliser
from metadiffuser.data.windows import TaskData, draw_contexts
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.diffusion.training import train_diffusion
from metadiffuser.errors import InputError
from metadiffuser.evaluation.warm_start import draw_warm_start
from metadiffuser.planning.agent import AgentInputs, PlanningAgent
from metadiffuser.planning.planner import Planner
from tests.helpers.models import (
    CONTEXT,
    DIFFUSION,
    PLANNING,
    A,
    S,
    Z,
    make_data,
    make_diffusion,
    make_inputs,
    make_warm_start,
)


def model_of(representation: Representation, **changes: object) -> ContextModel:
    torch.manual_seed(0)
    return ContextModel(S, A, CONTEXT.model_copy(update=changes), (), representation, 1)


def trained(
    representation: Representation, work: Path, data: TaskData | None = None, **changes: object
) -> ContextModel:
    model = model_of(representation, **changes)
    train_context(model, data or make_data(), torch.Generator().manual_seed(0), work / "c.safetensors")
    return model.eval()


def spread(latents: torch.Tensor) -> tuple[float, float]:
    """The mean deviation of z (N, M, Z) within tasks, and that of the tasks' means."""
    return float(latents.std(dim=1).mean()), float(latents.mean(dim=1).std(dim=0).mean())


def test_focal_loss_is_squared_distance_within_and_inverse_power_between_tasks() -> None:
    latents = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    loss = distance_metric_loss(latents, torch.tensor([7, 7, 2]))
    pull = 25.0
    push = (1 / (1.0 + EPSILON) + 1 / (20.0 + EPSILON)) / 2
    assert float(loss) == pytest.approx(pull + push, rel=1e-6)


def test_info_nce_is_the_share_of_the_positive() -> None:
    queries, positives = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    negatives = torch.tensor([[[2.0, 0.0], [0.0, 4.0]]])
    similarities = [math.exp(-1.0), math.exp(-2.0), math.exp(-8.0)]  # minus the mean of squared differences
    expected = -math.log(similarities[0] / sum(similarities))
    assert float(info_nce(queries, positives, negatives)) == pytest.approx(expected, rel=1e-6)


def test_relabelled_contexts_keep_states_and_actions_and_differ_by_task() -> None:
    torch.manual_seed(0)
    relabeller = Relabeller(S, A, 4, [8], 3)
    rows = torch.randn(2, 5, 2 * S + A + 1)
    relabelled = relabeller.relabel(rows[:, None].expand(-1, 3, -1, -1), torch.arange(3).expand(2, -1), Normaliser(S))
    assert relabelled.shape == (2, 3, 5, 2 * S + A + 1)
    assert torch.equal(relabelled[..., : S + A], rows[:, None, :, : S + A].expand(-1, 3, -1, -1))
    assert not torch.allclose(relabelled[:, 0, :, S + A :], relabelled[:, 1, :, S + A :])


def test_negatives_never_come_from_the_own_task() -> None:
    tasks = torch.arange(3).repeat(50)
    drawn = other_tasks(tasks, 8, 3, torch.Generator().manual_seed(0))
    assert not bool((drawn == tasks[:, None]).any())
    assert set(drawn.unique().tolist()) == {0, 1, 2}


@pytest.mark.parametrize("representation", ["focal", "corro"])
def test_contrastive_encoders_tell_tasks_apart_and_stay_as_they_are_while_models_learn(
    representation: Representation, tmp_path: Path
) -> None:
    model = model_of(representation, steps=150, learning_rate=3e-3)
    records = train_context(model, make_data(), torch.Generator().manual_seed(0), tmp_path / "c.safetensors")
    assert records[-1]["encoder_loss"] < 0.8 * records[0]["encoder_loss"]
    assert records[-1]["loss"] < records[0]["loss"]
    assert ("relabeller_loss" in records[0]) == (representation == "corro")
    latents = encode_tasks(model, make_data(seed=1), 16, torch.Generator().manual_seed(1))
    within, between = spread(latents)
    assert between > 2 * within
    assert model.encoder is not None
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())


@pytest.mark.parametrize("representation", ["focal", "corro"])
def test_one_task_cannot_be_told_apart(representation: Representation, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{representation} tells tasks apart"):
        trained(representation, tmp_path, make_data(tasks=1))


def test_true_task_is_the_standardised_parameters_and_ignores_the_context(tmp_path: Path) -> None:
    data = make_data()
    model = trained("true_task", tmp_path, data)
    contexts, mask = draw_contexts(data, torch.arange(4), 6, torch.Generator().manual_seed(1))
    latents = model.encode(contexts, mask, data.parameters)
    expected = (data.parameters - 1.5) / np.sqrt(1.25)  # tasks 0, 1, 2, 3
    assert torch.allclose(latents, expected, atol=1e-5)
    assert torch.equal(latents, model.encode(torch.randn_like(contexts), ~mask, data.parameters))
    with pytest.raises(ValueError, match="parameters"):
        model.encode(contexts, mask)
    with pytest.raises(InputError, match="needs tasks with parameters"):
        ContextModel(S, A, CONTEXT, (), "true_task", 0)


@pytest.mark.parametrize("representation", ["generalised", "focal", "corro"])
def test_learned_representations_do_not_see_the_parameters(representation: Representation) -> None:
    model, data = model_of(representation), make_data()
    contexts, mask = draw_contexts(data, torch.arange(4), 6, torch.Generator().manual_seed(1))
    assert torch.equal(model.encode(contexts, mask, data.parameters), model.encode(contexts, mask))


@pytest.mark.parametrize("representation", get_args(Representation))
def test_every_representation_trains_repeats_survives_a_kill_and_feeds_the_denoiser(
    representation: Representation, tmp_path: Path
) -> None:
    data = make_data()
    model = trained(representation, tmp_path / "a", data)
    again = trained(representation, tmp_path / "b", data)
    model.save(tmp_path / "context.safetensors", {})
    loaded, _ = ContextModel.load(tmp_path / "context.safetensors")
    latents = encode_tasks(model, data, 3, torch.Generator().manual_seed(1))
    for other in (again, loaded):
        assert torch.equal(latents, encode_tasks(other, data, 3, torch.Generator().manual_seed(1)))
    assert latents.shape == (4, 3, model.latent_size)
    torch.manual_seed(0)
    denoiser = DiffusionModel(S, A, loaded.latent_size, DIFFUSION.model_copy(update={"steps": 2}))
    denoiser.normaliser.load_state_dict(loaded.normaliser.state_dict())
    _, records = train_diffusion(denoiser, data, latents, torch.Generator().manual_seed(0), tmp_path / "d.safetensors")
    assert np.isfinite(records[-1]["loss"])


@pytest.mark.parametrize("representation", ["focal", "corro"])
def test_a_killed_run_goes_on_with_the_part_it_was_in(representation: Representation, tmp_path: Path) -> None:
    whole = trained(representation, tmp_path / "whole")
    data, killed = make_data(), model_of(representation)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    killed.reward_model.register_forward_pre_hook(die)
    with pytest.raises(KeyboardInterrupt):
        train_context(killed, data, torch.Generator().manual_seed(0), tmp_path / "c.safetensors")
    assert (tmp_path / "c-encoder.safetensors").is_file()
    resumed = trained(representation, tmp_path)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


def test_divergence_from_the_standard_normal() -> None:
    assert float(divergence(torch.zeros(3, 2), torch.zeros(3, 2))) == 0.0
    mean, variance = torch.tensor([[2.0]]), torch.tensor([[0.25]])
    assert float(divergence(mean, variance.log())) == pytest.approx(0.5 * (4 + 0.25 - math.log(0.25) - 1))


def test_a_variational_z_is_its_mean_when_it_is_used_and_drawn_in_training(tmp_path: Path) -> None:
    strong = trained("generalised", tmp_path / "a", latent="variational", kl_weight=100.0, steps=100)
    weak = trained("generalised", tmp_path / "b", latent="variational", kl_weight=0.0, steps=100)
    contexts, mask = draw_contexts(make_data(), torch.arange(4), 6, torch.Generator().manual_seed(1))
    mean, log_variance = strong.posterior(contexts, mask)
    assert torch.equal(strong.encode(contexts, mask), (mean - strong.latent_mean) / strong.latent_std)
    assert mean.shape == log_variance.shape == (4, CONTEXT.latent_size)
    free = divergence(*weak.posterior(contexts, mask))
    assert divergence(mean, log_variance).item() < 0.1 * free.item()


def test_latent_noise_changes_training_and_not_encoding(tmp_path: Path) -> None:
    noisy = trained("generalised", tmp_path / "a", latent_noise=0.5)
    quiet = trained("generalised", tmp_path / "b")
    contexts, mask = draw_contexts(make_data(), torch.arange(4), 6, torch.Generator().manual_seed(1))
    assert not torch.allclose(noisy.encode(contexts, mask), quiet.encode(contexts, mask))
    assert torch.equal(noisy.encode(contexts, mask), noisy.encode(contexts, mask))


def test_the_agent_is_given_the_true_task_where_it_may_know_it() -> None:
    context = ContextModel(S, A, CONTEXT, (), "true_task", Z).eval().requires_grad_(False)
    parameters = torch.randn(2, Z, generator=torch.Generator().manual_seed(0))
    warm, zero_shot = (
        make_inputs(context, make_warm_start(1, not online, parameters[row : row + 1]), online)
        for row, online in enumerate((False, True))
    )
    planner = Planner(make_diffusion(), context, PLANNING)
    agent = PlanningAgent(planner, AgentInputs.join([warm, zero_shot]), torch.Generator().manual_seed(0))
    assert torch.equal(agent.latents[0], parameters[0])
    assert agent.has_context.tolist() == [True, False], "zero-shot begins without z, whatever z is"
    state = np.zeros((2, S), np.float32)
    agent.observe(state, agent.act(state), np.zeros(2, np.float32), state)
    agent.act(state)
    assert torch.equal(agent.latents, parameters)


def test_a_consecutive_window_makes_zero_shot_look_at_the_latest_transitions() -> None:
    config = CONTEXT.model_copy(update={"window": "consecutive"})
    torch.manual_seed(0)
    context = ContextModel(S, A, config).eval().requires_grad_(False)
    planner = Planner(make_diffusion(), context, PLANNING)
    inputs = make_inputs(context, make_warm_start(1, False), online=True)
    agent = PlanningAgent(planner, inputs, torch.Generator().manual_seed(0))
    steps = np.random.default_rng(0).normal(size=(9, 1, 2 * S + A + 1)).astype(np.float32)
    for row in steps:
        agent.observe(row[:, :S], row[:, S : S + A], row[:, S + A], row[:, S + A + 1 :])
    agent.act(np.zeros((1, S), np.float32))
    latest = torch.from_numpy(steps[3:]).transpose(0, 1)
    assert torch.allclose(agent.latents, context.encode(latest, torch.ones(1, 6, dtype=torch.bool)), atol=1e-5)


def test_a_wrong_task_comes_with_its_parameters() -> None:
    def parameters(source: str) -> list[list[float]]:
        drawn = draw_warm_start(source, {"expert": make_data()}, [0, 3], CONTEXT, torch.Generator())
        return drawn.parameters.tolist()

    assert parameters("expert") == parameters("zero_shot") == [[0.0], [3.0]]
    assert parameters("wrong_task") == [[1.0], [0.0]]
