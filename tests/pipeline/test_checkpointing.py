"""Checkpoints of training: whole, in order, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from metadiffuser.checkpointing import TrainingState


def make_state(seed: int) -> TrainingState:
    torch.manual_seed(seed)
    module = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    arrays = {"flags": np.array([True, False]), "replay": np.arange(4) + float(seed)}
    return TrainingState({"module": module}, {"adam": optimiser}, {"noise": np.random.default_rng(seed)}, arrays)


def test_records_come_back_in_their_order(tmp_path: Path) -> None:
    path, records = tmp_path / "state.safetensors", [{"step": 1.0, "loss": 0.5, "entropy": 0.1}]
    make_state(0).save(path, 7, records, note="x")
    step, found, extra = make_state(1).load(path)
    assert (step, found, extra) == (7, records, {"note": "x"})
    assert [list(record) for record in found] == [["step", "loss", "entropy"]]


def test_a_flipped_bit_anywhere_in_the_weights_starts_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.safetensors"
    make_state(0).save(path, 7, [])
    whole = path.read_bytes()
    start = int.from_bytes(whole[:8], "little") + 8
    for position in range(start, len(whole), 5):
        content = bytearray(whole)
        content[position] ^= 1
        path.write_bytes(content)
        assert make_state(1).load(path) == (0, [], {})
        assert not path.exists()
        assert f"{path}: damaged" in caplog.messages[-1]
