"""Which episodes the denoiser is trained on, and which its validation loss is of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from metadiffuser.data.windows import draw_segments
from metadiffuser.diffusion.training import train_diffusion
from tests.helpers.models import Z, make_data, make_diffusion, share_among


def test_the_validation_loss_is_of_episodes_that_are_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Tensor] = []

    def draw(rows: Tensor, horizon: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        tasks, segments, mask = draw_segments(rows, horizon, count, generator)
        drawn.append(segments.clone())
        return tasks, segments, mask

    monkeypatch.setattr("metadiffuser.diffusion.training.draw_segments", draw)
    model, data = make_diffusion(steps=1).requires_grad_(), make_data()
    generator = torch.Generator().manual_seed(0)
    train_diffusion(model, data, torch.zeros(4, 3, Z), generator, tmp_path / "d.safetensors")
    trained = model.rows(data.split_episodes()[0])
    shares = [share_among(segments, trained) for segments in drawn]
    assert shares == [0.0, 1.0], "the first draw is for the validation loss, the second for the only step"
