"""Published models from the command line: played, checked, and missed with a sentence."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import metadiffuser
from metadiffuser import cli
from metadiffuser.errors import InputError
from metadiffuser.evaluation.blocks import play_cells
from metadiffuser.evaluation.cells import Cell
from metadiffuser.evaluation.setup import EpisodeSetup
from metadiffuser.pretrained import bundle
from metadiffuser.pretrained.hashes import HASHES
from metadiffuser.pretrained.playing import play
from tests.conftest import ROOT

SNIPPETS = [
    pytest.param(code, id=f"{page}-{number}")
    for page in ("pretrained.md", "python.md")
    for number, code in enumerate(
        re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.M | re.S)
    )
    if "metadiffuser.load(" in code
]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    return said.err


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) >= 3


@pytest.mark.parametrize("code", SNIPPETS)
@pytest.mark.slow
def test_snippets_run(clone: Path, code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("family", ["point_robot", "cheetah_vel"])
def test_an_agent_can_be_pickled_in_mid_episode(clone: Path, family: str) -> None:
    agent = metadiffuser.load(family)
    observation = np.zeros(agent.family.observation_size)
    agent.act(observation)
    other = pickle.loads(pickle.dumps(agent))
    assert other.family is agent.family
    np.testing.assert_array_equal(other.act(observation), agent.act(observation))


def test_the_callers_default_type_changes_no_action(clone: Path) -> None:
    actions = []
    for default in (torch.float32, torch.float64):
        torch.set_default_dtype(default)
        try:
            agent = metadiffuser.load("point_robot")
            agent.warm_start(next(iter(agent.tasks)))
            actions.append(agent.act(np.zeros(2)))
            assert torch.get_default_dtype() is default
        finally:
            torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(actions[0], actions[1])


def test_evaluate_plays_unseen_tasks_beside_the_committed_scores(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", "--pretrained", "--family", "point_robot", "--tasks", "2"]) == 0
    first = capsys.readouterr().out
    lines = first.strip().splitlines()
    assert lines[0].startswith("Point-Robot: pretrained/point_robot, of the preset smoke; one episode on 2 of 3 unseen")
    assert lines[1].split("  ")[0] == "task"
    number = r"-?\d+\.\d"
    assert re.fullmatch(rf"45: goal \S+ \S+ +{number} +-45\.0 \[-45\.0, -45\.0\] +{number} .*", lines[2])
    assert re.fullmatch(r"47: goal .* -35\.2 \[-47\.0, -23\.5\]", lines[3])
    assert re.fullmatch(rf"mean +{number} +-46\.0 +{number} +-34\.5", lines[4])
    assert cli.main(["evaluate", "--pretrained", "--family", "point_robot", "--tasks", "2"]) == 0
    assert capsys.readouterr().out == first, "another run gives other returns"
    assert cli.main(["evaluate", "--pretrained", "--family", "point_robot", "--tasks", "1"]) == 0
    mean = capsys.readouterr().out.strip().splitlines()[-1]
    assert re.fullmatch(rf"mean +{number} +-45\.0 +{number} +-33\.8", mean), "of other tasks than are played"


def test_every_return_is_that_of_its_task_and_context(clone: Path) -> None:
    published = bundle.read_bundle("point_robot")
    tasks, planner = [published.tasks[45], published.tasks[47]], published.planner()
    data = {quality: published.data(quality, tasks) for quality in published.episodes}
    stream = ("pretrained", "point_robot", "evaluate")
    setup = EpisodeSetup(published.family, tasks, 1, data, 1, 0, stream, (*stream, "start"))
    for context, found in play(published, tasks).items():
        alone = play_cells(planner, [Cell("metadiffuser", "dual", context)], setup, "")
        assert [found["45"], found["47"]] == pytest.approx(alone.returns.tolist(), abs=1e-4)


def test_evaluate_plays_every_family(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "--pretrained", "--tasks", "1"]) == 0
    said = capsys.readouterr().out
    assert said.index("Cheetah-Vel: pretrained/cheetah_vel") < said.index("Point-Robot: pretrained/point_robot")


def test_options_of_the_stage_and_of_published_models_do_not_mix(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--seed: not with --pretrained" in refused(capsys, "evaluate", "--pretrained", "--seed", "1")
    job = ("evaluate", "--family", "point_robot", "--representation", "generalised", "--seed", "0")
    assert "--tasks: only with --pretrained" in refused(capsys, *job, "--tasks", "3")
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--family", "point_robot"])
    assert "the following arguments are required: --representation, --seed" in capsys.readouterr().err


def test_verify_names_changed_and_missing_files_and_no_others(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify"]) == 0
    capsys.readouterr()
    denoiser = Path("pretrained/point_robot/denoiser.safetensors")
    content = bytearray(denoiser.read_bytes())
    content[-1] ^= 1
    denoiser.write_bytes(content)
    Path("pretrained/cheetah_vel/tasks.json").unlink()
    Path("pretrained/cheetah_vel/mine.txt").write_text("x")
    assert cli.main(["verify"]) == 1
    said = capsys.readouterr().out
    for path, what in {
        "point_robot/denoiser.safetensors": f"changed: its contents differ from {HASHES}",
        "cheetah_vel/tasks.json": "missing",
    }.items():
        family, full = path.split("/")[0], f"pretrained/{path}"
        assert f"pretrained@{family}: {full}: {what}; 'git checkout -- {full}' restores it\n" in said
    assert said.count("git checkout") == 2


@pytest.mark.parametrize("content", [None, "[]", "{"])
def test_hashes_that_are_gone_or_damaged_are_a_fault(
    clone: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = Path("pretrained/point_robot") / HASHES
    if content is None:
        listing.unlink()
    else:
        listing.write_text(content)
    what = "missing" if content is None else "damaged: it cannot be read"
    assert cli.main(["verify"]) == 1
    assert f"{listing}: {what}; 'git checkout -- {listing}'" in capsys.readouterr().out


def test_changed_models_are_not_used(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("pretrained/point_robot/settings.json")
    path.write_text(path.read_text().replace("0.3", "3.0"))
    sentence = f"{path}: changed: its contents differ from {HASHES}; 'git checkout -- {path}' restores it"
    assert sentence in refused(capsys, "evaluate", "--pretrained", "--family", "point_robot")
    assert sentence in refused(capsys, "view", "--pretrained", "--family", "point_robot")
    with pytest.raises(InputError, match=re.escape(sentence)):
        metadiffuser.load("point_robot")


def test_a_family_that_is_not_there(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "evaluate", "--pretrained", "--family", "cheetah_vle")
    assert said == "metadiffuser: family 'cheetah_vle': not in pretrained; did you mean 'cheetah_vel'?\n"
    assert "task 3: not an unseen task" in refused(
        capsys, "view", "--pretrained", "--family", "point_robot", "--task", "3"
    )


def test_without_a_folder_one_sentence_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundle, "__file__", str(tmp_path / "clone/src/metadiffuser/pretrained/bundle.py"))
    said = refused(capsys, "evaluate", "--pretrained")
    assert f"{tmp_path / 'pretrained'} and {tmp_path / 'clone/pretrained'}: no published models here" in said
    assert "make it with 'metadiffuser publish'" in said
    (tmp_path / "pretrained/resnet50").mkdir(parents=True)
    assert "no published models here" in refused(capsys, "evaluate", "--pretrained")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'other'}: no published models here")):
        metadiffuser.load("point_robot", tmp_path / "other")


def test_the_clones_folder_is_found_from_anywhere(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "__file__", str(clone / "src/metadiffuser/pretrained/bundle.py"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert metadiffuser.load("point_robot").family.name == "point_robot"
    assert bundle.find_folder(str(clone / "pretrained")) == clone / "pretrained"


def test_without_a_display_the_view_points_at_the_films(clone: Path) -> None:
    without = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "metadiffuser.cli", "view", "--pretrained", "--family", "point_robot"]
    done = subprocess.run(command, env=without, text=True, capture_output=True, check=False)
    assert done.returncode == 2
    assert "no display with OpenGL" in done.stderr
    assert "results/smoke/videos/point_robot" in done.stderr
