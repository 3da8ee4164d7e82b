"""What ``make gpu-check`` says, on files that no GPU made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from metadiffuser import paths
from metadiffuser.config.loading import load
from metadiffuser.pipeline import dag
from metadiffuser.tracking import write_curve
from tests.conftest import Project, put_in_force
from tests.engines import gpu_check


@pytest.fixture
def here(tmp_path: Path) -> Project:
    """The files of a run on the CPU that the check looks at."""
    project = Project(tmp_path / "cpu")
    project.root.mkdir()
    put_in_force(project.root)
    params = load(project.root / "params.yaml")
    for job in dag.jobs(params, timed_only=True):
        write(project.root / dag.timing_path(job.name, params.preset), {"device": "cpu"})
    for family in params.families:
        cells = [{"method": "metadiffuser", "guide": "dual", "context": "expert", "returns": {"3": [-80.0, -120.0]}}]
        write(metrics(project, family), {"family": family, "cells": cells})
        write_curve(curve(project, family), [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}])
    return project


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def place(family: str) -> dict[str, str]:
    return {"preset": "smoke", "family": family, "representation": "generalised", "seed": "0"}


def metrics(project: Project, family: str) -> Path:
    return project.root / paths.PLANNER_METRICS.format(**place(family))


def curve(project: Project, family: str) -> Path:
    return project.root / paths.DIFFUSION_CURVE.format(**place(family))


def twin(project: Project) -> Project:
    other = Project(project.root.parent / "cuda")
    shutil.copytree(project.root, other.root)
    return other


def test_without_a_cuda_device_it_says_so_and_ends_with_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main() == 2
    said = capsys.readouterr().err
    assert said == (
        "gpu-check: torch finds no CUDA device here; run it where there is one, with a CUDA build of torch\n"
    )


def test_equal_runs_agree(here: Project) -> None:
    there = twin(here)
    assert [*gpu_check.whole_files(here, there, "smoke"), *gpu_check.same_data(here, there, "smoke")] == []
    assert list(gpu_check.devices(here, "cpu")) == []


def test_returns_and_curves_beyond_the_tolerances_are_named(here: Project) -> None:
    there = twin(here)
    text = metrics(there, "point_robot").read_text()
    metrics(there, "point_robot").write_text(text.replace("-120.0", "-117.0"))  # the mean by 1.5, of 100
    shutil.rmtree(curve(there, "cheetah_vel"))
    write_curve(curve(there, "cheetah_vel"), [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.2526}])
    found = list(gpu_check.same_data(here, there, "smoke"))
    assert found == [
        "point_robot, metadiffuser, dual, expert: -98.5 on cuda, -100 on the CPU, tolerated 1.1",
        "cheetah_vel: learning curves differ by 0.0104",
    ]


def test_a_job_on_another_device_than_was_asked_for_is_named(here: Project) -> None:
    found = list(gpu_check.devices(here, "cuda"))
    assert "train_diffusion@smoke-point_robot-generalised-0: ran on cpu, expected cuda" in found
    assert len(found) == 2 * (2 + 1 + 1 + 1), "two shards, one dataset, denoiser and evaluation of each family"


def test_numbers_that_are_none_and_other_keys_are_named(here: Project) -> None:
    there = twin(here)
    path = metrics(there, "point_robot")
    path.write_text(path.read_text().replace("-80.0", "NaN").replace('"guide"', '"guides"'))
    found = list(gpu_check.whole_files(here, there, "smoke"))
    assert [sentence.partition(": ")[2] for sentence in found] == [
        "other keys with cuda",
        ".cells[0].returns.3[0] is nan",
    ]


def test_the_device_is_written_into_the_parameters(here: Project) -> None:
    gpu_check.with_device(here, "cuda")
    assert load(here.root / "params.yaml").device == "cuda"
