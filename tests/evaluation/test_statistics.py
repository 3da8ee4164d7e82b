from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from metadiffuser.evaluation.statistics import (
    Array,
    Bootstrap,
    difference_of_means,
    interquartile_mean,
    mean_over_tasks,
    normalised_score,
    performance_profile,
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


def test_performance_profile_is_the_share_of_runs_above_each_threshold() -> None:
    strata = arrays([1.0, 3.0], [2.0, 2.0, 5.0, 9.0])
    shares = performance_profile(strata, np.array([0.0, 2.0, 4.0, 9.0]))
    assert shares.tolist() == [1.0, 0.5, (0.0 + 0.5) / 2, 0.0]


@pytest.mark.parametrize("statistic", [mean_over_tasks, interquartile_mean])
def test_statistics_take_resamples_along_leading_axes(statistic) -> None:  # type: ignore[no-untyped-def]
    many = [generator(1).normal(size=(7, 4)), generator(2).normal(size=(7, 5))]
    single = [statistic([stratum[i] for stratum in many]) for i in range(7)]
    np.testing.assert_allclose(statistic(many), single)


def test_probability_of_improvement_takes_resamples_along_leading_axes() -> None:
    first, second = [generator(1).normal(size=(7, 4))], [generator(2).normal(size=(7, 5))]
    single = [probability_of_improvement([first[0][i]], [second[0][i]]) for i in range(7)]
    np.testing.assert_allclose(probability_of_improvement(first, second), single)


def test_performance_profile_takes_resamples_along_leading_axes() -> None:
    many, thresholds = [generator(1).normal(size=(7, 4)), generator(2).normal(size=(7, 5))], np.array([-0.5, 0.0, 1.0])
    single = [performance_profile([stratum[i] for stratum in many], thresholds) for i in range(7)]
    np.testing.assert_allclose(performance_profile(many, thresholds), single)


class TestAgainstScipy:
    """SciPy's functions are those that the field's own library for such statistics is built on."""

    def test_interquartile_mean(self) -> None:
        for size in (1, 3, 4, 7, 20, 21):
            strata = [generator(size).normal(size=size), generator(size + 1).normal(size=size)]
            assert interquartile_mean(strata) == pytest.approx(stats.trim_mean(np.concatenate(strata), 0.25))

    def test_probability_of_improvement(self) -> None:
        first, second = arrays([1.0, 2.0, 2.0, 7.0], [3.0, -1.0]), arrays([2.0, 0.0, 5.0], [3.0, 3.0, 8.0, -2.0])
        pairs = zip(first, second, strict=True)
        wins = [stats.mannwhitneyu(ours, theirs).statistic / (len(ours) * len(theirs)) for ours, theirs in pairs]
        assert probability_of_improvement(first, second) == pytest.approx(np.mean(wins))

    def test_performance_profile(self) -> None:
        strata = [generator(1).normal(size=6).round(1), generator(2).normal(size=6).round(1)]
        thresholds = np.array([-3.0, strata[0][0], 0.0, strata[1][3], 3.0])
        expected = stats.ecdf(np.concatenate(strata)).sf.evaluate(thresholds)
        np.testing.assert_allclose(performance_profile(strata, thresholds), expected)

    @pytest.mark.parametrize("confidence", [0.8, 0.95])
    def test_stratified_interval(self, confidence: float) -> None:
        strata = arrays([0.0, 1.0, 4.0, 9.0], [100.0, 103.0, 101.0], [-5.0, 5.0])

        def mean(*groups: Array, axis: int) -> Array:
            return np.mean([envs.mean(axis=axis) for envs in groups], axis=0)

        found = stats.bootstrap(
            strata, mean, n_resamples=8000, confidence_level=confidence, method="percentile", rng=generator(5)
        ).confidence_interval
        ours = Bootstrap(confidence, 8000).interval(mean_over_tasks, strata, generator=generator(6))
        assert ours == pytest.approx((found.low, found.high), abs=0.3)
        assert ours[1] - ours[0] > 2.0


def test_a_band_is_the_interval_at_every_threshold() -> None:
    strata, thresholds = [generator(5).normal(size=9), generator(6).normal(size=8)], np.array([-1.0, 0.0, 2.0])
    bootstrap = Bootstrap(0.9, 300)
    low, high = bootstrap.band(lambda s: performance_profile(s, thresholds), strata, generator=generator())
    for index, threshold in enumerate(thresholds):
        alone = bootstrap.interval(
            lambda s, at=threshold: performance_profile(s, np.array([at]))[..., 0], strata, generator=generator()
        )
        assert (low[index], high[index]) == alone
    single = bootstrap.band(lambda s: performance_profile(s, thresholds), arrays([1.0]), generator=generator())
    assert np.isnan(single).all()
    assert single[0].shape == (3,)


def test_crossed_means_draw_tasks_and_seeds() -> None:
    bootstrap = Bootstrap(0.95, 4000)
    by_task, by_seed = np.array([[0.0, 1.0]]), np.array([[0.0], [1.0]])
    for values in (by_task, by_seed, np.repeat(by_task, 3, axis=0), np.repeat(by_seed, 3, axis=1)):
        means, counts = np.unique(bootstrap.crossed_means(values, generator()), return_counts=True)
        assert means.tolist() == [0.0, 0.5, 1.0], "all seeds of a resample share its tasks, and the other way round"
        assert (counts / 4000).tolist() == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
        assert bootstrap.bounds(bootstrap.crossed_means(values, generator())) == (0.0, 1.0)
    assert bootstrap.crossed_means(np.full((1, 1), 3.0), generator()).tolist() == [3.0] * 4000


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
