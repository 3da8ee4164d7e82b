"""A few kills at the beginning of the DAG; ``make faults`` has the full form, in both engines."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from metadiffuser.artifacts import write_json, write_text
from tests.conftest import ROOT, Project, put_in_force
from tests.engines import faults, undisturbed

UNTIL = "train_behaviour"


@pytest.mark.engine
def test_killed_jobs_and_engines_leave_no_trace(tmp_path: Path) -> None:
    fresh = undisturbed.scratch(tmp_path / "fresh", ["point_robot"], ["bc"])
    expected = undisturbed.reference(undisturbed.twin(fresh, tmp_path / "reference"), UNTIL)
    assert len(expected) == 5
    project = undisturbed.twin(fresh, tmp_path / "disturbed")
    harness = faults.Harness(project, "snakemake", expected, 2, random.Random(1), UNTIL, aimed=1.0)
    harness.run()
    assert harness.killed.total() >= 2
    assert harness.resumed


def test_the_harness_sees_what_is_not_whole(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "x").write_text("whole")
    whole = undisturbed.contents(tmp_path, "x")
    assert set(whole) == {"x"}
    harness = faults.Harness(project, "dvc", {"x": whole, "not made yet": {"y": "?"}}, 1, random.Random(0))
    harness.check_whole()
    (tmp_path / "x").write_text("who")
    with pytest.raises(undisturbed.VisibleFaultError, match="x: visible, but not whole"):
        harness.check_whole()


def test_the_watcher_sees_what_is_half_written_for_a_moment(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    project = Project(tmp_path)
    put_in_force(tmp_path)
    timing = tmp_path / "results/smoke/timings/define_tasks-point_robot.json"
    harness = faults.Harness(
        project, "dvc", {"x": {"x": undisturbed.digest(b"whole")}}, 1, random.Random(0), "define_tasks"
    )
    with harness.watched():
        write_text(tmp_path / "x", "whole")
        write_json(timing, {"wall_seconds": 1.5})
        time.sleep(0.5)
    assert harness.seen == 2
    for path, half, rest in ((tmp_path / "x", "who", "le"), (timing, '{"wall', '_seconds": 1.5}')):
        with pytest.raises(undisturbed.VisibleFaultError, match=f"{path.name}: was visible before it was whole"):
            write_slowly(harness, path, half, rest)


def write_slowly(harness: faults.Harness, path: Path, half: str, rest: str) -> None:
    with harness.watched(), path.open("w") as stream:
        stream.write(half)
        stream.flush()
        time.sleep(0.5)
        stream.write(rest)


def test_the_harness_sees_a_job_that_starts_from_zero(tmp_path: Path) -> None:
    harness = faults.Harness(Project(tmp_path), "dvc", {}, 1, random.Random(0))
    log = tmp_path / "attempts" / "train" / "001.log"
    log.parent.mkdir(parents=True)
    for said, fault in (
        ("", None),
        ("fit: 1/40, loss 2\n", "started anew"),
        ("goes on from .work/training.safetensors, step 1\n", "did not go on from training.safetensors, step 12"),
        ("goes on from .work/training.safetensors, step 12\nfit: 1/40, loss 2\n", "went on with step 1"),
        ("goes on from .work/training.safetensors, step 12\nfit: 13/40, loss 2\n", None),
    ):
        harness.owed = {"train/001.log": {"training.safetensors": 12}}
        log.write_text(said)
        if fault is None:
            harness.check_resumed()
        else:
            with pytest.raises(undisturbed.VisibleFaultError, match=fault):
                harness.check_resumed()
    assert harness.resumed == 1
