"""Damaged files: whoever reads one next names it and the remedy, in one sentence; nothing is made from it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from metadiffuser import cli, paths
from metadiffuser.artifacts import read_json, read_tensors, write_json, write_tensors
from metadiffuser.baselines import bc
from metadiffuser.behaviour.policies import Trained
from metadiffuser.config.loading import load
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.minari_store import read_dataset
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, dvc_lock, integrity, records
from metadiffuser.viewing.rollouts import read_rollouts
from tests.conftest import ROOT, put_in_force
from tests.helpers import fabricated
from tests.helpers.models import make_context

PARAMS = load(ROOT / "presets" / "smoke.yaml")
JOBS = dag.jobs(PARAMS)
READ = [template for stage in dag.STAGES.values() for template in stage.inputs]
KINDS = list(dict.fromkeys(READ))  # every kind of file that a job reads
Spoil = Callable[[Path], None]


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, and neither its size nor its time."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


SPOILS = (flip, truncate, empty, Path.unlink)


def writes(template: str) -> tuple[dag.Job, str]:
    """A job that writes a kind of file, and the first such path."""
    for job in JOBS:
        if template == paths.TIMING or template in job.stage.outputs:
            found = job.outputs if template == paths.TIMING else dag.expand(template, job.wildcards, PARAMS)
            return job, found[-1]
    raise AssertionError(template)


def consumer(path: str) -> dag.Job:
    return next(job for job in JOBS if path in job.inputs)


def refused(capsys: pytest.CaptureFixture[str], job: dag.Job) -> str:
    """Run a job by its verb; it must be refused with one sentence."""
    assert cli.main(job.command.split()[1:]) == 2
    said = capsys.readouterr().err
    assert said.startswith("metadiffuser: ")
    assert said.count("\n") == 1
    return said


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which every job has ended, with files that say nothing; records say what they were."""
    monkeypatch.chdir(tmp_path)
    put_in_force(tmp_path)
    for job in JOBS:
        for name in job.outputs:
            files = [Path(name)] if Path(name).suffix else [Path(name, "a.json"), Path(name, "sub", "b.json")]
            for file in files:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"{job.name} wrote this {file.name}")
        records.write(job, "fingerprint")
    return tmp_path


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("template", KINDS)
@pytest.mark.usefixtures("project")
def test_every_kind_of_input(template: str, spoil: Spoil, capsys: pytest.CaptureFixture[str]) -> None:
    producer, output = writes(template)
    file = Path(output) if Path(output).suffix else Path(output, "sub", "b.json")
    job = consumer(output)
    integrity.check(job, PARAMS)
    spoil(file)
    said = refused(capsys, job)
    if spoil is Path.unlink and Path(output).suffix:
        assert f"{output}: missing; run" in said
    else:
        assert f"{file}: changed since {producer.name} wrote it; delete {output}, then '" in said


@pytest.mark.usefixtures("project")
def test_files_of_other_jobs_do_not_matter(capsys: pytest.CaptureFixture[str]) -> None:
    flip(Path("artifacts/smoke/datasets/cheetah_vel/a.json"))
    wildcards = {"family": "point_robot", "representation": "generalised", "seed": "0"}
    integrity.check(dag.find_job("train_context", wildcards, PARAMS), PARAMS)
    capsys.readouterr()


def test_a_file_more_is_a_difference(project: Path) -> None:
    job = consumer("artifacts/smoke/datasets/point_robot")
    (project / "artifacts/smoke/datasets/point_robot/c.json").write_text("")
    with pytest.raises(InputError, match=r"c.json: changed since collect_dataset@smoke-point_robot wrote it"):
        integrity.check(job, PARAMS)


@pytest.mark.usefixtures("project")
def test_what_dvc_has_checked_out_is_right_whatever_the_records_say() -> None:
    output = "artifacts/smoke/datasets/point_robot"
    job, producer = consumer(output), next(job for job in JOBS if output in job.outputs)
    Path(output, "a.json").write_text("of an earlier run")
    Path(output, ".snakemake_timestamp").touch()
    with pytest.raises(InputError, match="changed since"):
        integrity.check(job, PARAMS)
    record = {"path": output, "md5": dvc_lock.path_hash(Path(output))[0]}
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {producer.name: {"outs": [record]}}}))
    integrity.check(job, PARAMS)
    flip(Path(output, "a.json"))
    with pytest.raises(InputError, match=r"'dvc checkout artifacts/smoke/datasets/point_robot'"):
        integrity.check(job, PARAMS)


@pytest.mark.parametrize("state", ["none", "damaged", "incomplete"])
def test_a_clone_goes_by_dvc_lock_and_files_without_record_are_taken(project: Path, state: str) -> None:
    output = "artifacts/smoke/tasks/point_robot.json"
    job, producer = consumer(output), next(job for job in JOBS if output in job.outputs)
    for path in (project / ".work/records").iterdir():
        if state == "none":
            path.unlink()
        else:
            path.write_text("{" if state == "damaged" else '{"made_from": "x", "outputs": "y"}')
    Path(output).write_text("put here by hand")
    integrity.check(job, PARAMS)
    record = {"path": output, "md5": dvc_lock.path_hash(Path(output))[0]}
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {producer.name: {"outs": [record]}}}))
    integrity.check(job, PARAMS)
    flip(Path(output))
    with pytest.raises(InputError, match=rf"{output}: changed since define_tasks@smoke-point_robot wrote it"):
        integrity.check(job, PARAMS)


def test_hashes_are_those_of_dvc(tmp_path: Path) -> None:
    """dvc.lock is believed, so its hashes must be taken as DVC takes them."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "true"}
    folder = tmp_path / "data"
    for name in ("b/x.json", "a.json", "b c/y.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    for command in (["dvc", "init", "--no-scm", "-q"], ["dvc", "add", "-q", "data"]):
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    recorded = yaml.safe_load((tmp_path / "data.dvc").read_text())["outs"][0]["md5"]
    assert dvc_lock.path_hash(folder)[0] == recorded


READERS: dict[str, Callable[[Path], object]] = {
    "tasks": read_tasks,
    "behaviour": Trained.read,
    "context": ContextModel.load,
    "diffusion": DiffusionModel.load,
    "baseline": bc.Model.load,
    "rollouts": read_rollouts,
}


@pytest.mark.parametrize("kind", READERS)
def test_a_reader_names_a_damaged_file_of_which_there_is_no_record(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"{kind}.{'json' if kind == 'tasks' else 'safetensors'}"

    def write() -> None:
        if kind == "tasks":
            write_json(path, {"tasks": [{"index": 0, "split": "train", "parameters": {"goal": [0.1, 0.2]}}]})
        else:
            write_tensors(path, {"network": torch.ones(64)}, {"config": {}})

    for spoil in (truncate, empty, Path.unlink):
        write()
        spoil(path)
        with pytest.raises(InputError, match=rf"{path}: (damaged|missing).*; (delete it and run|run)"):
            READERS[kind](path)
    write_json(path, {"tasks": 3}) if kind == "tasks" else write()
    with pytest.raises(InputError, match=rf"{path}: not (a|recorded) .*run \w+ again"):
        READERS[kind](path)


def test_one_byte_anywhere_in_a_checkpoint_is_no_traceback(tmp_path: Path) -> None:
    path, generator = tmp_path / "context.safetensors", np.random.default_rng(0)
    make_context().save(path, {"family": "point_robot"})
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little") + 8
    for position in [*range(12), *generator.integers(8, length, 300).tolist()]:
        content = bytearray(whole)
        content[position] ^= 1 << int(generator.integers(8))
        path.write_bytes(content)
        with suppress(InputError):  # a weight's name may still be one, a number another number
            ContextModel.load(path)


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_datasets_of_which_there_is_no_record(tmp_path: Path, spoil: Spoil) -> None:
    folder = tmp_path / "metadiffuser/point_robot/000-expert-v0/data"
    folder.mkdir(parents=True)
    file = folder / "main_data.hdf5"
    with h5py.File(file, "w") as stream:
        for name in ("observations", "actions", "rewards"):
            stream[f"episode_0/{name}"] = np.ones((4, 2), np.float32)
    write_json(folder / "metadata.json", {"total_episodes": 1})
    if spoil is not flip:  # of which the format knows nothing
        spoil(file)
        with pytest.raises(InputError, match=rf"{file}: .*; run collect_dataset again"):
            read_dataset(tmp_path, "point_robot", 0, "expert")
    spoil(folder / "metadata.json")
    with pytest.raises(InputError, match=rf"{tmp_path}.*(run collect_dataset again|dvc pull)"):
        read_dataset(tmp_path, "point_robot", 0, "expert")


RESULTS = {
    "make_tables": (paths.DATASET_METRICS, paths.CONTEXT_METRICS, paths.PLANNER_METRICS, paths.BASELINE_METRICS),
    "make_figures": (paths.BEHAVIOUR_CURVE, paths.CONTEXT_CURVE, paths.DIFFUSION_CURVE, paths.PLANNER_METRICS),
    "make_report": (paths.TIMING, paths.TABLES, paths.FIGURES),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the report is made of."""
    root, before = tmp_path_factory.mktemp("results"), Path.cwd()
    os.chdir(root)
    try:
        params = fabricated.parameters()
        (root / "params.yaml").write_text(yaml.safe_dump(params.model_dump(), sort_keys=False))
        for write in (
            fabricated.write_metrics,
            fabricated.write_curves,
            fabricated.write_videos,
            fabricated.write_timings,
        ):
            write(params)
        for stage in ("make_tables", "make_figures"):
            fabricated.run_stage(stage, params)
    finally:
        os.chdir(before)
    return root


@pytest.mark.parametrize(("stage", "template"), [(stage, kind) for stage, kinds in RESULTS.items() for kind in kinds])
@pytest.mark.slow
def test_results_of_which_there_is_no_record(
    results: Path, stage: str, template: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(results)
    params = load("params.yaml")
    job = dag.find_job(stage, {}, params)
    output = Path(dag.expand(template, {"preset": "smoke"}, params)[0])
    if output.is_file():
        file = output
    else:  # what of a folder is read and not only shown: of a curve its figures, of results their index
        kept = output.rglob("*.tsv") if "/training/" in template else output.glob(f"{output.name}.json")
        file = sorted(kept)[0]
    content = file.read_bytes()
    empty(file)
    try:
        said = refused(capsys, job)
    finally:
        file.write_bytes(content)
    assert str(output) in said


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tensors(tmp_path / "tensors.safetensors", {"a": torch.zeros(1)}, {})
    write_json(tmp_path / "numbers.json", {})

    def refused(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    monkeypatch.setattr(Path, "read_text", refused)
    for read, name in ((read_tensors, "tensors.safetensors"), (read_json, "numbers.json")):
        with pytest.raises(InputError, match=rf"{name}: may not be read \(Permission denied\); give"):
            read(tmp_path / name)


@pytest.mark.parametrize("content", [None, "{"])
def test_what_git_has_is_restored_from_git_and_all_else_by_dvc(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    what = "missing; run the stage" if content is None else r"damaged \(.*\); delete it and run"
    for name, remedy in (("results/x.json", "git checkout -- results/x.json"), ("artifacts/x.json", "dvc pull")):
        if content is not None:
            Path(name).parent.mkdir()
            Path(name).write_text(content)
        with pytest.raises(InputError, match=rf"{name}: {what} .*, or '{remedy}'"):
            read_json(Path(name))
