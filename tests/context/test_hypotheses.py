"""The training tasks' z as hypotheses: kept with the model, and weighed by what each episode shows of its own task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from metadiffuser.context.hypotheses import SMALLEST_VARIANCE, Belief, costs, spread_out
from metadiffuser.context.predictions import predictions
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import keep_hypotheses
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.windows import TaskData
from tests.helpers.models import CONTEXT, A, S, Z, make_context, make_data

TASKS = 4
SPREAD = 0.1  # standard deviation of the known model's errors


class Known(ContextModel):
    """Knows that the normalised reward is z's first entry, and that the state moves by z's second."""

    def __init__(self) -> None:
        super().__init__(S, A, CONTEXT, tasks=TASKS)
        latents = torch.zeros(TASKS, Z)
        latents[:, 0] = torch.arange(TASKS)
        latents[2:, 1] = 1.0
        self.keep_tasks(latents, torch.full((1 + S,), SPREAD**2))
        self.eval().requires_grad_(False)

    def predict_rewards(self, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        return latents[..., 0]

    def predict_changes(self, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        return latents[..., 1:2].expand(*latents.shape[:-1], S)


def rows(rewards: list[float], moves: list[float]) -> Tensor:
    """One transition of each episode (B, 2S + A + 1), with these rewards and changes of state."""
    count = len(rewards)
    states = torch.randn(count, S, generator=torch.Generator().manual_seed(0))
    paid, moved = torch.tensor(rewards)[:, None], torch.tensor(moves)[:, None]
    return torch.cat([states, torch.zeros(count, A), paid, states + moved], dim=1)


def test_the_weight_goes_to_the_task_that_explains_the_transitions() -> None:
    belief = Belief(Known(), TASKS, 3)
    _, before = belief.weights()
    assert torch.allclose(before, torch.full((3, TASKS), 1 / TASKS))
    assert torch.allclose(belief.mean()[:, 0], torch.full((3,), 1.5))
    belief.observe(rows([0.0, 2.0, 3.0], [0.0, 1.0, 1.0]))
    latents, weights = belief.weights()
    assert weights.argmax(dim=1).tolist() == [0, 2, 3]
    assert bool((weights.max(dim=1).values > 0.99).all())
    assert torch.allclose(belief.mean(), latents[0][[0, 2, 3]], atol=0.02)


def test_dynamics_tell_tasks_apart_that_rewards_do_not() -> None:
    belief = Belief(Known(), TASKS, 2)
    belief.observe(
        rows([1.5, 1.5], [0.0, 1.0])
    )  # half way between the rewards of tasks 1 and 2, which move differently
    _, weights = belief.weights()
    assert weights.argmax(dim=1).tolist() == [1, 2]


def test_every_transition_counts() -> None:
    model = Known()
    model.error_variance.fill_(4.0)
    once, often = Belief(model, TASKS, 1), Belief(model, TASKS, 1)
    once.observe(rows([0.0], [0.0]))
    for _ in range(20):
        often.observe(rows([0.0], [0.0]))
    assert 0.26 < float(once.weights()[1][0, 0]) < 0.5 < 0.9 < float(often.weights()[1][0, 0])
    log_ratio = torch.log(often.weights()[1][0, 0] / often.weights()[1][0, 1])
    assert float(log_ratio) == pytest.approx(20 * 0.5 * 1.0 / 4.0, rel=1e-4), (
        "20 errors of 1 at a variance of 4, halved"
    )


def test_the_episodes_own_z_is_one_more_hypothesis() -> None:
    belief = Belief(Known(), TASKS, 2)
    belief.observe(rows([1.5, 1.0], [0.5, 0.0]))
    own = torch.zeros(2, Z)
    own[:, 0], own[:, 1] = 1.5, 0.5
    latents, weights = belief.weights(own)
    assert latents.shape == (2, TASKS + 1, Z)
    assert float(weights[0, -1]) > 0.99, "no training task is like this one"
    assert float(weights[1, 1]) > 0.99, "and here the own z is wrong"
    assert torch.allclose(weights.sum(dim=1), torch.ones(2))


def test_an_episode_depends_on_its_own_transitions_alone() -> None:
    model = make_context()
    keep_hypotheses(model, make_data(TASKS), torch.Generator().manual_seed(0))
    together, alone = Belief(model, TASKS, 3), [Belief(model, TASKS, 1) for _ in range(3)]
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        step = torch.randn(3, 2 * S + A + 1, generator=generator)
        together.observe(step)
        for row, belief in enumerate(alone):
            belief.observe(step[row : row + 1])
    own = torch.randn(3, Z, generator=generator)
    for row, belief in enumerate(alone):
        assert torch.allclose(together.mean(own)[row], belief.mean(own[row : row + 1])[0], atol=1e-5)
    assert torch.cdist(together.mean(own), together.mean(own))[0, 1] > 1e-3


def test_a_model_keeps_the_mean_z_of_its_training_tasks_and_its_errors_with_them(tmp_path: Path) -> None:
    model, data = make_context(), make_data(TASKS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    keep_hypotheses(model, data, torch.Generator().manual_seed(0))
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"task_latents", "error_variance"}
    for task in range(TASKS):
        everything = data.transitions[task].flatten(0, 1)[None]
        whole = model.encode(data.transitions[task], torch.ones(data.transitions[task].shape[:2], dtype=torch.bool))
        apart = torch.cdist(model.task_latents, whole.mean(dim=0, keepdim=True))[:, 0]
        assert int(apart.argmin()) == task
        rewards, changes, reward, change = predictions(model, model.task_latents[task : task + 1], everything)
        found = costs(model, model.task_latents[None, task : task + 1], everything)
        variance = model.error_variance.clamp_min(1e-3)
        expected = (rewards - reward).square() / variance[0] + ((changes - change).square() / variance[1:]).mean(dim=-1)
        assert float(found) == pytest.approx(float(expected.sum()), rel=1e-4)
    model.save(tmp_path / "model.safetensors", {})
    loaded, _ = ContextModel.load(tmp_path / "model.safetensors")
    assert torch.equal(loaded.task_latents, model.task_latents)
    assert torch.equal(loaded.error_variance, model.error_variance)


def test_fewer_hypotheses_than_tasks_cover_them() -> None:
    line = torch.tensor([[0.0], [0.1], [0.2], [5.0], [9.9], [10.0]])
    assert spread_out(line, 3).flatten().tolist() == [0.0, 5.0, 10.0]
    assert spread_out(line, 1).flatten().tolist() == [5.0]
    assert torch.equal(spread_out(line, 6), line)
    assert torch.equal(spread_out(line, 60), line)
    same = torch.ones(4, 2)
    assert len(spread_out(same, 2)) == 2


def test_what_a_model_keeps_of_its_errors_are_mean_squares_the_rewards_first() -> None:
    model = ContextModel(S, A, CONTEXT).eval().requires_grad_(False)
    for part in (model.reward_model, model.dynamics_model):  # which predict zero
        for parameter in part.parameters():
            parameter.zero_()
    states = np.arange(6, dtype=np.float32)[None, :, None] * np.array([0.0, 1.0, 2.0], np.float32)
    steady = Episodes(states, np.zeros((1, 5, A), np.float32), np.full((1, 5), 3.0, np.float32))
    keep_hypotheses(model, TaskData.stack({"expert": {0: steady}}, [0]), torch.Generator().manual_seed(0))
    assert model.error_variance.tolist() == pytest.approx([9.0, 0.0, 1.0, 4.0], rel=1e-5)


def test_models_that_never_erred_are_trusted_to_three_percent_of_a_deviation_and_no_further() -> None:
    model = Known()
    model.error_variance.zero_()
    found = costs(model, model.task_latents[None, :1], rows([0.1], [0.0])[:, None])
    assert float(found) == pytest.approx(0.1**2 / SMALLEST_VARIANCE, rel=1e-3)
