"""The samplers' tables: against the exact solution of a Gaussian, and against the schedulers of diffusers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from metadiffuser.diffusion.schedule import ReverseStep, reverse_steps
from tests.diffusion.record_samplers import TOTAL, prediction

RECORDED = json.loads((Path(__file__).parent / "diffusers_samplers.json").read_text())


def follow(table: list[ReverseStep], x: float, predict: Callable[[ReverseStep, float], float]) -> list[float]:
    """Return x after each step of a table, without noise; ``predict`` maps (step, x) to x0.

    The first step is of first order, also where the table begins inside another: its prediction stands for the earlier.
    """
    path: list[float] = []
    earlier = 0.0
    for step in table:
        clean = predict(step, x)
        earlier = earlier if path else clean
        x = step.clean_weight * clean + step.noisy_weight * x + step.earlier_weight * earlier
        earlier = clean
        path.append(x)
    return path


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpm_solver", 2)])
@pytest.mark.parametrize(("mean", "deviation"), [(0.7, 0.5), (0.3, 0.8), (1.0, 1.5)])
def test_the_error_falls_with_the_order_of_the_sampler(sampler: str, order: int, mean: float, deviation: float) -> None:
    """Of normally distributed data both E[x0 | x_k] and the flow that the samplers approximate are known."""

    def spread(step: ReverseStep) -> float:
        return math.hypot(step.signal * deviation, step.noise)

    def exact(step: ReverseStep) -> float:
        return step.signal * mean + spread(step)

    def predict(step: ReverseStep, x: float) -> float:
        return mean + deviation**2 * step.signal * (x - step.signal * mean) / spread(step) ** 2

    errors = []
    for count in (16, 32, 64, 128):
        table = reverse_steps(1000, sampler, count)[count // 4 :]  # k from 750 down to 250
        end = follow(table[: count // 2], exact(table[0]), predict)[-1]
        errors.append(abs(end - exact(table[count // 2])))
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert orders == pytest.approx([order] * 3, abs=0.25)


@pytest.mark.parametrize("name", sorted(RECORDED["runs"]))
def test_deterministic_samplers_agree_with_diffusers(name: str) -> None:
    sampler, count = name.rsplit("-", 1)
    recorded = RECORDED["runs"][name]
    table = reverse_steps(TOTAL, sampler, int(count))
    assert [step.step for step in table] == recorded["steps"]
    for column, start in enumerate(RECORDED["start"]):
        path = follow(table, start, lambda step, x: prediction(step.step, x))
        assert path == pytest.approx([row[column] for row in recorded["path"]], rel=1e-5, abs=1e-5)


def test_only_the_multistep_sampler_looks_back() -> None:
    for sampler in ("ddpm", "ddim"):
        assert all(step.earlier_weight == 0.0 for step in reverse_steps(20, sampler, 20))
    weights = [step.earlier_weight for step in reverse_steps(20, "dpm_solver", 20)]
    assert weights[0] == weights[-1] == 0.0
    assert all(weight < 0 for weight in weights[1:-1])
