"""The context encoder, the generalised models and their training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from metadiffuser.artifacts import read_tensors, write_tensors
from metadiffuser.config.schema import Representation
from metadiffuser.context.predictions import predictions
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import encode_tasks, huber, prediction_losses, train_context
from metadiffuser.data.windows import draw_contexts, draw_transitions
from metadiffuser.errors import InputError
from tests.helpers.models import CONTEXT, A, S, Z, make_context, make_data, share_among

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


def test_masked_transitions_cost_nothing_and_contexts_of_any_length_share_a_batch() -> None:
    model = make_context()
    contexts, _ = batch(3)
    lengths = [6, 2, 0]
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    assert model.encoder is not None
    embedded: list[int] = []
    handle = model.encoder.embed.register_forward_pre_hook(lambda _, given: embedded.append(given[0][..., 0].numel()))
    together = model.encode(contexts, mask)
    handle.remove()
    assert embedded == [sum(lengths)]
    for row, length in enumerate(lengths):
        alone = model.encode(contexts[row : row + 1, :length], torch.ones(1, length, dtype=torch.bool))
        assert torch.allclose(alone[0], together[row], atol=1e-5)


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


@pytest.mark.parametrize("representation", get_args(Representation))
def test_z_leaves_training_with_zero_mean_and_unit_deviation_over_training_tasks(
    representation: Representation, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = ContextModel(S, A, CONTEXT, (), representation, 1)
    data = make_data()
    train_context(model, data, torch.Generator().manual_seed(0), tmp_path / "c.safetensors")
    latents = encode_tasks(model, data, 64, torch.Generator().manual_seed(1)).flatten(0, 1)
    assert torch.allclose(latents.mean(0), torch.zeros(model.latent_size), atol=0.2)
    assert torch.allclose(latents.std(0, correction=0), torch.ones(model.latent_size), atol=0.2)


def test_huber_is_the_square_up_to_delta_and_its_tangent_beyond() -> None:
    predicted = torch.tensor([0.0, 0.4, 0.5, 3.0, -3.0], requires_grad=True)
    loss = huber(predicted, torch.zeros(5), 0.5)
    assert loss.item() == pytest.approx((0.16 + 0.25 + 2 * (2 * 0.5 * 3.0 - 0.25)) / 5)
    (slope,) = torch.autograd.grad(loss, predicted)
    assert torch.allclose(5 * slope, torch.tensor([0.0, 0.8, 1.0, 1.0, -1.0]))


def test_the_loss_in_force_is_the_one_that_is_named() -> None:
    data, model = make_data(), make_context()
    targets = draw_transitions(data, torch.arange(5) % 4, 4, torch.Generator().manual_seed(0))
    latents = torch.randn(5, Z)
    rewards, changes, reward, change = predictions(model, latents, targets)
    for name, expected in (
        ("squared", [(rewards - reward).square().mean(), (changes - change).square().mean()]),
        ("huber", [huber(rewards, reward, 0.3), huber(changes, change, 0.3)]),
    ):
        model.config = CONTEXT.model_copy(update={"loss": name, "huber_delta": 0.3})
        assert torch.allclose(torch.stack(prediction_losses(model, latents, targets)), torch.stack(expected))
    assert not torch.allclose(huber(rewards, reward, 0.3), (rewards - reward).square().mean())


def test_huber_finds_what_squares_lose_to_a_few_large_errors(tmp_path: Path) -> None:
    data = make_data(tasks=4, episodes=6, steps=40)
    generator = torch.Generator().manual_seed(0)
    struck = torch.rand(data.rewards.shape, generator=generator) < 0.03
    spoiled = data.transitions.clone()
    spoiled[..., S + A] += struck * 300.0 * torch.rand(struck.shape, generator=generator)
    hit = replace(data, transitions=spoiled)
    errors = {}
    for loss, delta in (("squared", 1.0), ("huber", 0.05)):
        torch.manual_seed(0)
        changes = {"loss": loss, "huber_delta": delta, "steps": 150, "learning_rate": 1e-2, "task_batch": 8}
        model = ContextModel(S, A, CONTEXT.model_copy(update=changes))
        train_context(model, hit, torch.Generator().manual_seed(0), tmp_path / f"{loss}.safetensors")
        tasks = torch.arange(4).repeat(16)
        rows = draw_transitions(data, tasks, 16, torch.Generator().manual_seed(2))
        latents = encode_tasks(model, hit, 16, torch.Generator().manual_seed(3)).transpose(0, 1).flatten(0, 1)
        with torch.no_grad():
            rewards, _, reward, _ = predictions(model, latents, rows)
        errors[loss] = float((rewards - reward).square().mean().sqrt())
    assert errors["huber"] < 0.5 * errors["squared"]


def test_the_regression_inside_the_encoder_has_the_size_that_is_asked_for() -> None:
    config = CONTEXT.model_copy(update={"regressors": 6, "regression_targets": 5})
    torch.manual_seed(0)
    model = ContextModel(S, A, config)
    assert model.encoder is not None
    assert model.encoder.regress.out_features == 6 + 5
    assert model.encoder.head[0].in_features == 6 * 5
    contexts, mask = batch()
    twice = model.encode(contexts.repeat(1, 2, 1), mask.repeat(1, 2))
    assert torch.allclose(model.encode(contexts, mask), twice, atol=1e-5)


def trained(work: Path, steps: int = 20) -> tuple[ContextModel, list[dict[str, float]]]:
    torch.manual_seed(0)
    model = ContextModel(S, A, CONTEXT.model_copy(update={"steps": steps}))
    records = train_context(model, make_data(), torch.Generator().manual_seed(0), work / "c.safetensors")
    return model, records


def test_the_validation_loss_is_of_episodes_that_are_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[torch.Tensor] = []

    def contexts(*arguments: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        rows, mask = draw_contexts(*arguments, **options)
        drawn.append(rows)
        return rows, mask

    def targets(*arguments: Any) -> torch.Tensor:
        drawn.append(draw_transitions(*arguments))
        return drawn[-1]

    monkeypatch.setattr("metadiffuser.context.training.draw_contexts", contexts)
    monkeypatch.setattr("metadiffuser.context.training.draw_transitions", targets)
    trained(tmp_path, 1)
    known = make_data().split_episodes()[0].transitions
    shares = [share_among(rows, known) for rows in drawn[:4]]
    assert shares == [0.0, 0.0, 1.0, 1.0], "contexts and targets of the validation loss, then those of the only step"


def test_training_learns_the_task_and_repeats_to_the_bit(tmp_path: Path) -> None:
    model, records = trained(tmp_path / "a", 300)
    assert records[-1]["loss"] < 0.4 * records[0]["loss"]
    again, _ = trained(tmp_path / "b", 300)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    latents = encode_tasks(model, make_data(), 8, torch.Generator().manual_seed(1)).numpy()
    order = latents.mean(axis=1)[:, None] - latents.mean(axis=(0, 1))  # tasks 0, 1, 2, 3 along z's main direction
    main = np.linalg.svd(order[:, 0])[2][0]
    assert abs(np.corrcoef(order[:, 0] @ main, np.arange(4.0))[0, 1]) > 0.95


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
