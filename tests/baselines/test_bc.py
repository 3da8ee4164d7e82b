"""Behaviour cloning: what its loss seeks, which weights are evaluated, and what its temperature does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metadiffuser.baselines import bc
from tests.baselines.test_baselines import SIZES, build, prepare
from tests.helpers.models import A, S, Z

ROWS = 4000
STATES, LATENTS = torch.zeros(ROWS, S), torch.zeros(ROWS, Z)


def policy(mean: float, deviation: float) -> bc.Model:
    """A policy that has this mean and deviation in every state."""
    model = build("bc")
    assert isinstance(model, bc.Model)
    last = model.network[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias[:A] = torch.tensor(mean).atanh()
        last.bias[A:] = torch.tensor(deviation).log()
    return model


def drawn(mean: float, deviation: float) -> torch.Tensor:
    return mean + deviation * torch.randn(ROWS, A, generator=torch.Generator().manual_seed(0))


def test_the_loss_is_least_at_the_mean_and_deviation_of_the_actions() -> None:
    actions = drawn(0.3, 0.2)

    @torch.no_grad()
    def loss(mean: float, deviation: float) -> float:
        error, likelihood = bc.cloning_loss(policy(mean, deviation), STATES, actions, LATENTS)
        return float(error + likelihood)

    least = loss(0.3, 0.2)
    assert all(loss(*wrong) > least for wrong in ((0.2, 0.2), (0.4, 0.2), (0.3, 0.16), (0.3, 0.25)))


def test_the_likelihood_leaves_the_mean_as_it_is() -> None:
    model = policy(0.1, 0.2)
    _, likelihood = bc.cloning_loss(model, STATES, drawn(0.3, 0.2), LATENTS)
    likelihood.backward()
    slope = model.network[-1].bias.grad
    assert isinstance(slope, torch.Tensor)
    assert slope[:A].tolist() == [0.0] * A
    assert float(slope[A:].abs().min()) > 0


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0])
def test_the_temperature_scales_the_noise_of_actions(temperature: float) -> None:
    model = policy(0.5, 0.4)
    model.config = model.config.model_copy(update={"temperature": temperature})
    noise = torch.linspace(-3, 3, A)[None]
    found = bc.act(model, STATES[:2], LATENTS[:2], noise)
    expected = (0.5 + temperature * 0.4 * noise).clamp(-1, 1).expand(2, -1)
    assert torch.allclose(found, expected, atol=1e-6)


def test_what_is_evaluated_is_the_moving_average(tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = {}
    for decay in (0.0, 1.0):
        config = bc.Parameters(steps=20, batch_size=16, hidden=[8], ema_decay=decay)
        torch.manual_seed(0)
        model = bc.Model(SIZES, config)
        before = {name: value.clone() for name, value in model.network.state_dict().items()}
        average, _ = bc.train(model, prepare(tmp_path / str(decay)))
        found[decay] = [torch.equal(value, before[name]) for name, value in average.network.state_dict().items()]
    assert all(found[1.0]), "the first weights"
    assert not any(found[0.0]), "the last weights"


def test_the_qualities_of_the_section_are_cloned_and_not_those_of_contexts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloned: list[torch.Tensor] = []
    loss = bc.cloning_loss

    def recorded(
        model: bc.Model, states: torch.Tensor, actions: torch.Tensor, latents: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        cloned.append(actions)
        return loss(model, states, actions, latents)

    monkeypatch.setattr(bc, "cloning_loss", recorded)
    training = prepare(tmp_path)
    bc.train(bc.Model(SIZES, bc.Parameters(steps=1, batch_size=16, hidden=[8], qualities=["medium"])), training)
    assert training.context.config.qualities == ["expert"]
    assert len(cloned) == 2, "a batch, and what is held out"
    assert torch.isin(torch.cat(cloned), training.pool(["medium"]).actions).all()
