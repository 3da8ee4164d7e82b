"""``metadiffuser publish --stage``: the same job in another clone takes its outputs, a different one runs."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from metadiffuser import cli, paths
from metadiffuser.artifacts import read_json, write_json, write_text
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.pipeline import dag, records
from metadiffuser.pipeline.run import Run, execute
from metadiffuser.pretrained import jobs, sizes
from metadiffuser.pretrained.hashes import HASHES
from tests.conftest import ROOT, whole

PRESET = "smoke"
JOB = Path("pretrained/jobs/train_behaviour-point_robot-0")
COPY = JOB / "artifacts/behaviour/point_robot/shard0.safetensors"
CURVE_COPY = JOB / "results/training/behaviour/point_robot/shard0/plots/return.tsv"
POLICIES = Path(paths.BEHAVIOUR.format(preset=PRESET, family="point_robot", shard=0))
CURVE = Path(paths.BEHAVIOUR_CURVE.format(preset=PRESET, family="point_robot", shard=0))


@pytest.fixture(autouse=True)
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A project in which ``train_behaviour`` writes its call's number; the families that it was called for."""
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    one_shard = re.sub(r"^shards: .*$", "shards: [0]", whole(PRESET), flags=re.MULTILINE)
    write_text(tmp_path / "params.yaml", one_shard)
    monkeypatch.chdir(tmp_path)
    called: list[str] = []

    def train(run: Run) -> None:
        called.append(run.wildcard("family"))
        write_text(run.path(paths.BEHAVIOUR), f"policies {len(called)}")
        write_text(run.path(paths.BEHAVIOUR_CURVE) / "plots" / "return.tsv", f"returns {len(called)}")
        write_text(run.path(paths.BEHAVIOUR_CURVE) / ".snakemake_timestamp", "")

    module = ModuleType("metadiffuser.stages.train_behaviour")
    module.run = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for family in load().families:
        write_json(Path(paths.TASKS.format(preset=PRESET, family=family)), ["the tasks of", family])
    return called


def run(params: Params, family: str = "point_robot") -> None:
    execute(dag.find_job("train_behaviour", {"family": family, "shard": "0"}, params), params)


def publish(*words: str) -> int:
    return cli.main(["publish", "--stage", "train_behaviour", *words])


def forget() -> None:
    """Leave what a clone has: what git keeps, less the results."""
    for folder in ("results", ".work", "artifacts/smoke/behaviour"):
        shutil.rmtree(folder)


def test_a_clone_takes_them_in_place_of_training(trained: list[str], caplog: pytest.LogCaptureFixture) -> None:
    run(load())
    timing = Path(dag.timing_path("train_behaviour@smoke-point_robot-0", PRESET))
    spent = read_json(timing)
    assert publish("--family", "point_robot") == 0
    forget()
    run(load())
    assert trained == ["point_robot"]
    assert "takes the outputs of a published train_behaviour-point_robot-0" in caplog.text
    assert POLICIES.read_text() == "policies 1"
    assert (CURVE / "plots" / "return.tsv").read_text() == "returns 1"
    assert read_json(timing) == spent
    assert records.is_current(dag.find_job("train_behaviour", {"family": "point_robot", "shard": "0"}, load()))


def test_another_preset_has_them_under_its_own_name(trained: list[str]) -> None:
    run(load())
    publish("--family", "point_robot")
    forget()
    other = load().model_copy(update={"preset": "other"})
    write_json(Path(paths.TASKS.format(preset="other", family="point_robot")), ["the tasks of", "point_robot"])
    run(other)
    assert trained == ["point_robot"]
    assert read_json(Path("results/other/timings/train_behaviour-point_robot-0.json"))["job"].startswith(
        "train_behaviour@other"
    )


@pytest.mark.parametrize("change", ["parameters", "inputs", "family"])
def test_a_different_job_trains(trained: list[str], change: str) -> None:
    run(load())
    publish("--family", "point_robot")
    forget()
    params = load()
    if change == "parameters":
        tree = params.model_dump()
        tree["behaviour"]["steps"] += 1
        params = Params.model_validate(tree)
    if change == "inputs":
        write_json(Path(paths.TASKS.format(preset=PRESET, family="point_robot")), [])
    run(params, "cheetah_vel" if change == "family" else "point_robot")
    assert len(trained) == 2


def test_damaged_ones_are_named_and_not_taken(trained: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run(load())
    publish("--family", "point_robot")
    forget()
    CURVE_COPY.write_text("other returns")
    words = ["train_behaviour", "--family", "point_robot", "--shard", "0"]
    assert cli.main(words) == 2
    remedy = f"'git checkout -- {CURVE_COPY}' restores it"
    assert f"{CURVE_COPY}: changed: its contents differ from hashes.json; {remedy}" in capsys.readouterr().err
    assert not POLICIES.exists()
    assert trained == ["point_robot"]


def test_verify_compares_them_with_their_hashes(capsys: pytest.CaptureFixture[str]) -> None:
    run(load())
    publish("--family", "point_robot")
    timing = JOB / "results/timings/train_behaviour-point_robot-0.json"
    named = {path.relative_to(JOB).as_posix() for path in (COPY, CURVE_COPY, timing, JOB / "made_from.json")}
    assert set(read_json(JOB / HASHES)) == named
    capsys.readouterr()
    cli.main(["verify"])
    assert "pretrained@" not in capsys.readouterr().out
    COPY.write_text("others")
    assert cli.main(["verify"]) == 1
    said = capsys.readouterr().out
    assert f"pretrained@train_behaviour-point_robot-0: {COPY}: changed" in said


def test_stale_policies_are_not_published(trained: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run(load())
    POLICIES.write_text("others")
    assert publish("--family", "point_robot") == 2
    assert f"{POLICIES}: missing or stale; run 'snakemake --cores all {POLICIES}'" in capsys.readouterr().err
    assert publish() == 2
    assert not jobs.FOLDER.exists()


def test_what_is_made_is_published_and_the_rest_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    run(load())
    assert publish() == 0
    other = POLICIES.parents[1] / "cheetah_vel" / "shard0.safetensors"
    assert f"train_behaviour-cheetah_vel-0: not published: {other} is missing or stale\n" in capsys.readouterr().out
    assert [folder.name for folder in jobs.published_jobs()] == ["train_behaviour-point_robot-0"]


def test_what_was_published_stays_and_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for family in ("point_robot", "cheetah_vel"):
        run(load(), family)
        assert publish("--family", family) == 0
    said = capsys.readouterr().out
    assert "pretrained/jobs/train_behaviour-cheetah_vel-0: 0.0 MB\n" in said
    assert "pretrained/jobs/train_behaviour-point_robot-0: 0.0 MB, as it was\n" in said
    monkeypatch.setattr(sizes, "MOST_BYTES", 100)
    assert publish("--family", "point_robot") == 2
    assert (
        "more than 0 MB (jobs/train_behaviour-cheetah_vel-0 0.0, jobs/train_behaviour-point_robot-0 0.0)"
        in capsys.readouterr().err
    )
