"""CVAE-Planner's own parts: the bound, the null condition, plans that begin where the agent is, and their guide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from metadiffuser.baselines import cvae_planner as cvae
from metadiffuser.baselines.shared.interface import Sizes
from metadiffuser.config.loading import load
from metadiffuser.context.objective import inconsistency, objective, predicted_return
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.normaliser import Normaliser
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import draw_segments
from metadiffuser.diffusion.training import diffusion_loss
from metadiffuser.evaluation.warm_start import draw_warm_start
from metadiffuser.training import Losses
from tests.baselines.test_baselines import prepare
from tests.conftest import ROOT
from tests.helpers.models import CONTEXT, DIFFUSION, A, S, Z, make_context, make_data, make_diffusion

H, U, B = 8, 5, 6
CONFIG = cvae.Parameters(
    threads=1,
    qualities=["expert"],
    steps=10,
    batch_size=8,
    learning_rate=1e-3,
    horizon=H,
    code_size=U,
    hidden=[16, 12],
    divergence_weight=0.1,
    ema_decay=0.9,
    condition_dropout=0.25,
    first_action_weight=10.0,
    temperature=0.5,
    return_scale=0.0,
    dynamics_scale=0.0,
    guide_steps=3,
)


def make_model(**changes: object) -> cvae.Model:
    torch.manual_seed(0)
    model = cvae.Model(Sizes(S, A, Z, 12), CONFIG.model_copy(update=changes))
    torch.nn.init.normal_(model.null)
    model.normaliser.load_state_dict(make_context().normaliser.state_dict())
    return model.eval().requires_grad_(False)


def drawn() -> tuple[torch.Tensor, ...]:
    """States (B, S), z (B, Z), has_context (B,), noise (B, U)."""
    generator = torch.Generator().manual_seed(1)
    states, latents, noise = (torch.randn(B, size, generator=generator) for size in (S, Z, U))
    return states, latents, torch.ones(B, dtype=torch.bool), noise


def test_the_divergence_is_that_of_gaussians() -> None:
    mean, log_variance = torch.randn(2, B, U, generator=torch.Generator().manual_seed(0))
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(-1)
    assert torch.allclose(cvae.divergence(mean, log_variance), expected, atol=1e-6)
    assert float(cvae.divergence(torch.zeros(1, U), torch.zeros(1, U))) == 0.0


def test_segments_are_the_denoisers() -> None:
    model, diffusion, data = make_model(), make_diffusion(), make_data()
    for normaliser in (model.normaliser, diffusion.normaliser):
        normaliser.local_mask[1] = normaliser.state_mean[1] = 0.0  # as ``fit`` leaves unbounded coordinates
    stored, normalised = cvae.rows(data), diffusion.rows(data)
    (_, own, _), (_, theirs, _) = (
        draw_segments(rows, H, B, torch.Generator().manual_seed(0)) for rows in (stored, normalised)
    )
    assert own[:, 0, 1].any()
    assert torch.allclose(model.normalise(own), diffusion.relative(theirs), atol=1e-5)


def test_the_reconstruction_is_weighted_as_the_denoising_error_is() -> None:
    model, diffusion = make_model(first_action_weight=DIFFUSION.first_action_weight), make_diffusion()
    _, segments, mask = draw_segments(cvae.rows(make_data()), H, B, torch.Generator().manual_seed(0))
    segments = model.normalise(segments)
    assert not mask.all()
    steps, has_context = torch.full((B,), 3), torch.ones(B, dtype=torch.bool)
    noise = torch.randn(segments.shape, generator=torch.Generator().manual_seed(0))
    latents = torch.zeros(B, Z)
    condition = diffusion.network.task_condition(latents, has_context) + diffusion.network.step_condition(steps)
    decoded = diffusion.network(diffusion.add_noise(segments, steps, noise), condition)
    expected = diffusion_loss(diffusion, segments, mask, latents, has_context, steps, noise)
    assert torch.allclose(cvae.reconstruction(model, decoded, segments, mask), expected)


def test_a_segment_begins_in_its_state_and_the_code_says_the_rest() -> None:
    model = make_model()
    states, latents, has_context, noise = drawn()
    condition = model.condition(states, latents, has_context)
    decoded, other = model.decode(noise, condition), model.decode(noise + 1, condition)
    assert decoded.shape == (B, H, S + A)
    assert torch.equal(decoded[:, 0, :S], states)
    assert (decoded[:, 0, S:] != other[:, 0, S:]).any(dim=1).all()
    mean, log_variance = model.encode(decoded, condition)
    assert mean.shape == log_variance.shape == (B, U)


def test_the_null_condition_hides_z() -> None:
    model = make_model()
    states, latents, has_context, _ = drawn()
    for given in (has_context, ~has_context):
        one, other = (model.condition(states, z, given) for z in (latents, latents + 1))
        assert torch.equal(one, other) != bool(given.all())


def test_places_outside_of_the_episode_do_not_count() -> None:
    model = make_model()
    _, latents, has_context, noise = drawn()
    generator = torch.Generator().manual_seed(0)
    segments = torch.randn(B, H, S + A, generator=generator)
    mask = torch.arange(H).expand(B, H) < 5
    changed = segments.clone()
    changed[:, 5:] += 1
    one, two = (cvae.negative_bound(model, part, mask, latents, has_context, noise) for part in (segments, changed))
    assert one == two
    changed[:, 4] += 1
    assert cvae.negative_bound(model, changed, mask, latents, has_context, noise) != one


def test_codes_are_drawn_with_the_deviation_that_the_encoder_gives() -> None:
    model, (states, latents, has_context, noise) = make_model(), drawn()
    last = model.encoder[-1]
    assert isinstance(last, torch.nn.Linear)
    last.weight.zero_()
    last.bias[:U], last.bias[U:] = 0.3, 2 * np.log(1.7)
    segments = torch.randn(B, H, S + A, generator=torch.Generator().manual_seed(0))
    segments[:, 0, :S] = states
    mask = torch.ones(B, H, dtype=torch.bool)
    decoded = model.decode(0.3 + 1.7 * noise, model.condition(states, latents, has_context))
    error, _ = cvae.negative_bound(model, segments, mask, latents, has_context, noise)
    assert torch.allclose(error, cvae.reconstruction(model, decoded, segments, mask))


def test_no_guide_decodes_the_code_as_it_is() -> None:
    model, context = make_model(), make_context()
    states, latents, has_context, noise = drawn()
    expected = model.decode(0.5 * noise, model.condition(model.normaliser.state(states), latents, has_context))
    assert torch.allclose(cvae.plan(model, context, states, latents, has_context, noise), expected)
    acted = cvae.act(model, context, states, latents, has_context, noise)
    assert torch.allclose(acted, expected[:, 0, S:].clamp(-1, 1))


@pytest.mark.parametrize(("scale", "size"), [("return_scale", 1.0), ("dynamics_scale", 0.01)])
def test_the_guide_raises_the_return_and_lowers_the_inconsistency(scale: str, size: float) -> None:
    context = make_context()
    arguments = drawn()
    latents = arguments[1]

    def judge(model: cvae.Model) -> torch.Tensor:
        states, actions = cvae.plan(model, context, *arguments).split([S, A], dim=-1)
        if scale == "return_scale":
            return predicted_return(context, states, actions, latents)
        return -inconsistency(context, states, actions, latents)

    assert (judge(make_model(**{scale: size})) > judge(make_model())).all()


def test_the_objective_is_that_of_the_planners_guide() -> None:
    context, latents = make_context(), drawn()[1]
    plans = torch.randn(B, H, S + A, generator=torch.Generator().manual_seed(2))
    for alpha, scaled in ((0.3, 0.7), (1.0, 0.0), (0.0, 1.0)):
        model = make_model(return_scale=alpha, dynamics_scale=scaled)
        expected = objective(context, plans, latents, torch.full((B,), alpha), torch.full((B,), scaled))
        assert torch.allclose(cvae.objective(model, context, plans, latents), expected, rtol=1e-5)


def test_travelled_coordinates_count_from_where_the_agent_is() -> None:
    model = make_model()
    model.normaliser = Normaliser(S, unbounded_dims=[1])
    states, latents, has_context, noise = drawn()
    moved = states + torch.tensor([0.0, 7.0, 0.0])
    one, two = (cvae.plan(model, make_context(), part, latents, has_context, noise) for part in (states, moved))
    assert torch.equal(one, two)
    assert not one[:, 0, 1].any()


def test_zero_shot_begins_with_the_null_condition_and_every_step_plans_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    warm_start = WarmStart.join(
        [
            draw_warm_start(source, {"expert": make_data()}, (0,), CONTEXT, torch.Generator().manual_seed(0))
            for source in ("expert", "zero_shot")
        ]
    )
    seen = []
    original = cvae.act

    def spy(model: cvae.Model, context: ContextModel, *parts: torch.Tensor) -> torch.Tensor:
        seen.append(parts[2:])
        return original(model, context, *parts)

    monkeypatch.setattr(cvae, "act", spy)
    agent = cvae.adapt(make_model(), warm_start, make_context(), torch.Generator().manual_seed(0))
    zeros = np.zeros((2, S), np.float32)
    for _ in range(2):
        actions = agent.act(zeros)
        agent.observe(zeros, actions, np.zeros(2, np.float32), zeros)
    assert [has_context.tolist() for has_context, _ in seen] == [[True, False], [True, True]]
    assert seen[0][1].shape == (1, U), "one code for all rows"
    assert not torch.equal(seen[0][1], seen[1][1])


@pytest.mark.parametrize("path", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_everything_but_the_model_is_the_planners(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with_method = tmp_path / "with_method.yaml"
    with_method.write_text(f"extends: {path.stem}\nbaselines: [cvae_planner]\n")
    params = load(with_method)
    for family in params.families:
        own, diffusion, planning = (
            params.section(name, family) for name in ("baseline.cvae_planner", "diffusion", "planning")
        )
        for key in ("qualities", "horizon", "ema_decay", "condition_dropout", "first_action_weight"):
            assert getattr(own, key) == getattr(diffusion, key), f"{family}: {key}"
        for key in ("temperature", "return_scale", "dynamics_scale"):
            assert getattr(own, key) == getattr(planning, key), f"{family}: {key}"
        assert planning.actions_per_plan == 1


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_training_minimises_the_error_plus_the_weighted_divergence(
    weight: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minimised: list[Losses] = []

    def fit_average(
        label: str, model: cvae.Model, decay: float, rate: float, steps: int, draw: Callable[[], Losses], *rest: object
    ) -> tuple[cvae.Model, list[object]]:
        minimised.append(draw())
        return model, []

    monkeypatch.setattr(cvae, "fit_average", fit_average)
    cvae.train(make_model(divergence_weight=weight), prepare(tmp_path))
    ((total, shown),) = minimised
    assert torch.equal(total, shown["loss"])
    assert float(shown["divergence"]) > 0
    assert float(total) == pytest.approx(float(shown["reconstruction"] + weight * shown["divergence"]), rel=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.25, 1.0])
def test_the_null_condition_takes_the_place_of_z_at_its_probability(
    dropout: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[torch.Tensor] = []
    bound = cvae.negative_bound

    def spy(model: cvae.Model, *parts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        given.append(parts[3])
        return bound(model, *parts)

    monkeypatch.setattr(cvae, "negative_bound", spy)
    model = make_model(condition_dropout=dropout, batch_size=4000, steps=1).requires_grad_()
    cvae.train(model, prepare(tmp_path))
    assert float(torch.cat(given).float().mean()) == pytest.approx(1 - dropout, abs=0.02)
