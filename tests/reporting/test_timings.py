"""Timing records, summed up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metadiffuser.artifacts import write_json
from metadiffuser.errors import InputError
from metadiffuser.reporting.timings import RECORD, job_names, read_timings, sampler_times, stage_times


def test_times_of_a_stage_are_added_and_its_memory_is_that_of_the_largest_job() -> None:
    spent = (("evaluate@smoke-a", 10.0, 30.0, 500), ("evaluate@smoke-b", 1.0, 2.0, 300), ("make_tables@smoke", 5, 4, 9))
    records = [
        {"job": job, "wall_seconds": wall, "cpu_seconds": cpu, "peak_memory_mb": memory}
        for job, wall, cpu, memory in spent
    ]
    assert stage_times(records) == [
        {"stage": "evaluate", "jobs": 2, "wall": 11.0, "cpu": 32.0, "memory": 500},
        {"stage": "make_tables", "jobs": 1, "wall": 5.0, "cpu": 4.0, "memory": 9},
    ]


def test_times_of_samplers_are_those_of_one_representation() -> None:
    jobs = {
        "evaluate@smoke-ant_dir-generalised-0": 2.0,
        "evaluate@smoke-ant_dir-focal-0": 8.0,
        "make_tables@smoke": 9.0,
    }
    records = [{"job": job, "notes": {"milliseconds_per_decision_ddim_3": time}} for job, time in jobs.items()]
    for representation, milliseconds in (("generalised", 2.0), ("focal", 8.0)):
        assert sampler_times(records, representation).to_numpy().tolist() == [["ant_dir", "ddim", 3, milliseconds]]


def test_the_names_of_a_job_are_empty_where_it_has_none() -> None:
    assert job_names({"job": "evaluate@smoke-ant_dir-generalised-0"}) == ("evaluate", "ant_dir", "generalised")
    assert job_names({"job": "define_tasks@smoke-ant_dir"}) == ("define_tasks", "ant_dir", "")
    assert job_names({"job": "make_tables"}) == ("make_tables", "", "")


@pytest.mark.parametrize("damage", [[], {"job": 3}, {"job": None}, {"machine": ...}])
def test_a_damaged_timing_record_is_named(damage: Any, tmp_path: Path) -> None:
    sound = dict.fromkeys(RECORD, 1) | {"job": "make_tables@smoke"}
    path = tmp_path / "make_tables.json"
    write_json(path, sound | {"note": 2})
    assert read_timings([path]) == [sound | {"notes": {"note": 2}}]
    broken = {**sound, **damage} if isinstance(damage, dict) else damage
    write_json(path, {key: value for key, value in broken.items() if value is not ...} if damage else broken)
    with pytest.raises(InputError, match=r"make_tables\.json: not a timing record; run the stage that writes it"):
        read_timings([path])
