"""What a trial is judged by, and what it takes."""

from __future__ import annotations

import numpy as np

from metadiffuser.config.loading import load
from metadiffuser.tuning.settings import Tuning, trials
from metadiffuser.tuning.trial import Score
from tests.conftest import ROOT


def test_a_trial_is_judged_by_its_own_values_which_no_calibration_replaces() -> None:
    settings = {"metadiffuser": {"every_family": [{}, {"planning.return_scale": 7.0}]}}
    tuning = Tuning(held_out=1, folds=1, episodes=1, contexts=["expert"], settings=settings)
    found = trials(tuning, load(ROOT / "presets" / "smoke.yaml"), "metadiffuser", "point_robot")
    assert [trial.params.section("calibration", "point_robot").settings for trial in found] == [1, 1]
    assert found[1].params.section("planning", "point_robot").return_scale == 7.0


def test_a_setting_takes_the_mean_time_of_its_folds() -> None:
    folds = [Score({"expert": {task: np.zeros(2)}}, seconds) for task, seconds in (("1", 2.0), ("2", 4.0))]
    assert Score.join(folds).seconds == 3.0
