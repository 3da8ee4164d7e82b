"""The descent over settings and its rule of choice, on scores that a hand computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from metadiffuser.calibration.descent import Coordinate, Trial, Values, choose, descend, one_key
from metadiffuser.calibration.planner import KEYS, RATIOS, RETURN_SCALES, SAMPLERS, coordinates
from metadiffuser.config.schema import Planning


def trial(name: str, *scores: float, errors: Sequence[float] = ()) -> Trial:
    return Trial({"name": name}, np.array(scores), np.array(errors))


@pytest.mark.parametrize(
    ("trials", "chosen"),
    [
        ([trial("own", 10, 20), trial("better", 15, 26)], "better"),
        ([trial("own", 10, 20), trial("worse", 5, 21)], "own"),
        ([trial("own", 10, 20), trial("the same", 10, 20)], "own"),
        ([trial("own", 10, 20, 30), trial("noise", 40, 5, 16)], "own"),  # 30, -15, -14: mean 0.3, error 14.8
        ([trial("own", *9 * [0]), trial("better", *4 * [1, 19], 1)], "better"),  # mean 9, deviation 9.5, error 3.2
        ([trial("own", 0, 0, 0), trial("good", 50, 52, 51), trial("best", 51, 53, 51)], "best"),
        ([trial("own", 0, 0, 0), trial("good", 50, 52, 51), trial("noise", 55, 50, 52)], "good"),
        ([trial("own", 10), trial("one task", 11)], "one task"),
        ([trial("own", np.nan, 10, 20), trial("better", np.nan, 15, 26)], "better"),
        ([trial("own", np.nan, np.nan), trial("no score", np.nan, np.nan)], "own"),
    ],
)
def test_the_first_within_a_standard_error_of_the_best_is_chosen(trials: list[Trial], chosen: str) -> None:
    assert choose(trials).values["name"] == chosen


@pytest.mark.parametrize(
    ("trials", "chosen"),
    [
        ([trial("own", 10, 20, errors=[0.4, 0.5]), trial("alike", 10, 20, errors=[0.3, 0.4])], "alike"),
        ([trial("own", 10, 20, errors=[0.3, 0.4]), trial("alike", 10, 20, errors=[0.4, 0.5])], "own"),
        ([trial("own", 10, 20, errors=[0.4, 0.5]), trial("noise", 10, 20, errors=[0.2, 0.69])], "own"),
        ([trial("own", 10, 20, errors=[0.4, 0.5]), trial("worse", 5, 16, errors=[0.1, 0.1])], "own"),
        ([trial("own", 10, 20, errors=[0.1, 0.1]), trial("better", 15, 26, errors=[0.4, 0.5])], "better"),
        ([trial("own", 10, 20), trial("without plans", 10, 20)], "own"),
    ],
)
def test_of_those_that_score_alike_the_plans_errors_choose_one(trials: list[Trial], chosen: str) -> None:
    assert choose(trials, by_error=True).values["name"] == chosen
    assert choose(trials).values["name"] == ("better" if chosen == "better" else "own")


def test_errors_decide_at_the_coordinates_that_ask_for_it_and_at_no_other() -> None:
    def play(settings: Sequence[Values]) -> list[Trial]:
        return [Trial(values, np.zeros(2), np.full(2, 1.0 - values["a"] - values["b"])) for values in settings]

    _, chosen = descend(
        {"a": 0, "b": 0}, [one_key("a", (0, 1)), Coordinate(one_key("b", (0, 1)).values, True)], 9, play
    )
    assert chosen.values == {"a": 0, "b": 1}
    assert chosen.error == 0


class Peaks:
    """Scores of settings by their distance from the best, the same on all tasks; keeps what it was asked for."""

    def __init__(self, **best: float):
        self.best = best
        self.asked: list[list[Values]] = []

    def __call__(self, settings: Sequence[Values]) -> list[Trial]:
        self.asked.append(list(settings))
        return [Trial(values, np.full(3, -self.distance(values))) for values in settings]

    def distance(self, values: Values) -> float:
        return float(sum(abs(values[key] - best) for key, best in self.best.items()))


def test_each_coordinate_is_one_batch_and_goes_on_from_what_was_chosen() -> None:
    play = Peaks(a=3, b=20)
    tried, chosen = descend({"a": 1, "b": 10}, [one_key("a", (1, 2, 3, 4)), one_key("b", (10, 20, 30))], 99, play)
    assert play.asked == [
        [{"a": 1, "b": 10}, {"a": 2, "b": 10}, {"a": 3, "b": 10}, {"a": 4, "b": 10}],
        [{"a": 3, "b": 20}, {"a": 3, "b": 30}],
    ]
    assert [trial.values for trial in tried] == [values for batch in play.asked for values in batch]
    assert chosen.values == {"a": 3, "b": 20}
    assert chosen.mean == 0


@pytest.mark.parametrize("budget", [1, 2, 5, 6])
def test_no_more_settings_are_tried_than_the_budget_and_the_own_is_the_first(budget: int) -> None:
    play = Peaks(a=4, b=20)
    tried, chosen = descend({"a": 1, "b": 10}, [one_key("a", (1, 2, 3, 4)), one_key("b", (10, 20))], budget, play)
    assert len(tried) == min(budget, 5)
    assert tried[0].values == {"a": 1, "b": 10}
    assert chosen.values == {1: {"a": 1, "b": 10}, 2: {"a": 2, "b": 10}}.get(budget, {"a": 4, "b": 20})


def test_a_method_with_nothing_to_choose_is_played_once() -> None:
    tried, chosen = descend({}, [], 12, Peaks())
    assert [each.values for each in tried] == [chosen.values] == [{}]


def test_the_planners_ratio_follows_the_chosen_alpha_and_samplers_fit_the_denoiser() -> None:
    compared = coordinates(Planning(unguided_steps=2), 6)
    assert [each.by_error for each in compared] == [False, True, False, False, False, True]
    scale, ratio, weight, sampler, candidates, again = (each.values for each in compared)
    assert again is ratio
    scales = scale({"return_scale": 1.0, "dynamics_scale": 0.3})
    assert [each["return_scale"] for each in scales] == list(RETURN_SCALES)
    assert [each["dynamics_scale"] / each["return_scale"] for each in scales] == pytest.approx([0.3] * len(scales))
    assert {each["dynamics_scale"] / each["return_scale"] for each in scale(dict.fromkeys(KEYS, 0.0))} == {1.0}
    assert (min(RETURN_SCALES), max(RETURN_SCALES)) == (0.1, 30.0), "mixed data want far larger scales than expert data"
    found = [each["dynamics_scale"] for each in ratio({"return_scale": 3.0})]
    assert found == pytest.approx([3 * each for each in RATIOS])
    assert list(RATIOS) == sorted(RATIOS, reverse=True), "of several that do as well, the largest is taken"
    assert min(RATIOS) > 0, "a calibration never turns the dual guide into the return guide"
    assert sampler({}) == [{"sampler": "ddim", "sampling_steps": 3}], "one is too long, one has no guided step"
    assert len(SAMPLERS) == 3
    assert {"guidance_weight"} == {key for each in weight({}) for key in each}
    assert {"candidates"} == {key for each in candidates({}) for key in each}


def test_of_a_planner_with_a_value_the_scales_of_its_guide_alone_are_compared() -> None:
    scale, ratio = coordinates(Planning(value_scale=1.0), 20)
    chosen = {"return_scale": 2.0, "dynamics_scale": 1.0}
    assert {key for each in scale.values(chosen) for key in each} == {"return_scale", "dynamics_scale"}
    assert [each["dynamics_scale"] for each in ratio.values(chosen)] == pytest.approx([2 * each for each in RATIOS])
    assert ratio.by_error
