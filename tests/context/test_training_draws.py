"""What the training of a representation draws, and what its learning curve says of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metadiffuser.config.schema import Representation
from metadiffuser.context import pretraining, training
from metadiffuser.context.corro import NEGATIVES, Relabeller, contrastive_loss
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import prediction_losses, task_latents, train_context
from metadiffuser.data.normaliser import Normaliser
from metadiffuser.data.windows import draw_contexts
from tests.helpers.models import CONTEXT, A, S, Z, make_context, make_data


def train(representation: Representation, work: Path, **changes: object) -> list[dict[str, float]]:
    """The learning curve of one step."""
    torch.manual_seed(0)
    model = ContextModel(S, A, CONTEXT.model_copy(update={"steps": 1, **changes}), (), representation, 1)
    return train_context(model, make_data(), torch.Generator().manual_seed(0), work / "c.safetensors")


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[tuple[Tensor, Tensor]]]:
    """Keep the contexts that a module draws, and their masks."""

    def keep(module: Any) -> list[tuple[Tensor, Tensor]]:
        drawn: list[tuple[Tensor, Tensor]] = []

        def draw(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
            drawn.append(draw_contexts(*arguments, **options))
            return drawn[-1]

        monkeypatch.setattr(module, "draw_contexts", draw)
        return drawn

    return keep


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, ...]]:
    """The z that predictions are made with, and the losses of reward and dynamics."""
    found: list[tuple[Tensor, ...]] = []

    def losses(model: ContextModel, latents: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        both = prediction_losses(model, latents, targets)
        found.append((latents.detach(), *(loss.detach() for loss in both)))
        return both

    monkeypatch.setattr(training, "prediction_losses", losses)
    return found


@pytest.mark.parametrize("representation", ["generalised", "focal", "corro"])
def test_where_contexts_are_stretches_training_draws_stretches_alone(
    representation: Representation, tmp_path: Path, contexts: Any
) -> None:
    drawn = [contexts(module) for module in (training, pretraining)]
    train(representation, tmp_path, window="consecutive")
    assert [len(found) > 0 for found in drawn] == [True, representation != "generalised"]
    for rows, _ in (*drawn[0], *drawn[1]):
        assert torch.equal(rows[:, 1:, :S], rows[:, :-1, -S:]), "each transition starts where the last one ended"


@pytest.mark.parametrize(("representation", "expected"), [("focal", [1, 0]), ("corro", [1, 1, 0, 0])])
def test_the_validation_loss_of_an_encoder_is_of_episodes_that_it_is_not_trained_on(
    representation: Representation, expected: list[float], tmp_path: Path, contexts: Any
) -> None:
    drawn = contexts(pretraining)
    train(representation, tmp_path)
    known = make_data().split_episodes()[0].transitions.flatten(0, 2)
    shares = [float((rows[..., None, :] == known).all(-1).any(-1).float().mean()) for rows, _ in drawn]
    assert shares == expected, "contexts of the only step, then those of the validation loss"


def test_the_denoiser_is_conditioned_on_contexts_of_any_length(contexts: Any) -> None:
    drawn = contexts(training)
    assert task_latents(make_context(), make_data(), torch.Generator().manual_seed(0)).shape == (4, 256, Z)
    ((_, mask),) = drawn
    assert mask.sum(dim=1).unique().tolist() == [1, 2, 3, 4, 5, 6], "zero-shot knows little at first"


def test_the_curve_does_not_mix_up_the_losses_of_reward_and_dynamics(
    tmp_path: Path, predicted: list[tuple[Tensor, ...]]
) -> None:
    (record,) = train("generalised", tmp_path)
    _, reward, dynamics = predicted[0]
    assert float(reward) != pytest.approx(float(dynamics), rel=0.01)
    assert (record["reward_loss"], record["dynamics_loss"]) == pytest.approx((float(reward), float(dynamics)))
    assert record["loss"] == pytest.approx(float(reward + dynamics))


def test_a_variational_z_is_drawn_with_its_own_deviation(tmp_path: Path, predicted: list[tuple[Tensor, ...]]) -> None:
    torch.manual_seed(0)
    changes = {"steps": 1, "latent": "variational", "task_batch": 2000}
    model = ContextModel(S, A, CONTEXT.model_copy(update=changes))
    assert model.encoder is not None
    last = model.encoder.head[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():  # mean 3 and variance 1 / 4, whatever the context
        last.weight.zero_()
        last.bias.copy_(torch.tensor([3.0] * Z + [math.log(0.25)] * Z))
    train_context(model, make_data(), torch.Generator().manual_seed(0), tmp_path / "c.safetensors")
    latents = predicted[0][0]
    assert (float(latents.mean()), float(latents.std())) == pytest.approx((3.0, 0.5), rel=0.05)


def test_a_relabeller_loses_nothing_on_what_it_labelled_itself() -> None:
    torch.manual_seed(0)
    data, relabeller = make_data(), Relabeller(S, A, Z, [8], 4)
    normaliser = Normaliser(S).fit(data.observations, data.rewards)
    rows, tasks = data.transitions[:, 0], torch.arange(4)
    own = relabeller.relabel(rows, tasks, normaliser)
    assert relabeller.losses(own, tasks, normaliser).item() < 1e-6, "labels are in the environment's units"
    assert relabeller.losses(rows, tasks, normaliser).item() > 0.1


def test_every_labelling_of_a_context_shows_the_same_of_its_transitions() -> None:
    rows = torch.randn(5, 6, 2 * S + A + 1, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(6) < torch.arange(1, 6)[:, None]
    shown: list[tuple[Tensor, Tensor]] = []

    def encode(contexts: Tensor, counted: Tensor) -> Tensor:
        shown.append((contexts, counted))
        return torch.zeros(len(contexts), Z)

    relabeller, generator = Relabeller(S, A, Z, [8], 3), torch.Generator().manual_seed(0)
    contrastive_loss(encode, relabeller, Normaliser(S), lambda _: (rows, mask), 5, 3, generator)
    labelled, counted = shown[0]
    assert len(labelled) == 5 * (1 + NEGATIVES)
    source = (labelled[:, None, 0, :S] == rows[:, 0, :S]).all(dim=-1).int().argmax(dim=1)
    assert torch.equal(counted, mask[source])
