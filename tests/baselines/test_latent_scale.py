"""z of the methods with an encoder of their own has zero mean and unit deviation over the training tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metadiffuser.baselines.shared.encoded import EncodedModel, standardise_latents
from tests.baselines.test_baselines import build, prepare


@pytest.mark.parametrize("method", ["focal", "corro"])
def test_standardised_latents_have_zero_mean_and_unit_deviation(method: str, tmp_path: Path) -> None:
    model = build(method)
    assert isinstance(model, EncodedModel)
    latents = standardise_latents(model, prepare(tmp_path)).flatten(0, 1)
    torch.testing.assert_close(latents.mean(0), torch.zeros(latents.shape[1]), atol=1e-4, rtol=0)
    spread = latents.std(0)
    torch.testing.assert_close(spread, torch.ones_like(spread), atol=1e-3, rtol=0)
