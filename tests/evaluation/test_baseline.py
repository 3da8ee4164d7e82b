"""The evaluation of a baseline: whose noise it is played with."""

from __future__ import annotations

from typing import Any

import torch

from metadiffuser.baselines import get_method
from metadiffuser.baselines.shared.interface import Sizes
from metadiffuser.config.loading import load
from metadiffuser.evaluation.baseline import evaluate_baseline
from tests.conftest import ROOT
from tests.evaluation.test_evaluate_stage import FAMILY, make_setup, models
from tests.helpers.models import Z


def test_a_training_seed_is_played_with_noise_of_its_own_and_each_time_with_the_same() -> None:
    method, setup, context = get_method("bc"), make_setup(), models()[1]
    section: Any = load(ROOT / "presets" / "smoke.yaml").baseline["bc"].model_copy(update={"temperature": 1.0})
    sizes = Sizes(FAMILY.observation_size, FAMILY.action_size, Z, FAMILY.episode_length)
    torch.manual_seed(0)
    model = method.Model(sizes, section).eval().requires_grad_(False)

    def played(seed: str) -> list[Any]:
        found, _ = evaluate_baseline("bc", method, model, context, ["expert"], setup, setup, seed)
        return [cell["returns"] for cell in (*found["cells"], *found["training_tasks"])]

    first, again, other = played("0"), played("0"), played("1")
    assert first == again
    assert [one == two for one, two in zip(first, other, strict=True)] == [False, False]
    assert first[0] != first[1], "training tasks have a stream of their own"
