"""What Prompt-DT and Meta-DT are trained on: scales of returns, prompts with steps missing, z of other episodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from metadiffuser.baselines import meta_dt
from metadiffuser.baselines.shared import prompting
from metadiffuser.baselines.shared.interface import Training
from metadiffuser.baselines.shared.prompting import INCOMPLETE, REACH, returns_to_go
from metadiffuser.baselines.shared.transformer import PromptedModel, Steps
from tests.baselines.test_baselines import prepare
from tests.baselines.test_prompting import METHODS, P, build, some_steps

IMITATED = "medium"  # contexts are of expert data


@dataclass(frozen=True)
class Trained:
    """A model after one step, its data, and the prompts and windows that it was given."""

    model: PromptedModel
    training: Training
    prompts: list[Steps]
    windows: list[Steps]


def train(method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    model, training = build(method).requires_grad_(True), prepare(folder)
    model.config = model.config.model_copy(update={"steps": 1, "batch_size": 256, "qualities": [IMITATED]})
    found, loss = Trained(model, training, [], []), prompting.prompted_loss

    def noted(model: PromptedModel, prompt: Steps, window: Steps, targets: Tensor) -> tuple[Tensor, Tensor]:
        found.prompts.append(prompt)
        found.windows.append(window)
        return loss(model, prompt, window, targets)

    monkeypatch.setattr(prompting, "prompted_loss", noted)
    METHODS[method].train(model, training)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_returns_to_go_are_scaled_by_the_episodes_of_contexts_and_targets_by_the_imitated_ones(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = train(method, tmp_path, monkeypatch)
    returns = returns_to_go(found.training.contexts().rewards)
    within_reach = found.training.pool([IMITATED]).rewards.sum(dim=-1).quantile(REACH, dim=1)
    for name, values in (("return", returns), ("target", within_reach)):
        for part, expected in (("mean", values.mean()), ("std", values.std(correction=0))):
            assert getattr(found.model, f"{name}_{part}").item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_share_of_the_prompts_that_are_trained_on_lacks_steps(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for prompt in train(method, tmp_path, monkeypatch).prompts:
        assert (~prompt.mask.all(dim=1)).float().mean() == pytest.approx(INCOMPLETE, abs=0.1)


def test_half_of_the_windows_that_are_trained_on_have_z_of_an_episode_that_contexts_are_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = train("meta_dt", tmp_path, monkeypatch)
    assert isinstance(found.model, meta_dt.Model)
    contexts, imitated = found.training.contexts(), found.training.pool([IMITATED])
    others, own = (meta_dt.describe(found.model, data.transitions)[:, :, 2:] for data in (contexts, imitated))
    for window in found.windows:
        last = window.latents[window.times[:, -1] >= 2, -1]  # z of an episode's beginning is of zeros
        swapped, kept = ((last[:, None] - z.flatten(0, 2)).abs().amax(-1).amin(-1) < 1e-5 for z in (others, own))
        assert torch.equal(swapped, ~kept)
        assert swapped.float().mean() == pytest.approx(meta_dt.SWAPPED, abs=0.1)


@pytest.mark.parametrize("shift", [0.5, -0.2])
def test_a_shift_of_the_target_is_in_deviations_of_returns_to_go(shift: float) -> None:
    model, prompt = build("prompt_dt"), some_steps(P)
    model.return_std.fill_(3.0)
    model.target_std.fill_(2.0)
    promised = model.targets(prompt)
    model.config = model.config.model_copy(update={"target_shift": shift})
    assert torch.allclose(model.targets(prompt) - promised, torch.tensor(3.0 * shift), atol=1e-5)
