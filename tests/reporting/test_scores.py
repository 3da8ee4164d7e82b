"""The metrics files as tidy tables: what is read, and what is said of a damaged file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.errors import InputError
from metadiffuser.reporting import encoders, scores
from metadiffuser.reporting.sizes import reference_cell
from tests.helpers import fabricated
from tests.helpers.reported import metrics_files


@pytest.mark.usefixtures("results")
class TestScores:
    def test_one_row_an_episode(self) -> None:
        table = scores.read_scores(metrics_files(paths.PLANNER_METRICS), metrics_files(paths.DATASET_METRICS))
        assert tuple(table.columns) == scores.SCORES
        assert len(table) == 2 * len(fabricated.SHARES) * (2 * fabricated.TEST + 2) * fabricated.EPISODES
        assert reference_cell(table) == ("dual", "expert")
        assert set(table[table["family"] == "cheetah_vel"]["task"]) == set(fabricated.unseen("cheetah_vel"))

    @pytest.mark.parametrize(
        "damage",
        [
            lambda record: record.pop("cells"),
            lambda record: record["cells"][0].pop("returns"),
            lambda record: record["cells"][0]["returns"].update({"12": []}),
            lambda record: record["cells"][0]["returns"].update({"12": ["high"]}),
            lambda record: record["cells"][0]["returns"].update({"99": [1.0]}),
            lambda record: record.update({"cells": 3}),
            lambda record: record.update({"family": "unheard_of"}),
        ],
    )
    def test_damaged_metrics_are_named(self, tmp_path: Path, damage: Any) -> None:
        record = fabricated.planner_metrics("point_robot", 0)
        damage(record)
        path = tmp_path / "damaged.json"
        write_json(path, record)
        with pytest.raises(InputError, match="not the metrics expected") as caught:
            scores.read_scores([path], metrics_files(paths.DATASET_METRICS))
        assert str(path) in str(caught.value)

    def test_not_a_number_is_refused(self, tmp_path: Path) -> None:
        record = fabricated.planner_metrics("point_robot", 0)
        record["cells"][0]["returns"]["12"][0] = float("nan")
        path = tmp_path / "nan.json"
        path.write_text(json.dumps(record), encoding="utf-8")
        with pytest.raises(InputError, match="finite"):
            scores.read_scores([path], metrics_files(paths.DATASET_METRICS))

    @pytest.mark.parametrize(
        ("read", "content"),
        [
            (scores.read_behaviour, {"family": "point_robot"}),
            (scores.read_optimum, [1, 2]),
            (encoders.read_diagnostics, {"family": "point_robot", "probe": None}),
            (scores.read_tasks, {"family": "f", "tasks": [{"index": 0}]}),
            (scores.read_qualities, {"family": "f", "training_tasks": []}),
            (scores.read_context_users, {"context_parameters": 3}),
            (encoders.read_embeddings, {"embeddings": [{"xy": [1.0]}]}),
            (scores.read_traces, {"family": "f", "traces": [{"planned": [1.0], "executed": [2.0]}]}),
            (scores.read_plan_errors, {"cells": [{"plan_error": 3}]}),
            (scores.read_task_errors, {"cells": [{"plan_error_by_task": 3}]}),
            (scores.read_promises, {"cells": [{"predicted_return": {"predicted": 1.0}}]}),
            (encoders.read_probes, {"family": "f", "probe_by_quality": {"expert": 0.5}}),
            (encoders.read_rollout_errors, {"family": "f", "rollout_errors": {"test": {"one": {}}}}),
            (lambda files: scores.read_sampler_study(files, []), {"family": "f", "sampler_study": [{}]}),
        ],
    )
    def test_every_reader_names_the_damaged_file(self, tmp_path: Path, read: Any, content: Any) -> None:
        path = tmp_path / "damaged.json"
        write_json(path, content)
        with pytest.raises(InputError, match=r"damaged\.json"):
            read([path])
        with pytest.raises(InputError, match=r"absent\.json: missing"):
            read([tmp_path / "absent.json"])
