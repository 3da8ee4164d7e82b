from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from metadiffuser.evaluation import statistics
from metadiffuser.evaluation.statistics import (
    Array,
    Bootstrap,
    holm,
    interquartile_mean,
    mean_over_tasks,
    normalised_score,
    p_value,
    pair_means,
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


def test_interquartile_mean_drops_a_quarter_at_either_end() -> None:
    assert interquartile_mean([-1000.0, 3.0, 4.0, 1.0, 2.0, 5.0, 6.0, 1000.0]) == pytest.approx(3.5)
    assert interquartile_mean([1.0, 2.0, 6.0]) == 3.0  # too few to drop any


def test_probability_of_improvement_counts_pairs_within_a_task_and_ties_as_half() -> None:
    # Task 1: 3 beats 1 and 2, 1 ties with 1 and loses to 2: 2.5 of 4. Task 2: always loses.
    first, second = arrays([3.0, 1.0], [0.0]), arrays([1.0, 2.0], [5.0, 6.0])
    assert probability_of_improvement(first, second) == pytest.approx((2.5 / 4 + 0.0) / 2)
    assert probability_of_improvement(second, first) == pytest.approx(1 - (2.5 / 4) / 2)


def test_mean_over_tasks_takes_resamples_along_leading_axes() -> None:
    many = [generator(1).normal(size=(7, 4)), generator(2).normal(size=(7, 5))]
    single = [mean_over_tasks([stratum[i] for stratum in many]) for i in range(7)]
    np.testing.assert_allclose(mean_over_tasks(many), single)


class TestAgainstScipy:
    """SciPy's functions are those that the field's own library for such statistics is built on."""

    def test_interquartile_mean(self) -> None:
        for size in (1, 3, 4, 7, 20, 21):
            strata = [generator(size).normal(size=size), generator(size + 1).normal(size=size)]
            assert interquartile_mean(np.concatenate(strata)) == pytest.approx(
                stats.trim_mean(np.concatenate(strata), 0.25)
            )

    def test_probability_of_improvement(self) -> None:
        first, second = arrays([1.0, 2.0, 2.0, 7.0], [3.0, -1.0]), arrays([2.0, 0.0, 5.0], [3.0, 3.0, 8.0, -2.0])
        pairs = zip(first, second, strict=True)
        wins = [stats.mannwhitneyu(ours, theirs).statistic / (len(ours) * len(theirs)) for ours, theirs in pairs]
        assert probability_of_improvement(first, second) == pytest.approx(np.mean(wins))

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


def test_pair_means_average_the_episodes_of_a_seed_and_task() -> None:
    counts = np.array([[1, 2], [3, 1]])
    values = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [3.0, 0.0], [3.0, 0.0], [6.0, 3.0], [9.0, 5.0]])
    assert pair_means(values, counts)[..., 0].tolist() == [[1.0, 3.0], [4.0, 9.0]]
    assert pair_means(values, counts)[..., 1].tolist() == [[10.0, 30.0], [1.0, 5.0]]


def resampled(values: list[float], counts: list[list[int]], samples: int = 6000, keep_tasks: bool = False) -> Array:
    """Resampled means (M,) of one cell."""
    column = np.array(values, float)[:, None]
    return Bootstrap(0.9, samples).resampled_means(column, np.array(counts), generator(7), keep_tasks)[:, 0]


class TestHierarchicalBootstrap:
    @pytest.mark.parametrize("counts", [[[1, 1]], [[1], [1]], [[2]]], ids=["tasks", "seeds", "episodes"])
    def test_each_level_is_drawn_with_replacement(self, counts: list[list[int]]) -> None:
        means, times = np.unique(resampled([0.0, 1.0], counts), return_counts=True)
        assert means.tolist() == [0.0, 0.5, 1.0]
        assert (times / 6000).tolist() == pytest.approx([0.25, 0.5, 0.25], abs=0.03)

    def test_all_seeds_of_a_resample_play_the_same_tasks(self) -> None:
        means, times = np.unique(resampled([0.0, 1.0, 0.0, 1.0], [[1, 1], [1, 1]]), return_counts=True)
        assert means.tolist() == [0.0, 0.5, 1.0], "a quarter and three quarters need a task of each seed's own"
        assert (times / 6000).tolist() == pytest.approx([0.25, 0.5, 0.25], abs=0.03)

    def test_the_episodes_of_each_drawn_pair_are_drawn_by_themselves(self) -> None:
        means, times = np.unique(resampled([0.0, 1.0, 0.0, 1.0], [[2, 2]]), return_counts=True)
        assert means.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
        assert (times / 6000).tolist() == pytest.approx([1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16], abs=0.03)

    def test_tasks_can_be_kept(self) -> None:
        assert set(resampled([0.0, 10.0, 1.0, 11.0], [[1, 1], [1, 1]], keep_tasks=True)) == {5.0, 5.5, 6.0}

    def test_pairs_weigh_the_same_however_many_episodes_they_have(self) -> None:
        means = resampled([0.0, 1.0, 1.0, 1.0], [[1, 3]], keep_tasks=True)
        assert set(np.round(means, 12)) == {0.5}
        few = resampled([5.0, 0.0, 3.0], [[1, 2]], keep_tasks=True)
        assert set(np.round(few, 12)) == {2.5, 3.25, 4.0}

    @pytest.mark.parametrize("counts", [[[4, 4, 4], [4, 4, 4]], [[4, 2, 3], [1, 4, 2]]], ids=["even", "uneven"])
    def test_it_is_what_loops_over_seeds_tasks_and_episodes_give(self, counts: list[list[int]]) -> None:
        values = generator(1).normal(size=sum(map(sum, counts))).cumsum()
        parts = np.split(values, np.cumsum(np.ravel(counts))[:-1])
        draw, expected = generator(2), []
        for _ in range(6000):
            tasks = draw.integers(0, 3, 3)
            chosen = [parts[3 * seed + task] for seed in draw.integers(0, 2, 2) for task in tasks]
            expected.append(np.mean([draw.choice(part, len(part)).mean() for part in chosen]))
        assert stats.ks_2samp(resampled(list(values), counts), expected).statistic < 0.04

    def test_cells_are_resampled_alike_so_that_their_difference_is_paired(self) -> None:
        values = generator(1).normal(size=(24, 1)) + np.array([[0.0, 2.0]])
        means = Bootstrap(0.9, 100).resampled_means(values, np.full((2, 3), 4), generator())
        np.testing.assert_allclose(means[:, 1] - means[:, 0], 2.0)

    def test_it_repeats_with_the_generator_and_moves_with_it(self) -> None:
        values, counts = generator(5).normal(size=(12, 1)), np.full((2, 3), 2)
        first, again, other = (
            Bootstrap(0.9, 50).resampled_means(values, counts, generator(seed)).tolist() for seed in (1, 1, 2)
        )
        assert first == again != other

    def test_chunks_do_not_show(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(statistics, "CHUNK", 7)
        assert len(resampled([0.0, 1.0], [[1, 1]], 100)) == 100
        assert set(resampled([0.0, 1.0], [[1, 1]], 100)) == {0.0, 0.5, 1.0}

    def test_the_bounds_are_quantiles_of_each_column(self) -> None:
        low, high = Bootstrap(0.8, 1).bounds(np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [10.0, 5.0]]))
        assert low.tolist() == pytest.approx([0.4, 5.0])
        assert high.tolist() == pytest.approx([7.2, 5.0])


def test_p_value_is_twice_the_smaller_tail() -> None:
    assert p_value(np.array([1.0] * 99)) == pytest.approx(2 / 100)
    assert p_value(np.array([-1.0] * 99)) == pytest.approx(2 / 100)
    assert p_value(np.array([1.0] * 89 + [-1.0] * 10)) == pytest.approx(22 / 100)
    assert p_value(np.zeros(99)) == 1.0
    assert p_value(np.array([1.0, -1.0])) == 1.0


def test_holm_multiplies_the_smallest_by_the_number_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.2]) == [0.2]


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
