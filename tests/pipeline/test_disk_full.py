"""A disk that is full: one sentence that names the place, exit code 3, and nothing lost that was there before."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from metadiffuser import cli, paths
from metadiffuser.artifacts import read_json, whole_directory, write_json, write_tensors
from metadiffuser.checkpointing import TrainingState
from metadiffuser.config.loading import load
from metadiffuser.data.minari_store import Provenance, write_dataset
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, sync
from metadiffuser.pipeline.run import Run
from metadiffuser.tracking import write_curve
from metadiffuser.viewing.video import film
from tests.conftest import ROOT, put_in_force
from tests.evaluation.test_evaluate_stage import episodes

PARAMS = load(ROOT / "presets" / "smoke.yaml")
JOB = dag.find_job("define_tasks", {"family": "point_robot"}, PARAMS)
OUTPUT = Path(paths.TASKS.format(preset="smoke", family="point_robot"))
LARGE = 1 << 19  # bytes; the disk has twice as many


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project on a file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = sys.platform == "linux" and shutil.which("mount") and os.geteuid() == 0
    options = ("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    if not mounted or subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here; the simulated errors are tested all the same")
    monkeypatch.chdir(folder)
    put_in_force(folder)
    try:
        yield folder
    finally:
        monkeypatch.undo()
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def checkpoint(run: Run) -> None:
    arrays = {"replay": np.zeros(LARGE, np.uint8)}
    TrainingState({}, {}, {}, arrays).save(run.work / "state.safetensors", 2, [])


def dataset(_: Run) -> None:
    family = get_family("point_robot")
    (task,) = draw_tasks(family, 1, 0, np.random.default_rng(0))
    with whole_directory(Path("artifacts/data")) as root:
        write_dataset(root, family, task, "expert", episodes(task), Provenance({}, 0.0, 1.0))


def curve(_: Run) -> None:
    write_curve(Path("results/curve"), [{"step": step, "loss": 1.0} for step in range(4)])


def video(_: Run) -> None:
    with film(Path("film.mp4"), 64, 64, 10.0) as append:
        for frame in np.random.default_rng(0).integers(0, 255, (200, 64, 64, 3), dtype=np.uint8):
            append(frame)


WRITERS: dict[str, Callable[[Run], None]] = {
    "tensors": lambda run: write_tensors(OUTPUT, {"x": torch.zeros(LARGE, dtype=torch.uint8)}, {}),
    "json": lambda run: write_json(OUTPUT, ["x" * LARGE]),
    "checkpoint": checkpoint,
    "dataset": dataset,
    "curve": curve,
    "video": video,
}


def pretend(monkeypatch: pytest.MonkeyPatch, action: Callable[[Run], None]) -> None:
    """Put a function in place of the stage."""
    module = ModuleType("metadiffuser.stages.define_tasks")
    module.run = action  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


def fill(folder: Path) -> Path:
    """Leave no room."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as stream:
        size = 1 << 16
        while size:
            try:
                stream.write(bytes(size))
            except OSError:
                size //= 2
    return path


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk(
    disk: Path,
    writer: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_json(OUTPUT, "of before")
    fillers: list[Path] = []

    def work(run: Run) -> None:
        half = run.work / "half.safetensors"
        if not fillers:
            write_tensors(half, {}, {"step": 1})
            fillers.append(fill(disk))
        assert half.exists()
        WRITERS[writer](run)
        write_json(OUTPUT, "whole")

    pretend(monkeypatch, work)
    command = JOB.command.split()[1:]
    assert cli.main(command) == 3
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("metadiffuser: ")
    assert "Traceback" not in "".join(said)
    assert ": No space left on device; make room or give write access there, then run again" in said[-1]
    named = Path(said[-1].split(": ")[1])
    assert named.resolve().is_relative_to(disk)
    assert ".part" not in str(named)
    assert read_json(OUTPUT) == "of before"
    assert not [path for path in disk.rglob("*.part") if path.is_file()]
    fillers[0].unlink()
    assert cli.main(command) == 0
    assert "goes on from .work/smoke/define_tasks@smoke-point_robot/half.safetensors, step 1" in caplog.text
    assert read_json(OUTPUT) == "whole"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EFBIG, "File too large", "artifacts/smoke/tasks/.point_robot.json.x1y_.part"),
        RuntimeError("Can't decrement id ref count (errno = 28, error message = 'No space left on device')"),
        OSError("Can't write data (file write failed: No space left on device)"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
    ],
    ids=["no name", "temporary name", "h5py's runtime error", "h5py's error", "a program that ended"],
)
def test_errors_of_all_libraries(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    put_in_force(Path.cwd())

    def fail(run: Run) -> None:
        write_tensors(run.work / "half.safetensors", {}, {"step": 1})
        raise error

    pretend(monkeypatch, fail)
    assert cli.main(JOB.command.split()[1:]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "make room or give write access there" in said
    assert ".part" not in said
    if getattr(error, "filename", None):
        assert said.startswith("metadiffuser: artifacts/smoke/tasks/point_robot.json: File too large;")
    assert (tmp_path / ".work/smoke" / JOB.name / "half.safetensors").exists()


@pytest.mark.parametrize(
    ("temporary", "shown"),
    [
        (".params.yaml.9ad3f9f80920.part", "params.yaml"),
        ("imports/ant_dir/.import.on_vcw9_/x.hdf5", "imports/ant_dir/x.hdf5"),
    ],
)
def test_a_verb_names_the_file_that_it_was_to_write(
    temporary: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", temporary)

    monkeypatch.setattr(cli, "_use", fail)
    assert cli.main(["use", "smoke"]) == 3
    assert capsys.readouterr().err.startswith(
        f"metadiffuser: {shown}: Permission denied; make room or give write access"
    )


def test_other_errors_keep_their_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put_in_force(Path.cwd())

    def fail(_: Run) -> None:
        raise RuntimeError("a mistake in the code")

    pretend(monkeypatch, fail)
    with pytest.raises(RuntimeError, match="a mistake in the code"):
        cli.main(JOB.command.split()[1:])


def test_the_records_of_the_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> set[str]:
        raise OSError(errno.ENOSPC, "No space left on device", ".dvc/cache/files")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sync, "_commit", fail)
    with pytest.raises(InputError, match=r"^.dvc/cache/files: No space left on device; make room"):
        sync.reconcile(PARAMS, {})
