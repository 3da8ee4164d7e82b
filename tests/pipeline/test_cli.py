"""The command line: exit codes, and mistakes as one sentence without a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from metadiffuser import cli
from metadiffuser.config.params import json_schema
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag
from tests.conftest import ROOT, put_in_force, whole


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the smoke preset in force."""
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    put_in_force(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command line that must be refused; return its one sentence."""
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("metadiffuser: ")
    assert said.err.count("\n") == 1
    return said.err


def test_every_stage_is_a_verb() -> None:
    for stage in dag.STAGES.values():
        words = [word for name in stage.wildcards for word in (f"--{name}", "x")]
        assert cli._parser().parse_args([stage.name, *words]).stage is stage


def test_a_job_that_is_not_in_force(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--family ant: not in params.yaml" in refused(capsys, "define_tasks", "--family", "ant")
    words = ("train_context", "--family", "point_robot", "--representation", "generalised", "--seed", "7")
    assert "--seed 7: not in params.yaml, which has 0" in refused(capsys, *words)


def test_a_missing_input_names_file_and_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "collect_dataset", "--family", "point_robot")
    assert "artifacts/smoke/tasks/point_robot.json: missing; run 'snakemake" in said


def test_bad_parameters(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("  horizon:", "  horizn:"))
    said = refused(capsys, "define_tasks", "--family", "point_robot")
    assert "unknown key 'diffusion.horizn'; did you mean 'horizon'?" in said
    (project / "params.yaml").unlink()
    assert "run from the project's root" in refused(capsys, "define_tasks", "--family", "point_robot")


def test_an_unknown_preset(capsys: pytest.CaptureFixture[str]) -> None:
    choices = "expert, extrapolation, laptop, literature, medium, paper, pilot, quick, random, representations, smoke"
    assert f"expected one of {choices}" in refused(capsys, "use", "big")


def test_only_use_takes_the_path_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "use", "big").endswith(", or the path of a YAML file\n")
    assert refused(capsys, "estimate", "--preset", "presets/quick.yaml").endswith(", representations, smoke\n")


def test_the_stages_are_listed_in_the_projects_root_only(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "src/metadiffuser/: missing; run from the project's root" in refused(capsys, "dvc")
    assert not (project / "dvc.yaml").exists()
    (project / "src/metadiffuser").mkdir(parents=True)
    assert cli.main(["dvc"]) == 0
    assert (project / "dvc.yaml").read_text() == (ROOT / "dvc.yaml").read_text()


def test_an_empty_parameter_file_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "params.yaml").write_text("")
    assert refused(capsys, "estimate").endswith("params.yaml: expected a mapping of sections, got nothing\n")


def test_use_and_schema(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["use", "quick"]) == 0
    assert (project / "params.yaml").read_text() == whole("quick")
    capsys.readouterr()
    assert cli.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_an_unknown_verb_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["tarin_context"])
    assert ended.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", "--cores", "0"), "argument --cores: expected a whole number from 1 on, got '0'"),
        (("plan", "--cores", "two"), "argument --cores: expected a whole number from 1 on, got 'two'"),
        (("import", "--reward-tolerance", "-1"), "argument --reward-tolerance: expected a number from 0 on, got '-1'"),
        (("import", "--state-tolerance", "nan"), "argument --state-tolerance: expected a number from 0 on, got 'nan'"),
    ],
)
def test_an_option_says_what_it_expects(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    assert capsys.readouterr().err.splitlines()[-1].endswith(said)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("x is y; do z"), 2, "metadiffuser: x is y; do z\n"),
        (KeyboardInterrupt(), 130, "interrupted; the same command continues from the last checkpoint"),
        (OSError(28, "No space left on device", "artifacts/x"), 3, "artifacts/x: No space left on device"),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    def raising(_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "_stage", raising)
    assert cli.main(["define_tasks", "--family", "point_robot"]) == code
    assert said in capsys.readouterr().err


def test_published_models_that_are_interrupted_go_on_nowhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metadiffuser.pretrained.playing.play_published", interrupted)
    assert cli.main(["evaluate", "--pretrained"]) == 130
    assert capsys.readouterr().err == "metadiffuser: interrupted\n"


@pytest.mark.slow
def test_a_real_process_runs_a_stage_with_the_threads_that_it_is_given(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(
        text.replace("  point_robot:\n    tasks: none", "  point_robot:\n    tasks: {test: 4}")
    )
    words = (sys.executable, "-m", "metadiffuser.cli", "define_tasks", "--family", "point_robot")
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "9"}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    tasks = json.loads((project / "artifacts" / "smoke" / "tasks" / "point_robot.json").read_text())["tasks"]
    assert len(tasks) == 7
    timing = json.loads((project / "results" / "smoke" / "timings" / "define_tasks-point_robot.json").read_text())
    assert timing["job"] == "define_tasks@smoke-point_robot"
    assert timing["threads"] == 1


@pytest.mark.slow
def test_threads_are_limited_after_the_libraries_are_imported() -> None:
    program = """
import numpy, scipy.linalg, torch
from threadpoolctl import threadpool_info
from metadiffuser.cli import _use_threads
_use_threads(3)
assert torch.get_num_threads() == 3, torch.get_num_threads()
assert threadpool_info() and all(pool["num_threads"] == 3 for pool in threadpool_info()), threadpool_info()
_use_threads(1)
assert torch.get_num_threads() == 1
assert all(pool["num_threads"] == 1 for pool in threadpool_info()), threadpool_info()
"""
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"'{sys.executable}' -m metadiffuser.cli schema | head -n 1; echo ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, text=True, capture_output=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.split()[-1] == "0"
