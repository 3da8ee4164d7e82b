"""Schedule, denoiser, loss, training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from metadiffuser.data.windows import TaskData
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.diffusion.schedule import cosine_alphas_cumprod, reverse_steps
from metadiffuser.diffusion.training import VALIDATION_SEGMENTS, diffusion_loss, train_diffusion
from metadiffuser.diffusion.unet import TemporalUNet
from metadiffuser.errors import InputError
from metadiffuser.planning.planner import Planner, Request
from metadiffuser.training import MovingAverage
from tests.helpers.models import DIFFUSION, PLANNING, A, S, Z, make_context, make_data, make_diffusion


def test_cosine_alphas_cumprod_fall_from_clean_to_noise() -> None:
    rates = cosine_alphas_cumprod(20)
    assert rates[0] == 1.0
    assert rates[-1] < 1e-3
    assert bool((rates[1:] < rates[:-1]).all())


def test_ddpm_steps_are_the_posterior_of_ho_et_al() -> None:
    rates = cosine_alphas_cumprod(20)
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
    rates = cosine_alphas_cumprod(20)
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
    rate = model.alphas_cumprod[5]
    assert torch.allclose(noisy[2, 1], rate.sqrt() * clean[2, 1] + (1 - rate).sqrt() * noise[2, 1])


@pytest.mark.parametrize("multipliers", [[1], [1, 2], [1, 2, 2]])
def test_denoiser_keeps_the_shape_and_reads_step_and_task(multipliers: list[int]) -> None:
    model = make_diffusion(multipliers=multipliers)
    network = model.network
    x, latents, has_context = torch.randn(3, 8, S + A), torch.randn(3, Z), torch.tensor([True, True, False])
    task, step = network.task_condition(latents, has_context), network.step_condition(torch.tensor([1, 1, 1]))
    output = network(x, task + step)
    assert output.shape == x.shape
    other_task = network(x, network.task_condition(latents + 1, has_context) + step)
    assert not torch.allclose(output[:2], other_task[:2])
    assert torch.equal(output[2], other_task[2]), "the null condition hides z"
    assert not torch.allclose(output, network(x, task + network.step_condition(torch.tensor([5, 5, 5]))))


@pytest.mark.parametrize("prediction_type", ["x0", "noise"])
def test_clean_recovers_x0_from_a_perfect_prediction(prediction_type: str) -> None:
    model = make_diffusion(prediction_type=prediction_type)
    clean = torch.minimum(torch.maximum(torch.randn(2, 8, S + A), model.low), model.high)
    noise = torch.randn_like(clean)
    for step in reverse_steps(6, "ddpm", 6):
        noisy = step.signal * clean + step.noise * noise
        assert torch.allclose(model.clean(clean if prediction_type == "x0" else noise, noisy, step), clean, atol=1e-2)


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


def test_rows_pair_each_state_with_its_action_and_segments_count_travel_from_their_start() -> None:
    model, data = make_diffusion(), make_data()
    model.normaliser.local_mask[0] = 0.0
    rows = model.rows(data)
    assert rows.shape == (4, 5, 13, S + A)
    assert torch.equal(rows[:, :, :-1, S:], data.actions)
    assert torch.equal(rows[:, :, -1, S:], torch.zeros(4, 5, A))
    states = model.normaliser.state(data.observations)[0, :, 2:10]
    segments = model.relative(rows[0, :, 2:10].clone())
    assert torch.allclose(segments[..., 0], states[..., 0] - states[:, :1, 0])
    assert torch.equal(segments[..., 1:S], states[..., 1:])


def trained(
    work: Path, data: TaskData | None = None, **changes: object
) -> tuple[DiffusionModel, DiffusionModel, list[dict[str, float]]]:
    data = make_data() if data is None else data
    torch.manual_seed(0)
    model = DiffusionModel(S, A, Z, DIFFUSION.model_copy(update=changes))
    model.normaliser.fit(data.observations, data.rewards)
    latents = torch.arange(4.0)[:, None, None].expand(4, 3, Z) / 2
    generator = torch.Generator().manual_seed(0)
    averaged, records = train_diffusion(model, data, latents, generator, work / "d.safetensors")
    return model, averaged, records


def same(one: DiffusionModel, other: DiffusionModel) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


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


def test_training_repeats_to_the_bit(tmp_path: Path) -> None:
    _, averaged, records = trained(tmp_path / "a")
    _, again, records_again = trained(tmp_path / "b")
    assert same(averaged, again)
    assert records == records_again


@pytest.mark.parametrize("prediction_type", ["x0", "noise"])
def test_training_lowers_the_loss_and_samples_lie_where_the_data_do(tmp_path: Path, prediction_type: str) -> None:
    """Both forms end to end: data of one speed, which the sampled segments must have."""
    data = make_data()
    climb = torch.linspace(-1.5, 1.5, 13)[:, None] * torch.tensor([1.0, -1.0, 0.5])
    steady = replace(data, observations=climb.expand_as(data.observations).clone())
    changes = {"steps": 400, "width": 16, "batch_size": 32, "learning_rate": 3e-3, "denoising_steps": 10}
    _, model, records = trained(tmp_path, steady, prediction_type=prediction_type, **changes)
    assert records[-1]["validation"] < 0.5 * records[0]["validation"]
    planner = Planner(model, make_context(), PLANNING.model_copy(update={"sampling_steps": 10, "temperature": 1.0}))
    states, zeros = climb[torch.arange(16) % 6], torch.zeros(16)  # a segment that starts later runs past the end
    wanted = Request(states, torch.zeros(16, Z), torch.ones(16, dtype=torch.bool), zeros, zeros)
    plan = planner.plan(wanted, planner.draw_noise(16, torch.Generator().manual_seed(0)))
    expected = climb[(torch.arange(16) % 6)[:, None] + torch.arange(8)]
    error, of_standing_still = (float((path - expected).abs().mean()) for path in (plan.states, states[:, None]))
    assert error < 0.4 * of_standing_still


def test_killed_training_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole, curve = trained(tmp_path / "whole")
    monkeypatch.setattr("metadiffuser.checkpointing.INTERVAL", 0.0)
    update, updates = MovingAverage.update, iter(range(13))
    with monkeypatch.context() as killing:
        killing.setattr(MovingAverage, "update", lambda self: (next(updates), update(self)))
        with pytest.raises(StopIteration):
            trained(tmp_path / "killed")
    _, resumed, resumed_curve = trained(tmp_path / "killed")
    assert same(resumed, whole)
    assert resumed_curve == curve


def test_condition_dropout_divides_training_between_task_and_null(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = DiffusionModel(S, A, Z, DIFFUSION).network
    for dropout, null_moves, task_moves in ((0.0, False, True), (0.5, True, True), (1.0, True, False)):
        network = trained(tmp_path / str(dropout), condition_dropout=dropout)[0].network
        assert torch.equal(network.null, start.null) is not null_moves
        first, before = (net.get_parameter("embed_task.0.weight") for net in (network, start))
        assert torch.equal(first, before) is not task_moves


def test_latent_noise_changes_what_is_learned(tmp_path: Path) -> None:
    quiet, noisy, other = (trained(tmp_path / str(noise), latent_noise=noise)[0] for noise in (0.0, 0.1, 0.5))
    assert not same(quiet, noisy)
    assert not same(noisy, other)


@pytest.mark.parametrize("deviation", [0.0, 0.1, 0.5])
def test_latent_noise_is_the_standard_deviation_of_what_is_added_to_z(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deviation: float
) -> None:
    added = []

    def loss(model: DiffusionModel, clean: Tensor, mask: Tensor, latents: Tensor, *rest: Tensor) -> Tensor:
        added.append(latents - 1.0)
        return diffusion_loss(model, clean, mask, latents, *rest)

    monkeypatch.setattr("metadiffuser.diffusion.training.diffusion_loss", loss)
    model = make_diffusion(latent_noise=deviation, batch_size=4000, steps=1).requires_grad_()
    train_diffusion(
        model, make_data(), torch.ones(4, 3, Z), torch.Generator().manual_seed(0), tmp_path / "d.safetensors"
    )
    for noise in added:
        assert float(noise.std()) == pytest.approx(deviation, rel=0.1)
        assert float(noise.mean()) == pytest.approx(0.0, abs=0.1 * deviation)


def test_a_denoiser_that_met_noise_on_z_depends_less_on_it(tmp_path: Path) -> None:
    data, noise = make_data(), 0.3 * torch.randn(64, Z, generator=torch.Generator().manual_seed(1))
    changes = {"steps": 300, "width": 16, "batch_size": 32, "learning_rate": 3e-3}
    differences = []
    for level in (0.0, 0.5):
        _, model, _ = trained(tmp_path / str(level), data, latent_noise=level, **changes)
        x, z = torch.randn(64, 8, S + A, generator=torch.Generator().manual_seed(2)), torch.zeros(64, Z)
        has_context, steps = torch.ones(64, dtype=torch.bool), torch.full((64,), 6)
        with torch.inference_mode():
            network = model.network
            first, second = (
                network(x, network.task_condition(latents, has_context) + network.step_condition(steps))
                for latents in (z, z + noise)
            )
        differences.append(float((first - second).square().mean()))
    assert differences[1] < differences[0]


@pytest.mark.parametrize("horizon", [4, 12, 16])
def test_horizon_is_the_length_of_what_is_trained_on(
    tmp_path: Path, horizon: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    forward = TemporalUNet.forward

    def record(network: TemporalUNet, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        seen.add(tuple(x.shape))
        return forward(network, x, condition)

    monkeypatch.setattr(TemporalUNet, "forward", record)
    trained(tmp_path, horizon=horizon, steps=2)
    assert seen == {(DIFFUSION.batch_size, horizon, S + A), (VALIDATION_SEGMENTS, horizon, S + A)}


def test_a_coordinate_that_never_changes_stays_as_it_is(tmp_path: Path) -> None:
    """Its deviation is the normaliser's floor; neither the loss nor a plan may suffer from that."""
    data = make_data()
    data.observations[..., 1] = 731.4
    _, model, records = trained(tmp_path, data)
    assert records[-1]["loss"] < 5.0
    assert float(model.high[1] - model.low[1]) < 0.1
    prediction = model.clean(torch.randn(4, 8, S + A), torch.randn(4, 8, S + A), reverse_steps(6, "ddpm", 6)[0])
    assert torch.allclose(
        model.normaliser.denormalise_state(prediction[..., :S])[..., 1], torch.tensor(731.4), atol=1e-3
    )


def test_damaged_or_foreign_checkpoints_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    make_context().save(path, {})
    with pytest.raises(InputError, match=r"model\.safetensors: not a diffusion checkpoint"):
        DiffusionModel.load(path)


def test_batches_are_drawn_on_the_cpu_and_trained_on_where_the_model_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the device meta, which computes nothing and refuses tensors of another device, as CUDA would."""

    def spy(model: DiffusionModel, *drawn: torch.Tensor) -> torch.Tensor:
        assert {part.device.type for part in (*drawn, *model.state_dict().values())} == {"meta"}
        diffusion_loss(model, *drawn).backward()
        assert all(parameter.grad is not None for parameter in model.network.parameters())
        raise KeyboardInterrupt

    monkeypatch.setattr("metadiffuser.diffusion.training.diffusion_loss", spy)
    monkeypatch.setattr(DiffusionModel, "relative", lambda _, segments: segments)  # it looks at values
    data, model = make_data(), make_diffusion().requires_grad_(True)
    latents = torch.zeros(len(data.rewards), 2, Z)
    with pytest.raises(KeyboardInterrupt):
        train_diffusion(model, data, latents, torch.Generator(), tmp_path / "training.safetensors", "meta")


def test_every_step_from_one_to_the_noisiest_is_trained_equally_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def loss(model: DiffusionModel, *parts: Tensor) -> Tensor:
        drawn.append(parts[4])
        return diffusion_loss(model, *parts)

    monkeypatch.setattr("metadiffuser.diffusion.training.diffusion_loss", loss)
    model = make_diffusion(batch_size=4000, steps=1).requires_grad_()
    train_diffusion(
        model, make_data(), torch.zeros(4, 3, Z), torch.Generator().manual_seed(0), tmp_path / "d.safetensors"
    )
    total = DIFFUSION.denoising_steps
    shares = torch.cat(drawn).bincount(minlength=total + 2) / sum(map(len, drawn))
    assert shares[0] == shares[total + 1] == 0, "step 0 has no noise, and there are T"
    assert shares[1 : total + 1].tolist() == pytest.approx([1 / total] * total, rel=0.15)


def test_the_range_of_an_unbounded_coordinate_is_that_of_its_travel_within_a_plan() -> None:
    model, horizon = make_diffusion(), DIFFUSION.horizon
    model.normaliser.local_mask[1] = 0.0
    model.normaliser.state_mean[1] = 0.0
    model.normaliser.state_std[1] = 2.0
    steps = torch.zeros(1, 2, 13, S)
    steps[0, 0, :, 1] = 100.0 + 1.5 * torch.arange(13)  # always onwards
    steps[0, 1, :, 1] = -50.0 - 0.5 * torch.arange(13)
    model.set_range(steps)
    assert float(model.high[1]) == pytest.approx(1.5 * (horizon - 1) / 2.0)
    assert float(model.low[1]) == pytest.approx(-0.5 * (horizon - 1) / 2.0)
    assert model.low[S:].tolist() == [-1.0, -1.0]
    assert model.high[S:].tolist() == [1.0, 1.0]
