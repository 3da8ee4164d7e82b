"""Every number of the tables of what scores rest on: training tasks, calibrations, policies and context models."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.helpers import fabricated
from tests.helpers.reported import (
    METHODS,
    OWN,
    PARAMS,
    interval,
    of,
    record,
    rows_of,
    title,
)

pytestmark = pytest.mark.usefixtures("results")
FAMILIES = list(fabricated.ANCHORS)


class TestWhatScoresRestOn:
    def test_training_tasks_have_a_row_a_method(self) -> None:
        rows = rows_of("training_tasks")
        cells = {"MetaDiffuser": OWN} | {name: (method, "none", "expert") for method, name in METHODS.items()}
        assert list(rows) == list(cells)
        for name, cell in cells.items():
            means = {family: of(cell, family, "training_tasks").mean() for family in FAMILIES}
            for family, column in itertools.product(FAMILIES, ("return", "score")):
                expected = means[family][column]
                assert interval(rows[name], f"{title(family)} {column}") == pytest.approx(expected, abs=1e-5)
            average = np.mean([mean["score"] for mean in means.values()])
            assert interval(rows[name], "All families score") == pytest.approx(average, abs=1e-5)

    def test_calibrations_have_a_row_a_method_and_family(self) -> None:
        rows = rows_of("calibration", "Family", "Method")
        assert len(rows) == len(FAMILIES) * (1 + len(METHODS))
        for family, (number, method) in itertools.product(FAMILIES, enumerate(["", *METHODS])):
            row = rows[title(family), METHODS.get(method, "MetaDiffuser")]
            records = [fabricated.calibration(family, seed, method, number) for seed in PARAMS.seeds]
            for name, place in (("before", 0), ("after", -1)):
                expected = np.mean([each["settings"][place]["score"] for each in records])
                assert float(row[name]) == pytest.approx(expected, abs=1e-5)
            shown = ("", "1") if method == "bc" else ("scale 3 / 4", "2")
            assert (row["Chosen"], row["Settings tried"]) == shown
            assert (row["Judge"], row["Seeds"]) == ("simulator", "2")

    @pytest.mark.parametrize(("split", "shown"), [("train", "training"), ("test", "unseen")])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_behaviour_policies_by_split_and_quality(self, family: str, split: str, shown: str) -> None:
        rows, data = rows_of("behaviour", "Family", "Tasks", "Policy"), record("dataset", family)
        assert len(rows) == 3 * 2 * 4
        tasks = [str(task["index"]) for task in data["tasks"] if task["split"] == split]
        low, high = (np.array([data["anchors"][task][name] for task in tasks]) for name in ("random", "expert"))
        for quality in fabricated.QUALITIES:
            row = rows[title(family), shown, quality]
            means = np.array([np.mean(data["returns"][quality][task]) for task in tasks])
            assert interval(row, "return") == pytest.approx(means.mean(), abs=1e-5)
            assert interval(row, "score") == pytest.approx(np.mean(100 * (means - low) / (high - low)), abs=1e-5)
            best = np.mean([data["optimum"][task] for task in tasks]) if family == "point_robot" else None
            optimum, gap = row["optimum"], row["gap to optimum (%)"]
            if best is None:
                assert optimum == gap == ""
            else:
                assert float(optimum) == pytest.approx(best, abs=1e-5)
                assert float(gap) == pytest.approx(100 * (means.mean() - best) / best, abs=1e-4)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_probes_and_errors_of_the_context_model(self, family: str) -> None:
        row, seeds = rows_of("context")[title(family)], [record("context", family, seed) for seed in PARAMS.seeds]
        expected = {}
        for split, shown in (("train", "training tasks"), ("test", "unseen tasks")):
            expected[f"Probe R² {shown}"] = np.mean([seed["probe"][f"{split}_r2"] for seed in seeds])
            for part in ("reward", "dynamics"):
                expected[f"{part.title()} RMSE {shown}"] = np.mean([seed["errors"][split][part] for seed in seeds])
        assert {name: float(row[name]) for name in expected} == pytest.approx(expected, abs=1e-6)
        assert len(set(expected.values())) == 6

    @pytest.mark.parametrize("family", FAMILIES)
    def test_diagnostics_are_what_bounds_the_planner(self, family: str) -> None:
        row, seeds = rows_of("diagnostics")[title(family)], [record("context", family, seed) for seed in PARAMS.seeds]
        known = [seed["probe_identifiable"] for seed in seeds]
        expected = {
            "Probe R² identifiable": np.mean([probe["test_r2"] for probe in known]),
            "Parameters identifiable": np.mean([probe["parameters"] for probe in known]),
        }
        for quality in ("expert", "medium", "random"):
            probes = [seed["probe_by_quality"][quality]["test_r2"] for seed in seeds]
            expected[f"Probe R² {quality}"] = np.mean(probes)
        for part, ahead in itertools.product(("reward", "state"), fabricated.ROLLED):
            errors = [seed["rollout_errors"]["test"][str(ahead)][part] for seed in seeds]
            expected[f"{part.title()} error at {ahead}"] = np.mean(errors)
        cells = {
            "oracle z": ("metadiffuser", "dual", "oracle"),
            "expert context": OWN,
            "wrong task": ("metadiffuser", "dual", "wrong_task"),
            "one network call": ("one_call", "none", "expert"),
            "cloning with z": ("bc", "none", "expert"),
        }
        for name, cell in cells.items():
            expected[f"Score {name}"] = of(cell, family)["score"].mean()
        assert {name: float(row[name]) for name in expected} == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_errors_of_the_models_by_z(self, family: str) -> None:
        rows = rows_of("errors_by_latent", "Family", "Representation", "Tasks")
        seeds = [record("context", family, seed)["errors_by_latent"] for seed in PARAMS.seeds]
        headings = {"right": "right z", "wrong": "another task's z", "mean": "mean z", "fitted": "fitted z"}
        for (split, shown), (latent, column) in itertools.product(
            (("train", "training"), ("test", "unseen")), headings.items()
        ):
            row = rows[title(family), "generalised", shown]
            for part in ("reward", "dynamics"):
                expected = np.mean([seed[split][latent][part] for seed in seeds])
                assert float(row[f"{part.title()} error {column}"]) == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_what_the_expert_loses_with_other_parameters(self, family: str) -> None:
        rows = rows_of("errors_by_latent", "Family", "Representation", "Tasks")
        data = record("dataset", family)
        headings = {"own": "own parameters", "wrong": "another task's", "mean": "mean"}
        for (split, shown), (given, column) in itertools.product(
            (("train", "training"), ("test", "unseen")), headings.items()
        ):
            cell = rows[title(family), "generalised", shown][f"Expert's score {column}"]
            if given not in data["transfer"]:
                assert (family, given, cell) == ("cheetah_vel", "mean", "")
                continue
            scores = []
            for task in (str(entry["index"]) for entry in data["tasks"] if entry["split"] == split):
                low, high = data["anchors"][task]["random"], data["anchors"][task]["expert"]
                scores += [100 * (value - low) / (high - low) for value in data["transfer"][given][task]]
            assert float(cell) == pytest.approx(np.mean(scores), abs=1e-5)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_what_z_carries_of_each_parameter(self, family: str) -> None:
        rows = rows_of("probe_by_parameter", "Family", "Representation", "Parameter")
        seeds = [record("context", family, seed)["probe_parameters"] for seed in PARAMS.seeds]
        for place, name in enumerate(("near", "far")):
            row = rows[title(family), "generalised", name]
            assert float(row["Probe R²"]) == pytest.approx(np.mean([seed["r2"][place] for seed in seeds]), abs=1e-6)
            assert float(row["by chance"]) == pytest.approx(np.mean([seed["null"][place] for seed in seeds]), abs=1e-6)
            carried = sum(seed["r2"][place] > seed["null_of_largest"] for seed in seeds)
            assert row["carried"] == f"{carried} of 2"
        assert len({row["carried"] for row in rows.values()}) > 1
