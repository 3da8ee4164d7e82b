"""The context encoder, the generalised models and their training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metadiffuser.artifacts import read_tensors, write_tensors
from metadiffuser.context.probe import linear_probe, principal_axes
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import encode_tasks, prediction_losses, train_context
from metadiffuser.data.windows import draw_contexts, draw_transitions
from metadiffuser.errors import InputError
from tests.helpers.models import CONTEXT, A, S, make_context, make_data

NO_SIZES: tuple[Any, ...] = (None, "x", [], 1.5, 2**70)


def batch(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    return draw_contexts(make_data(), torch.arange(count) % 4, 6, torch.Generator().manual_seed(1), full=True)


def test_encoder_does_not_know_the_order() -> None:
    model = make_context()
    contexts, mask = batch()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.allclose(model.encode(contexts, mask), model.encode(contexts[:, order], mask), atol=1e-5)


def test_encoder_does_not_know_the_number() -> None:
    model = make_context()
    contexts, mask = batch()
    twice = model.encode(contexts.repeat(1, 2, 1), mask.repeat(1, 2))
    assert torch.allclose(model.encode(contexts, mask), twice, atol=1e-5)


def test_masked_transitions_do_not_matter_and_others_do() -> None:
    model = make_context()
    contexts, mask = batch()
    mask = mask.clone()
    mask[:, 4:] = False
    changed = contexts.clone()
    changed[:, 4:] += 100.0
    assert torch.equal(model.encode(contexts, mask), model.encode(changed, mask))
    changed[:, 0] += 1.0
    assert not torch.allclose(model.encode(contexts, mask), model.encode(changed, mask))


def test_empty_context_is_finite_and_the_same_for_all() -> None:
    model = make_context()
    contexts, mask = batch()
    latents = model.encode(contexts, torch.zeros_like(mask))
    assert bool(torch.isfinite(latents).all())
    assert torch.allclose(latents, latents[:1].expand_as(latents))


def test_both_losses_reach_the_encoder() -> None:
    data = make_data()
    model = make_context().requires_grad_(True)
    contexts, mask = batch()
    targets = draw_transitions(data, torch.arange(5) % 4, 4, torch.Generator().manual_seed(0))
    assert model.encoder is not None
    for loss in prediction_losses(model, model.encode(contexts, mask), targets):
        gradients = torch.autograd.grad(loss, list(model.encoder.parameters()), retain_graph=True)
        assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0


def test_predicted_states_undo_both_normalisations() -> None:
    model = make_context()
    states, actions, latents = torch.randn(7, S), torch.rand(7, A), torch.randn(7, CONTEXT.latent_size)
    change = model.normaliser.raw_delta(model.dynamics_model(states, actions, latents))
    raw = model.normaliser.denormalise_state(states) + change
    predicted = model.normaliser.denormalise_state(model.predict_states(states, actions, latents))
    assert torch.allclose(predicted, raw, atol=1e-5)


def test_models_and_encoder_do_not_see_where_a_travelled_coordinate_starts() -> None:
    torch.manual_seed(0)
    model = ContextModel(S, A, CONTEXT, unbounded_dims=[1])
    data = make_data()
    model.normaliser.fit(data.observations, data.rewards)
    contexts, mask = batch()
    moved = contexts.clone()
    moved[..., 1] += 40.0
    moved[..., S + A + 2] += 40.0
    assert torch.allclose(model.encode(contexts, mask), model.encode(moved, mask), atol=1e-3)
    states, actions, latents = torch.randn(4, S), torch.rand(4, A), torch.randn(4, CONTEXT.latent_size)
    elsewhere = states + torch.tensor([0.0, 3.0, 0.0])
    assert torch.equal(
        model.predict_rewards(states, actions, latents), model.predict_rewards(elsewhere, actions, latents)
    )
    shift = model.predict_states(elsewhere, actions, latents) - model.predict_states(states, actions, latents)
    assert torch.allclose(shift, torch.tensor([0.0, 3.0, 0.0]).expand(4, -1), atol=1e-5)


def test_standardising_latents_leaves_predictions_alone() -> None:
    model = make_context()
    contexts, mask = batch(20)
    states, actions = torch.randn(20, S), torch.rand(20, A)
    before = model.predict_rewards(states, actions, model.encode(contexts, mask))
    model.standardise(model.encode(contexts, mask))
    latents = model.encode(contexts, mask)
    assert torch.allclose(latents.mean(0), torch.zeros(CONTEXT.latent_size), atol=1e-4)
    assert torch.allclose(latents.std(0, correction=0), torch.ones(CONTEXT.latent_size), atol=1e-3)
    assert torch.allclose(before, model.predict_rewards(states, actions, latents), atol=1e-4)


def trained(work: Path, steps: int = 20) -> tuple[ContextModel, list[dict[str, float]]]:
    torch.manual_seed(0)
    model = ContextModel(S, A, CONTEXT.model_copy(update={"steps": steps}))
    records = train_context(model, make_data(), torch.Generator().manual_seed(0), work / "c.safetensors")
    return model, records


def test_training_learns_the_task_and_repeats_to_the_bit(tmp_path: Path) -> None:
    model, records = trained(tmp_path / "a", 300)
    assert records[-1]["loss"] < 0.4 * records[0]["loss"]
    again, _ = trained(tmp_path / "b", 300)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    latents = encode_tasks(model, make_data(), 8, torch.Generator().manual_seed(1)).numpy()
    scores = linear_probe(latents, np.arange(4.0)[:, None], np.array([True, True, False, True]), ["expert"] * 4)
    assert scores["all"]["train_r2"] > 0.8


def test_checkpoint_round_trip_and_damage(tmp_path: Path) -> None:
    model = make_context()
    path = tmp_path / "context.safetensors"
    model.save(path, {"family": "toy"})
    loaded, header = ContextModel.load(path)
    assert header["family"] == "toy"
    contexts, mask = batch()
    assert torch.equal(model.encode(contexts, mask), loaded.encode(contexts, mask))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"context\.safetensors: damaged"):
        ContextModel.load(path)
    with pytest.raises(InputError, match="missing"):
        ContextModel.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        None,  # a list in place of a mapping
        {"context": []},
        *({key: value} for key in ("observation_size", "action_size") for value in NO_SIZES),
        {"representation": "true_task", "parameter_size": None},
    ],
    ids=str,
)
def test_a_header_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, Any] | None) -> None:
    path = tmp_path / "context.safetensors"
    make_context().save(path, {})
    tensors, header = read_tensors(path)
    written: Any = [] if changes is None else header | changes
    write_tensors(path, tensors, written)
    with pytest.raises(
        InputError, match=r"context\.safetensors: not a context checkpoint \(.*; run train_context"
    ) as said:
        ContextModel.load(path)
    assert "frame #" not in str(said.value), "the reason is one line of what may be many"


def test_linear_probe_is_exact_on_a_linear_code_and_zero_on_a_constant_one() -> None:
    generator = np.random.default_rng(0)
    parameters = generator.normal(size=(20, 2))
    trained_on = np.arange(20) < 15
    latents = np.repeat((parameters @ generator.normal(size=(2, 3)) + 1.0)[:, None], 4, axis=1)
    exact = linear_probe(latents, parameters, trained_on, ["expert"] * 20)
    assert exact["all"]["test_r2"] == pytest.approx(1.0)
    constant = linear_probe(np.ones((20, 4, 3)), parameters, trained_on, ["expert"] * 20)
    assert constant["all"]["train_r2"] == pytest.approx(0.0, abs=1e-9)


def test_linear_probe_tells_a_quality_that_carries_nothing() -> None:
    generator = np.random.default_rng(0)
    parameters = np.tile(generator.normal(size=(200, 2)), (2, 1))
    latents = np.repeat(parameters[:, None], 4, axis=1)
    latents[200:] = generator.normal(size=latents[200:].shape)
    scores = linear_probe(latents, parameters, np.arange(400) % 200 < 150, ["expert"] * 200 + ["random"] * 200)
    assert scores["random"]["test_r2"] < 0.1 < 0.6 < scores["expert"]["test_r2"]
    between = [scores[name]["test_r2"] for name in ("random", "all", "expert")]
    assert between == sorted(between)


def test_principal_axes_find_the_main_direction() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(200, 3)) * np.array([0.1, 5.0, 1.0])
    xy = principal_axes(points)(points)
    assert np.corrcoef(xy[:, 0], points[:, 1])[0, 1] > 0.99
    assert principal_axes(points[:, :1])(points[:, :1]).shape == (200, 2)
