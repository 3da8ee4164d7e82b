"""Schedule, denoiser, loss, training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.diffusion.schedule import reverse_steps, signal_rates
from metadiffuser.diffusion.training import diffusion_loss, train_diffusion
from metadiffuser.errors import InputError
from tests.models import DIFFUSION, A, S, Z, make_context, make_data, make_diffusion


def test_signal_rates_fall_from_clean_to_noise() -> None:
    rates = signal_rates(20)
    assert rates[0] == 1.0
    assert rates[-1] < 1e-3
    assert bool((rates[1:] < rates[:-1]).all())


def test_ddpm_steps_are_the_posterior_of_ho_et_al() -> None:
    rates = signal_rates(20)
    for step in reverse_steps(20, "ddpm", 20):
        rate, before = rates[step.step], rates[step.step - 1]
        beta = 1 - rate / before
        assert step.clean_weight == pytest.approx(float(before.sqrt() * beta / (1 - rate)))
        assert step.noisy_weight == pytest.approx(float((1 - beta).sqrt() * (1 - before) / (1 - rate)))
        assert step.variance == pytest.approx(float(beta * (1 - before) / (1 - rate)))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("count", [1, 3, 10, 20, 50])
def test_reverse_process_ends_at_x0_and_takes_the_steps_asked_for(sampler: str, count: int) -> None:
    steps = reverse_steps(20, sampler, count)
    assert len(steps) == min(count, 20)
    assert steps[0].step == 20
    assert [step.step for step in steps] == sorted((step.step for step in steps), reverse=True)
    last = steps[-1]
    assert (last.clean_weight, last.noisy_weight, last.variance) == pytest.approx((1.0, 0.0, 0.0))


def test_ddim_keeps_the_noise_it_is_given() -> None:
    clean, noise = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    rates = signal_rates(20)
    for step in reverse_steps(20, "ddim", 7)[:-1]:
        x = step.signal * clean + step.noise * noise
        x = step.clean_weight * clean + step.noisy_weight * x
        following = reverse_steps(20, "ddim", 7)[[s.step for s in reverse_steps(20, "ddim", 7)].index(step.step) + 1]
        rate = rates[following.step]
        assert torch.allclose(x, rate.sqrt() * clean + (1 - rate).sqrt() * noise)


def test_forward_process_keeps_the_given_state_clean() -> None:
    model = make_diffusion()
    clean, noise = torch.randn(4, 8, S + A), torch.randn(4, 8, S + A)
    noisy = model.add_noise(clean, torch.tensor([1, 3, 5, 6]), noise)
    assert torch.equal(noisy[:, 0, :S], clean[:, 0, :S])
    rate = model.rates[5]
    assert torch.allclose(noisy[2, 1], rate.sqrt() * clean[2, 1] + (1 - rate).sqrt() * noise[2, 1])


@pytest.mark.parametrize("multipliers", [[1], [1, 2], [1, 2, 2]])
def test_denoiser_keeps_the_shape_and_reads_step_and_task(multipliers: list[int]) -> None:
    model = make_diffusion(multipliers=multipliers)
    network = model.network
    x, latents, known = torch.randn(3, 8, S + A), torch.randn(3, Z), torch.tensor([True, True, False])
    task, step = network.task_condition(latents, known), network.step_condition(torch.tensor([1, 1, 1]))
    output = network(x, task + step)
    assert output.shape == x.shape
    other_task = network(x, network.task_condition(latents + 1, known) + step)
    assert not torch.allclose(output[:2], other_task[:2])
    assert torch.equal(output[2], other_task[2]), "the null condition hides z"
    assert not torch.allclose(output, network(x, task + network.step_condition(torch.tensor([5, 5, 5]))))


@pytest.mark.parametrize("predicts", ["x0", "noise"])
def test_clean_recovers_x0_from_a_perfect_prediction(predicts: str) -> None:
    model = make_diffusion(predicts=predicts)
    clean = torch.minimum(torch.maximum(torch.randn(2, 8, S + A), model.low), model.high)
    noise = torch.randn_like(clean)
    for step in reverse_steps(6, "ddpm", 6):
        noisy = step.signal * clean + step.noise * noise
        assert torch.allclose(model.clean(clean if predicts == "x0" else noise, noisy, step), clean, atol=1e-2)


def test_loss_ignores_what_is_given_or_masked_and_weighs_the_first_action() -> None:
    model = make_diffusion()
    clean, noise = torch.zeros(2, 8, S + A), torch.zeros(2, 8, S + A)
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[:, 5:] = False
    arguments = (torch.zeros(2, Z), torch.tensor([True, True]), torch.tensor([3, 3]), noise)
    with torch.no_grad():
        errors = model.network(
            clean, model.network.task_condition(*arguments[:2]) + model.network.step_condition(torch.tensor([3, 3]))
        ).square()
    weights = torch.zeros(2, 8, S + A)
    weights[:, 0, S:] = 10.0
    weights[:, 1:5] = 1.0
    expected = (weights * errors).sum() / weights.sum()
    assert torch.allclose(diffusion_loss(model, clean, mask, *arguments), expected)


def trained(work: Path, steps: int = 20) -> tuple[DiffusionModel, DiffusionModel, list[dict[str, float]]]:
    torch.manual_seed(0)
    model = DiffusionModel(S, A, Z, DIFFUSION.model_copy(update={"steps": steps}))
    model.normaliser.load_state_dict(make_context().normaliser.state_dict())
    latents = torch.arange(4.0)[:, None, None].expand(4, 3, Z) / 2
    generator = torch.Generator().manual_seed(0)
    averaged, records = train_diffusion(model, make_data(), latents, generator, work / "d.safetensors")
    return model, averaged, records


def test_what_is_evaluated_is_the_moving_average(tmp_path: Path) -> None:
    model, averaged, _ = trained(tmp_path, steps=1)
    torch.manual_seed(0)
    start = DiffusionModel(S, A, Z, DIFFUSION)
    decay = DIFFUSION.ema_decay
    for name, value in averaged.network.named_parameters():
        expected = decay * start.network.get_parameter(name) + (1 - decay) * model.network.get_parameter(name)
        assert torch.allclose(value, expected, atol=1e-6)
    assert any(
        not torch.equal(value, model.network.get_parameter(name)) for name, value in averaged.network.named_parameters()
    )


def test_the_checkpoint_holds_the_moving_average(tmp_path: Path) -> None:
    _, averaged, _ = trained(tmp_path)
    averaged.save(tmp_path / "model.safetensors", {})
    loaded, _ = DiffusionModel.load(tmp_path / "model.safetensors")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in averaged.state_dict().items())


def test_training_lowers_the_loss_and_repeats_to_the_bit(tmp_path: Path) -> None:
    _, averaged, records = trained(tmp_path / "a", steps=300)
    assert records[-1]["validation"] < 0.8 * records[0]["validation"]
    _, again, _ = trained(tmp_path / "b", steps=300)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in averaged.state_dict().items())


def test_damaged_or_foreign_checkpoints_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    make_context().save(path, {})
    with pytest.raises(InputError, match=r"model\.safetensors: not a diffusion checkpoint"):
        DiffusionModel.load(path)
