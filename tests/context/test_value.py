"""V(s, z), the value beyond the horizon: its targets, its training and its place in the checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import encode_tasks, train_context
from metadiffuser.context.value import ReturnsToGo, discounted, value_loss
from tests.helpers.models import CONTEXT, A, S, Z, make_context, make_data


def trained(work: Path, **changes: object) -> tuple[ContextModel, list[dict[str, float]]]:
    torch.manual_seed(0)
    model = ContextModel(S, A, CONTEXT.model_copy(update=changes))
    records = train_context(model, make_data(), torch.Generator().manual_seed(0), work / "c.safetensors")
    return model.eval(), records


def test_returns_to_go_are_discounted_sums_to_the_end_of_the_episode() -> None:
    rewards = torch.tensor([[1.0, 0.0, 2.0], [0.0, 4.0, -1.0]])
    expected = torch.tensor([[1.0 + 0.25 * 2.0, 1.0, 2.0], [0.5 * 4.0 - 0.25, 4.0 - 0.5, -1.0]])
    assert torch.allclose(discounted(rewards, 0.5), expected)
    assert torch.equal(discounted(rewards, 0.0), rewards)
    assert torch.allclose(discounted(rewards, 1.0)[:, 0], rewards.sum(dim=1))


def test_drawn_states_come_with_their_own_return_in_normalised_rewards() -> None:
    model, data = make_context(), make_data()
    pairs = ReturnsToGo.of(model, data)
    tasks = torch.tensor([2, 0, 3])
    states, returns = pairs.draw(tasks, 20, torch.Generator().manual_seed(0))
    assert states.shape == (3, 20, S)
    rewards = (data.rewards - model.normaliser.reward_mean) / model.normaliser.reward_std
    for row, task in enumerate(tasks):
        for state, found in zip(states[row], returns[row], strict=True):
            episode, step = (data.observations[task, :, :-1] == state).all(dim=-1).nonzero()[-1].tolist()
            later = rewards[task, episode, step:]
            weights = CONTEXT.value_discount ** torch.arange(len(later))
            starts = bool((state == 0).all())  # every episode starts at the origin
            assert starts or float(found) == pytest.approx(float((weights * later).sum()), rel=1e-4, abs=1e-4)


def test_values_are_learnt_and_their_loss_is_in_the_curve(tmp_path: Path) -> None:
    model, records = trained(tmp_path, steps=200, learning_rate=3e-3)
    model.requires_grad_(False)
    assert records[-1]["value_loss"] < 0.2 * records[0]["value_loss"]
    data = make_data(seed=1)
    tasks = torch.arange(4).repeat_interleave(8)
    states, returns = ReturnsToGo.of(model, data).draw(tasks, 16, torch.Generator().manual_seed(0))
    latents = encode_tasks(model, data, 8, torch.Generator().manual_seed(1)).flatten(0, 1)
    values = model.predict_values(model.normaliser.state(states), latents[:, None].expand(-1, 16, -1))
    spread = float(returns.std())
    assert float((values - returns).square().mean().sqrt()) < 0.5 * spread, "in normalised rewards"
    swapped = model.predict_values(model.normaliser.state(states), latents.flip(0)[:, None].expand(-1, 16, -1))
    assert float((swapped - returns).square().mean().sqrt()) > spread, "the value is the task's"


def test_the_value_loss_reaches_no_weights_but_its_own(tmp_path: Path) -> None:
    model = make_context().requires_grad_(True)
    latents = torch.randn(3, Z, requires_grad=True)
    loss = value_loss(model, latents, torch.randn(3, 5, S), torch.randn(3, 5))
    loss.backward()
    reached = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {"value_model"}
    assert latents.grad is None
    other, _ = trained(tmp_path / "a", value_discount=0.5)
    plain, _ = trained(tmp_path / "b")
    for name, value in plain.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]) == (not name.startswith("value_")), name


def test_values_do_not_change_as_z_is_standardised_or_stored(tmp_path: Path) -> None:
    model = make_context()
    model.set_value_scale(torch.tensor([3.0, 5.0, 10.0]))
    states, latents = torch.randn(6, S), torch.randn(6, Z)
    before = model.predict_values(states, latents)
    model.standardise(latents)
    again = (latents - model.latent_mean) / model.latent_std
    assert torch.allclose(model.predict_values(states, again), before, atol=1e-4)
    model.save(tmp_path / "c.safetensors", {})
    loaded, _ = ContextModel.load(tmp_path / "c.safetensors")
    assert torch.equal(loaded.predict_values(states, again), model.predict_values(states, again))
    assert float(loaded.value_mean) == pytest.approx(6.0)


def test_values_do_not_see_where_a_travelled_coordinate_starts() -> None:
    model = make_context()
    model.normaliser.local_mask[1] = 0.0
    states, latents = torch.randn(4, S), torch.randn(4, Z)
    elsewhere = states + torch.tensor([0.0, 3.0, 0.0])
    assert torch.equal(model.predict_values(states, latents), model.predict_values(elsewhere, latents))
    assert not torch.equal(model.predict_values(states + 1.0, latents), model.predict_values(states, latents))
