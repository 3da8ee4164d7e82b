"""The loop that every gradient-trained model shares, on one weight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from metadiffuser.checkpointing import TrainingState
from metadiffuser.training import Losses, fit, fit_first

STEPS = 10


class Slope(nn.Module):
    """A weight w whose loss is 3 w, so that every gradient is 3."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def losses(self) -> Losses:
        loss = 3 * self.weight
        return loss, {"loss": loss, "shown": loss + 1}


def run(
    folder: Path, clip: float | None = None, after_step: Callable[[], None] | None = None, steps: int = STEPS
) -> tuple[Slope, list[dict[str, float]]]:
    model = Slope()
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    state = TrainingState({"model": model}, {"sgd": optimiser}, {})
    records = fit(
        "slope",
        steps,
        model.losses,
        lambda: float(model.weight),
        optimiser,
        state,
        folder / "training.safetensors",
        clip=clip,
        after_step=after_step,
    )
    return model, records


def test_every_step_follows_the_gradient_at_a_rate_that_falls_to_zero(tmp_path: Path) -> None:
    model, records = run(tmp_path)
    rates = 0.5 * (1 + (torch.arange(STEPS) * torch.pi / STEPS).cos())
    weights = -3 * rates.cumsum(0)
    assert model.weight.item() == pytest.approx(float(weights[-1]), rel=1e-5)
    assert [record["validation"] for record in records] == pytest.approx(weights.tolist(), rel=1e-5)
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    before = [0.0, *weights[:-1].tolist()]
    assert [record["loss"] for record in records] == pytest.approx([3 * weight for weight in before], abs=1e-5)
    assert [record["shown"] for record in records] == pytest.approx([3 * weight + 1 for weight in before], abs=1e-5)


@pytest.mark.parametrize(("clip", "norm"), [(0.5, 0.5), (100.0, 3.0)])
def test_gradients_are_clipped_to_their_largest_norm(tmp_path: Path, clip: float, norm: float) -> None:
    plain, clipped = run(tmp_path / "plain")[0], run(tmp_path / "clipped", clip)[0]
    assert clipped.weight.item() == pytest.approx(plain.weight.item() * norm / 3, rel=1e-4)


def test_what_follows_a_step_sees_the_weights_after_it(tmp_path: Path) -> None:
    calls: list[int] = []
    run(tmp_path, after_step=lambda: calls.append(1))
    assert len(calls) == STEPS


def test_a_first_part_names_its_losses_and_is_not_repeated(tmp_path: Path) -> None:
    def part(model: Slope) -> list[dict[str, float]]:
        optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
        generator = torch.Generator().manual_seed(0)
        path = tmp_path / "training.safetensors"
        loss, validate = (lambda: model.losses()[0]), (lambda: float(model.weight))
        return fit_first("slope", "slope", STEPS, model, optimiser, loss, validate, generator, path)

    first, again = Slope(), Slope()
    records = part(first)
    assert set(records[0]) == {"step", "slope_loss", "slope_validation"}
    assert (tmp_path / "training-slope.safetensors").exists()
    assert part(again) == records
    assert torch.equal(again.weight, first.weight)


def test_a_record_is_the_mean_of_all_steps_since_the_one_before_and_the_last_is_of_the_end(tmp_path: Path) -> None:
    steps = 205  # more than the points of a curve
    model, records = run(tmp_path, steps=steps)
    assert [record["step"] for record in records] == [*range(2, steps, 2), steps]
    rates = 0.5 * (1 + (torch.arange(steps) * torch.pi / steps).cos())
    losses = torch.cat([torch.zeros(1), -9 * rates.cumsum(0)[:-1]])  # 3 w before each step
    means = [*losses[:-1].view(-1, 2).mean(dim=1).tolist(), float(losses[-1])]
    assert [record["loss"] for record in records] == pytest.approx(means, rel=1e-4)
    assert records[-1]["validation"] == model.weight.item()


def test_the_curve_of_a_first_part_does_not_mix_up_training_and_validation(tmp_path: Path) -> None:
    model = Slope()
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    loss, validate, generator = (lambda: model.losses()[0]), (lambda: float(model.weight)), torch.Generator()
    path = tmp_path / "training.safetensors"
    first, *_ = fit_first("slope", "part", STEPS, model, optimiser, loss, validate, generator, path)
    assert first == {"step": 1, "part_loss": 0.0, "part_validation": -3.0}, "before the step, and after it"
