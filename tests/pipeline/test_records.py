"""A record is current while parameters, code, inputs and outputs are what they were, and not longer."""

from __future__ import annotations

import dataclasses
import shutil
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
        lambda job: Path(".work/records", f"{job.name}.json").write_text('{"made_from": "x", "outputs": "y"}'),
        lambda job: Path(".work/records", f"{job.name}.json").unlink(),
    ],
    ids=["input", "output", "file gone", "file more", "file moved", "output gone", "damaged", "incomplete", "none"],
)
def test_it_is_no_longer_current(job: dag.Job, spoil: Callable[[dag.Job], object]) -> None:
    spoil(job)
    assert not records.is_current(job)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's files, which records take for the code that runs."""
    target = tmp_path / "copy" / "metadiffuser"
    shutil.copytree(ROOT / "src" / "metadiffuser", target, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(records, "__file__", str(target / "pipeline" / "records.py"))
    return target


def test_an_edit_of_each_file_of_its_code_makes_a_record_outdated_and_of_other_code_does_not(
    job: dag.Job, package: Path
) -> None:
    assert records.is_current(job), "the copy is the same code"
    files = [path for entry in job.code for path in records.files(package / entry)]
    assert {path.name for path in files} >= {"artifacts.py", "seeding.py", "collect_dataset.py", "point_robot.py"}
    for path in files:
        before = path.read_bytes()
        path.write_bytes(before + b"\n")
        assert not records.is_current(job), path
        path.write_bytes(before)
    assert records.is_current(job)
    other = package / "cli.py"
    assert other not in files
    other.write_bytes(b"")
    assert records.is_current(job)


def test_a_new_file_and_a_renamed_file_of_the_code_make_a_record_outdated(job: dag.Job, package: Path) -> None:
    extra = package / "envs" / "extra.py"
    extra.touch()
    assert not records.is_current(job)
    extra.unlink()
    assert records.is_current(job)
    (package / "envs" / "point_robot.py").rename(extra)
    assert not records.is_current(job)


def test_the_fingerprint_is_of_parameters_code_and_inputs_together(job: dag.Job, package: Path) -> None:
    seen = {records.fingerprint(job)}
    (package / "seeding.py").write_text("")
    seen.add(records.fingerprint(job))
    Path(job.inputs[0]).write_text("other")
    seen.add(records.fingerprint(job))
    seen.add(records.fingerprint(dataclasses.replace(job, params={**job.params, "seed": 7})))
    assert len(seen) == 4


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
