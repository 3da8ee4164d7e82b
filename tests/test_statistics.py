from __future__ import annotations

import math

import numpy as np
import pytest

from metadiffuser.evaluation.statistics import (
    Array,
    Bootstrap,
    difference_of_means,
    interquartile_mean,
    mean_over_tasks,
    normalised_score,
    probability_of_improvement,
)


def arrays(*strata: list[float]) -> list[Array]:
    return [np.array(stratum, float) for stratum in strata]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_normalised_score_puts_random_at_0_and_expert_at_100() -> None:
    scores = normalised_score([-20.0, -10.0, -15.0, -5.0, -25.0], -20.0, -10.0)
    assert scores.tolist() == [0.0, 100.0, 50.0, 150.0, -50.0]


def test_normalised_score_uses_each_tasks_own_anchors() -> None:
    scores = normalised_score([[5.0, 10.0], [5.0, 10.0]], [[0.0], [4.0]], [[10.0], [6.0]])
    assert scores.tolist() == [[50.0, 100.0], [50.0, 300.0]]


@pytest.mark.parametrize("expert", [-20.0, -21.0])
def test_no_score_where_the_expert_is_no_better_than_random(expert: float) -> None:
    assert math.isnan(float(normalised_score(-15.0, -20.0, expert)))


def test_every_task_weighs_the_same_however_many_runs_it_has() -> None:
    assert mean_over_tasks(arrays([0.0, 0.0, 0.0, 0.0], [10.0])) == 5.0


def test_interquartile_mean_pools_the_runs_and_drops_a_quarter_at_either_end() -> None:
    assert interquartile_mean(arrays([-1000.0, 3.0, 4.0, 1.0], [2.0, 5.0, 6.0, 1000.0])) == pytest.approx(3.5)
    assert interquartile_mean(arrays([1.0, 2.0, 6.0])) == 3.0  # too few to drop any


def test_difference_of_means() -> None:
    assert difference_of_means(arrays([1.0, 3.0], [10.0]), arrays([0.0], [4.0, 6.0])) == 3.5


def test_probability_of_improvement_counts_pairs_within_a_task_and_ties_as_half() -> None:
    # Task 1: 3 beats 1 and 2, 1 ties with 1 and loses to 2: 2.5 of 4. Task 2: always loses.
    first, second = arrays([3.0, 1.0], [0.0]), arrays([1.0, 2.0], [5.0, 6.0])
    assert probability_of_improvement(first, second) == pytest.approx((2.5 / 4 + 0.0) / 2)
    assert probability_of_improvement(second, first) == pytest.approx(1 - (2.5 / 4) / 2)


@pytest.mark.parametrize("statistic", [mean_over_tasks, interquartile_mean])
def test_statistics_take_resamples_along_leading_axes(statistic) -> None:  # type: ignore[no-untyped-def]
    many = [generator(1).normal(size=(7, 4)), generator(2).normal(size=(7, 5))]
    single = [statistic([stratum[i] for stratum in many]) for i in range(7)]
    np.testing.assert_allclose(statistic(many), single)


def test_probability_of_improvement_takes_resamples_along_leading_axes() -> None:
    first, second = [generator(1).normal(size=(7, 4))], [generator(2).normal(size=(7, 5))]
    single = [probability_of_improvement([first[0][i]], [second[0][i]]) for i in range(7)]
    np.testing.assert_allclose(probability_of_improvement(first, second), single)


def test_tasks_are_strata_so_their_differences_do_not_widen_the_interval() -> None:
    low, high = Bootstrap(0.95, 100).interval(
        mean_over_tasks, arrays([0.0, 0.0], [100.0, 100.0]), generator=generator()
    )
    assert (low, high) == (50.0, 50.0)


def test_interval_of_two_runs_is_known_exactly() -> None:
    # Resamples of (0, 1) have means 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    strata = arrays([0.0, 1.0])
    assert Bootstrap(0.95, 4000).interval(mean_over_tasks, strata, generator=generator()) == (0.0, 1.0)
    assert Bootstrap(0.3, 4000).interval(mean_over_tasks, strata, generator=generator()) == (0.5, 0.5)


def test_interval_repeats_with_the_generator_and_moves_with_it() -> None:
    strata = [generator(5).normal(size=9)]
    first, again, other = (
        Bootstrap(0.9, 200).interval(mean_over_tasks, strata, generator=generator(s)) for s in (1, 1, 2)
    )
    assert first == again != other


def test_no_interval_from_single_runs() -> None:
    low, high = Bootstrap(0.95, 100).interval(mean_over_tasks, arrays([1.0], [2.0]), generator=generator())
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_interval_covers_the_truth_as_often_as_it_says(confidence: float) -> None:
    draw, resample = generator(3), generator(4)
    hits = 0
    for _ in range(300):
        strata = [center + draw.normal(size=25) for center in (-3.0, 0.0, 3.0)]
        low, high = Bootstrap(confidence, 300).interval(mean_over_tasks, strata, generator=resample)
        hits += low <= 0.0 <= high
    assert abs(hits / 300 - confidence) < 0.07
