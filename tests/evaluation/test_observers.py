"""What is measured of plans while they are executed, against numbers a hand computes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from metadiffuser.context.objective import predicted_return
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.episodes import Floats
from metadiffuser.evaluation.observers import Film, PlanErrors, PredictedReturns, steps_ahead
from metadiffuser.evaluation.rollout import BatchedEnvs
from metadiffuser.planning.agent import PlanningAgent
from metadiffuser.planning.planner import Plan
from tests.helpers.models import A, S, make_context

STEPS, HORIZON, ROWS = 9, 4, 2


def executed() -> Floats:
    """States (STEPS + 1, ROWS, S) of which no two are alike."""
    return np.arange((STEPS + 1) * ROWS * S, dtype=np.float32).reshape(STEPS + 1, ROWS, S)


def rewards() -> Floats:
    return (10.0 ** np.arange(STEPS)[:, None] * [1, 2]).astype(np.float32)


def watch(observer: Any, interval: int, wrong: float = 0.0) -> None:
    """Let ``observer`` watch an agent that plans every ``interval`` steps what comes true, but for ``wrong``."""
    states = np.concatenate([executed(), np.repeat(executed()[-1:], HORIZON, axis=0)])
    for step in range(STEPS):
        if step % interval == 0:
            ahead = torch.from_numpy(states[step : step + HORIZON]).transpose(0, 1).clone()
            ahead[:, 1:] += wrong
            actions = torch.full((ROWS, HORIZON, A), 0.1 * step)
            AGENT.plan = Plan(torch.cat([0.01 * ahead, actions], dim=-1), ahead, actions)
        observer.decided(step)
        observer.stepped(step, executed()[step + 1], rewards()[step])


AGENT = cast(PlanningAgent, SimpleNamespace(plan=None, latents=torch.randn(ROWS, 4)))


def test_errors_are_measured_at_the_next_step_at_five_and_at_the_end_of_the_plan() -> None:
    assert steps_ahead(16) == [1, 5, 15]
    assert steps_ahead(8) == [1, 5, 7]
    assert steps_ahead(4) == [1, 3]


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_plans_that_come_true_have_no_error_however_long_they_stay_in_force(interval: int) -> None:
    errors = PlanErrors(AGENT, [1, 3], np.ones(S, np.float32))
    watch(errors, interval)
    assert {ahead: values.tolist() for ahead, values in errors.mean_squares().items()} == {1: [0, 0], 3: [0, 0]}


def test_errors_are_in_units_of_the_scale_and_kept_by_episode() -> None:
    errors = PlanErrors(AGENT, [1, 3], np.array([1, 2, 4], np.float32))
    watch(errors, 1, wrong=2.0)
    expected = np.mean([4.0, 1.0, 0.25])
    assert {ahead: values.tolist() for ahead, values in errors.mean_squares().items()} == {
        1: pytest.approx([expected] * ROWS),
        3: pytest.approx([expected] * ROWS),
    }


def test_steps_that_no_decision_reaches_have_no_error() -> None:
    errors = PlanErrors(AGENT, [1, 3], np.ones(S, np.float32))
    watch(errors, 7)  # plans at 0 and at 7: the second ends after the episode
    assert list(errors.mean_squares()) == [1, 3]
    lonely = PlanErrors(AGENT, [HORIZON - 1], np.ones(S, np.float32))
    AGENT.plan = Plan(torch.zeros(ROWS, HORIZON, S + A), torch.zeros(ROWS, HORIZON, S), torch.zeros(ROWS, HORIZON, A))
    lonely.decided(0)
    lonely.stepped(0, executed()[1], rewards()[0])
    assert lonely.mean_squares() == {}


@pytest.mark.parametrize("interval", [1, 4])
def test_predicted_return_is_that_of_the_guide_in_units_of_reward(interval: int) -> None:
    model: ContextModel = make_context()
    promises = PredictedReturns(AGENT, model, HORIZON, STEPS)
    made: list[torch.Tensor] = []

    class Both:
        """Passes everything on, and keeps the plans that end within the episode."""

        def decided(self, step: int) -> None:
            assert AGENT.plan is not None
            if step % interval == 0 and step + HORIZON <= STEPS:
                made.append(AGENT.plan.segments)
            promises.decided(step)

        def stepped(self, step: int, observations: Floats, paid: Floats) -> None:
            promises.stepped(step, observations, paid)

    watch(Both(), interval)
    means = promises.means()
    assert means is not None
    starts = range(0, STEPS - HORIZON + 1, interval)
    assert len(made) == len(starts)
    normalised = [predicted_return(model, plan[..., :S], plan[..., S:], AGENT.latents) for plan in made]
    std, mean = float(model.normaliser.reward_std), float(model.normaliser.reward_mean)
    expected = np.mean([part.numpy() * std + HORIZON * mean for part in normalised], axis=0)
    np.testing.assert_allclose(means[0], expected, rtol=1e-4)
    received = np.mean([rewards()[start : start + HORIZON].sum(axis=0) for start in starts], axis=0)
    np.testing.assert_allclose(means[1], received)


def test_no_promise_where_every_plan_reaches_beyond_the_end() -> None:
    promises = PredictedReturns(AGENT, make_context(), HORIZON, 3)
    watch(promises, 5)
    assert promises.means() is None


def test_a_film_keeps_the_rows_shown_and_when_their_plans_were_made() -> None:
    positions = [np.array([[step] * 5, [step + 0.5] * 5], np.float32) for step in range(STEPS + 1)]
    envs = SimpleNamespace(positions=positions[0])
    film = Film(AGENT, cast(BatchedEnvs, envs), [1])

    class Moving:
        """Moves the envs as the environments would."""

        def decided(self, step: int) -> None:
            film.decided(step)

        def stepped(self, step: int, observations: Floats, paid: Floats) -> None:
            envs.positions = positions[step + 1]
            film.stepped(step, observations, paid)

    watch(Moving(), 2)
    places, plans, made = film.arrays()
    assert places.shape == (1, STEPS + 1, 5)
    assert places[0, :, 0].tolist() == [step + 0.5 for step in range(STEPS + 1)]
    assert made.tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8]
    assert plans.shape == (1, STEPS, HORIZON, S)
    assert np.array_equal(plans[0, :, 0], executed()[made, 1])
