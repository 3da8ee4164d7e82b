"""``metadiffuser verify --rerun``: a job is run again elsewhere, and its outputs are compared byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from metadiffuser import cli
from metadiffuser.config.checked import KEPT
from metadiffuser.config.loading import load
from metadiffuser.pipeline import dag, records
from metadiffuser.pipeline.rerun import _copy_inputs, first_difference
from metadiffuser.pipeline.run import execute
from tests.conftest import ROOT
from tests.helpers.recorded import flip

PARAMS = load(ROOT / "presets" / "smoke.yaml")
DATASET = Path("artifacts/smoke/datasets/point_robot")


def snapshot() -> dict[str, tuple[int, bytes]]:
    """Times and contents of all files, but for the parameters that were read (config/checked.py)."""
    files = (path for path in sorted(Path().rglob("*")) if path.is_file() and path != KEPT)
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.slow
def test_a_job_is_run_again_elsewhere(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    job = dag.find_job("define_tasks", {"family": "point_robot"}, PARAMS)
    execute(job, PARAMS)
    before = snapshot()
    words = ["verify", "--rerun", "define_tasks", "--family", "point_robot"]
    assert cli.main(words) == 0
    assert capfd.readouterr().out.splitlines() == [
        f"{job.name}: identical outputs",
        "define_tasks: 1 of 1 jobs gave identical outputs",
    ]
    assert snapshot() == before
    tasks = Path(job.outputs[0])
    tasks.write_text(tasks.read_text().replace('"index": 1', '"index": 7', 1))
    assert cli.main(words) == 1
    place = before[str(tasks)][1].index(b'"index": 1') + len('"index": ')
    assert f"{job.name}: {tasks} differs, first at byte {place} (from 0)" in capfd.readouterr().out


def test_a_rerun_on_a_damaged_input_is_refused(made: list[dag.Job], capsys: pytest.CaptureFixture[str]) -> None:
    flip(DATASET / "index.json")
    assert cli.main(["verify", "--rerun", "train_context", "--family", "point_robot"]) == 1
    assert f"not run, because an input differs from its record: {DATASET}: " in capsys.readouterr().out


def test_inputs_are_copies_that_nobody_may_write(made: list[dag.Job], tmp_path_factory: pytest.TempPathFactory) -> None:
    scratch = tmp_path_factory.mktemp("scratch")
    _copy_inputs(scratch, made[-1], PARAMS)
    copies = [path for name in made[-1].inputs for path in records.files(scratch / name)]
    assert len(copies) == 3
    for path in copies:
        original = path.relative_to(scratch)
        assert path.read_bytes() == original.read_bytes()
        assert not path.samefile(original)
        assert not path.stat().st_mode & 0o222
    assert not any((scratch / name).exists() for name in made[-1].outputs)


def test_the_first_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for root in (Path("out"), Path("scratch/out")):
        root.mkdir(parents=True)
        for name in ("a", "b", "c"):
            (root / name).write_bytes(bytes(3_000_000))
    scratch = Path("scratch")
    assert first_difference([Path("out")], scratch) is None
    Path("out/c").write_bytes(bytes(2_999_999))
    assert first_difference([Path("out")], scratch) == "out/c differs, first at byte 2999999 (from 0)"
    Path("out/b").write_bytes(bytes(2_000_000) + b"\1" + bytes(999_999))
    assert first_difference([Path("out")], scratch) == "out/b differs, first at byte 2000000 (from 0)"
    Path("scratch/out/aa").touch()
    assert first_difference([Path("out")], scratch) == "out/aa differs: only the second run wrote it"
    Path("scratch/out/a").unlink()
    assert first_difference([Path("out")], scratch) == "out/a differs: the second run did not write it"
