"""``metadiffuser use``: whole or not at all, and what it leaves to be run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from metadiffuser import cli
from metadiffuser.config.loading import load
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, locks, presets
from tests.conftest import ROOT, put_in_force, whole


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the presets, of which quick is in force."""
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    put_in_force(tmp_path, "quick")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record(project: Path) -> list[dag.Job]:
    """Make dvc.lock and outputs as if every job of params.yaml had been run."""
    jobs = dag.jobs(load(project / "params.yaml"))
    lines = ["schema: '2.0'", "stages:"]
    for job in jobs:
        lines += [f"  {job.name}:", "    params:", "      params.yaml:"]
        lines += [f"        {key}: {value!r}".replace("'", '"') for key, value in job.params.items()]
        for output in job.outputs:
            (project / output).parent.mkdir(parents=True, exist_ok=True)
            (project / output).write_text("")
    (project / "dvc.lock").write_text("\n".join(lines).replace("True", "true").replace("None", "null"))
    return jobs


def test_a_preset_is_written_whole(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    presets.use("smoke")
    assert (project / "params.yaml").read_text() == whole("smoke")
    said = capsys.readouterr().out
    count = len(dag.jobs(load("params.yaml")))
    assert f"params.yaml is now the preset smoke: {count} of {count} jobs are to be run." in said
    assert "train_behaviour: 4" in said
    assert not (project / "params.yaml.old").exists()


def test_what_is_recorded_is_not_to_be_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = record(project)
    presets.use("quick")
    assert f": 0 of {len(jobs)} jobs" in capsys.readouterr().out


def test_an_edit_and_a_lost_file_count_with_what_follows(project: Path) -> None:
    record(project)
    text = (project / "params.yaml").read_text()
    head, tail = text.split("\nevaluation:\n")
    (project / "params.yaml").write_text(head + "\nevaluation:\n" + tail.replace("episodes:", "episodes: 3 #", 1))
    stages = {name.split("@")[0] for name in presets.stale(load("params.yaml"))}
    assert stages == {"evaluate", "evaluate_baseline", "render_rollouts", "make_tables", "make_figures", "make_report"}
    (project / "params.yaml").write_text(text)
    Path("results/quick/figures").unlink()
    assert presets.stale(load("params.yaml")) == ["make_figures@quick", "make_report@quick"]


def test_edits_are_kept(project: Path) -> None:
    (project / "params.yaml").write_text("mine")
    presets.use("smoke")
    assert (project / "params.yaml.old").read_text() == "mine"


def test_no_earlier_edit_is_lost(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("mine", "mine, too", "and this"):
        (project / "params.yaml").write_text(text)
        presets.use("smoke")
    kept = {path.name: path.read_text() for path in project.glob("params.yaml.*")}
    assert kept == {"params.yaml.old": "mine", "params.yaml.old.1": "mine, too", "params.yaml.old.2": "and this"}
    assert "it is kept as params.yaml.old.2." in capsys.readouterr().out
    (project / "params.yaml").write_text("mine, too")
    presets.use("smoke")
    assert "it is kept as params.yaml.old.1." in capsys.readouterr().out
    assert len(list(project.glob("params.yaml.*"))) == 3, "the same words need no other copy"


def test_a_file_of_differences_is_written_whole(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "mine.yaml").write_text("extends: quick\npreset: mine\nbaselines: [focal]\nseeds: [3]\n")
    presets.use("mine.yaml")
    params = load("params.yaml")
    assert (params.preset, params.baselines, params.seeds) == ("mine", ["focal"], [3])
    assert params.baseline["focal"].model_dump()["latent_size"] == 8, "as in the preset that it extends"
    count = len(dag.jobs(params))
    said = capsys.readouterr().out
    assert f"params.yaml is now what mine.yaml says: {count} of {count} jobs are to be run." in said
    assert not (project / "params.yaml.old").exists()


def test_a_kept_file_of_edits_can_be_used_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = project / "params.yaml.old"
    kept.write_text((project / "params.yaml").read_text().replace("seed: 0", "seed: 5", 1))
    presets.use("params.yaml.old")
    assert load("params.yaml").seed == 5
    assert "params.yaml is now what params.yaml.old says" in capsys.readouterr().out


def test_parameters_are_written_in_the_projects_root_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "docs").mkdir()
    monkeypatch.chdir(project / "docs")
    with pytest.raises(InputError, match="presets/: no presets here; run from the project's root"):
        presets.use("../presets/quick.yaml")
    assert not Path("params.yaml").exists()


def test_a_file_that_is_not_there_is_not_looked_for_in_git(project: Path) -> None:
    with pytest.raises(InputError, match=r"nope\.yaml: cannot be read .*; check its path"):
        presets.use("nope.yaml")


def test_params_yaml_gets_the_keys_that_it_lacks(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(project)
    text = (project / "params.yaml").read_text()
    edited = text.replace("  horizon: 8\n", "", 1).replace("baselines: [bc]", "baselines: [bc, macaw]", 1)
    (project / "params.yaml").write_text(edited)
    with pytest.raises(InputError, match=r"key 'diffusion\.horizon' is missing; 'metadiffuser use params\.yaml'"):
        load("params.yaml")
    presets.use("params.yaml")
    params = load("params.yaml")
    assert params.diffusion.horizon == 16
    assert params.baseline["macaw"] == type(params.baseline["macaw"])()
    assert params.section("diffusion", "point_robot").width == 32, "what was there stays"
    said = capsys.readouterr().out
    assert "params.yaml is whole: " in said
    assert "train_baseline: 2" in said
    assert (project / "params.yaml.old").read_text() == edited
    presets.use("params.yaml")
    assert not (project / "params.yaml.old.1").exists(), "what stays as it is needs no copy"


@pytest.mark.parametrize("preset", ["laptop", "paper"])
def test_no_preset_counts_as_an_edit(project: Path, preset: str) -> None:
    for name in (preset, "quick"):
        presets.use(name)
    assert not list(project.glob("params.yaml.*"))


def test_nothing_is_touched_while_a_job_is_at_work(project: Path) -> None:
    (project / "params.yaml").write_text("mine")
    with (
        locks.exclusive("define_tasks@quick-point_robot"),
        pytest.raises(InputError, match=r"^define_tasks@quick-point_robot .* is at work in this checkout; wait"),
    ):
        presets.use("smoke")
    assert (project / "params.yaml").read_text() == "mine"
    assert not list(project.glob("params.yaml.*"))
    presets.use("smoke")


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda path: path.write_bytes(b"preset: \xff"), "not UTF-8 text; save it as UTF-8"),
        (Path.mkdir, "cannot be read (not a file); "),
    ],
    ids=["bytes", "folder"],
)
def test_a_preset_that_is_no_text_is_one_sentence(
    project: Path, spoil: Callable[[Path], object], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(project / "presets" / "bad.yaml")
    for words in (("use", "bad"), ("estimate", "--preset", "bad")):
        assert cli.main(words) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"metadiffuser: presets/bad.yaml: {what}")
        assert said.count("\n") == 1
    (project / "params.yaml").write_text("mine")
    presets.use("smoke")
    assert (project / "params.yaml.old").read_text() == "mine"


def test_parameters_that_are_no_file_are_left_alone(project: Path) -> None:
    (project / "params.yaml").unlink()
    (project / "params.yaml").mkdir()
    with pytest.raises(InputError, match=r"^params\.yaml: not a file; move it away"):
        presets.use("smoke")


def test_an_unknown_preset_names_the_choices(project: Path) -> None:
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(
        InputError,
        match=r"preset .smok. is unknown; expected one of expert, extrapolation, laptop, literature, .*, smoke",
    ):
        presets.use("smok")
    assert (project / "params.yaml").read_bytes() == before


@pytest.mark.parametrize("text", ["preset: broken", (ROOT / "presets" / "quick.yaml").read_text()])
def test_a_bad_preset_leaves_the_parameters_alone(project: Path, text: str) -> None:
    (project / "presets" / "broken.yaml").write_text(text)
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(InputError, match=r"presets/broken\.yaml: "):
        presets.use("broken")
    assert (project / "params.yaml").read_bytes() == before


def test_a_full_disk_leaves_the_parameters_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (project / "params.yaml").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        presets.use("smoke")
    assert (project / "params.yaml").read_bytes() == before
    assert sorted(path.name for path in project.iterdir()) == ["params.yaml", "presets"]
