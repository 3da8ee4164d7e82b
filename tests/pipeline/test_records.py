"""A record is current while parameters, code, inputs and outputs are what they were, and not longer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.pipeline import dag, records
from tests.conftest import ROOT

PARAMS = load(ROOT / "presets" / "smoke.yaml")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dag.Job:
    """A job that has ended and left its record."""
    monkeypatch.chdir(tmp_path)
    job = dag.find_job("collect_dataset", {"family": "point_robot"}, PARAMS)
    for name in (*job.inputs, *job.outputs):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_text(name)
        else:
            (path / "part").mkdir(parents=True)
            (path / "part" / "data.json").write_text(name)
            (path / "index.json").write_text("index")
    records.write(job, records.fingerprint(job))
    return job


def test_it_is_current(job: dag.Job) -> None:
    assert records.is_current(job)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda job: Path(job.inputs[0]).write_text("other"),
        lambda job: Path(job.outputs[0], "part", "data.json").write_text("other"),
        lambda job: Path(job.outputs[0], "index.json").unlink(),
        lambda job: Path(job.outputs[0], "extra.json").write_text(""),
        lambda job: Path(job.outputs[0], "part").rename(Path(job.outputs[0], "moved")),
        lambda job: Path(job.outputs[1]).unlink(),
        lambda job: Path(".work/records", f"{job.name}.json").write_text("{"),
        lambda job: Path(".work/records", f"{job.name}.json").unlink(),
    ],
    ids=["input", "output", "file gone", "file more", "file moved", "output gone", "damaged", "none"],
)
def test_it_is_no_longer_current(job: dag.Job, spoil: Callable[[dag.Job], object]) -> None:
    spoil(job)
    assert not records.is_current(job)


def test_other_parameters_are_another_job(job: dag.Job) -> None:
    tree = PARAMS.model_dump()
    tree["dataset"]["episodes"] = 99
    assert not records.is_current(
        dag.find_job("collect_dataset", {"family": "point_robot"}, Params.model_validate(tree))
    )


def test_times_and_the_marks_of_engines_do_not_count(job: dag.Job) -> None:
    Path(job.outputs[0], ".snakemake_timestamp").touch()
    Path(job.outputs[0], "index.json").touch()
    Path(job.inputs[0]).touch()
    assert records.is_current(job)


def test_names_and_contents_cannot_be_confused(tmp_path: Path) -> None:
    for folder, files in {"one": {"a": "bc"}, "two": {"ab": "c"}, "three": {"a": "b", "c": ""}}.items():
        (tmp_path / folder / "x").mkdir(parents=True)
        for name, text in files.items():
            (tmp_path / folder / "x" / name).write_text(text)
    assert len({records.digest(tmp_path / folder / "x") for folder in ("one", "two", "three")}) == 3
