"""The stage that films recorded rollouts, with OpenGL and without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pictures

from metadiffuser import paths
from metadiffuser.artifacts import write_json, write_tensors
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.envs import FAMILIES, get_family
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.run import Run
from metadiffuser.stages import render_rollouts
from metadiffuser.viewing.rollouts import read_rollouts
from metadiffuser.viewing.scene import PLAN
from metadiffuser.viewing.video import GAP
from tests.conftest import ROOT
from tests.helpers.videos import MOST, decode, episode, near

SIZE = 96  # pixels
PICTURES = 3  # of a strip


def parameters(shown: int) -> Params:
    tree = load(ROOT / "presets" / "smoke.yaml").model_dump()
    rendering = {"width": SIZE, "height": SIZE, "frames": MOST, "strip_frames": PICTURES, "tasks": shown}
    tree |= {"families": list(FAMILIES), "seeds": [0], "rendering": rendering, "overrides": {}}
    return Params.model_validate(tree)


def render(
    name: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    shown: int = 1,
    guides: tuple[str, ...] = ("dual", "none"),
    left_out: int = 0,
) -> Path:
    """Run the stage in ``folder`` on made-up rollouts of ``shown`` tasks, none of the first ones; return the videos."""
    params = parameters(shown)
    folder.mkdir()
    monkeypatch.chdir(folder)
    job = dag.make_job(dag.STAGES["render_rollouts"], {"family": name}, params)
    run = Run(job, folder / "work", "cpu", {}, params)
    tasks = draw_tasks(FAMILIES[name], 1, left_out + shown, np.random.default_rng(0))
    recorded = [replace(episode(name, guide), task=task) for guide in guides for task in tasks[1 + left_out :]]
    write_json(run.path(paths.TASKS), {"family": name, "tasks": [task.to_json() for task in tasks]})
    arrays = {"positions": "positions", "paths": "path", "plans": "plans", "rewards": "rewards"}
    tensors = {
        key: torch.tensor(np.stack([getattr(one, field) for one in recorded]), dtype=torch.float32)
        for key, field in arrays.items()
    }
    header = {"family": name, "episodes": [{"task": one.task.to_json(), "guide": one.guide} for one in recorded]}
    rollouts = run.path(paths.ROLLOUTS, representation=params.representations[0], seed="0")
    write_tensors(rollouts, tensors, header)
    render_rollouts.run(run)
    return folder / run.path(paths.VIDEOS)


def check_videos(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["strip.png", "task1-dual-vs-none.mp4", "task1-dual.mp4"]
    solo = decode(folder / "task1-dual.mp4").frames
    assert solo.shape == (MOST, SIZE, SIZE, 3)
    pair = decode(folder / "task1-dual-vs-none.mp4").frames
    assert pair.shape == (MOST, SIZE, 2 * SIZE, 3)
    assert np.abs(pair[:, :, :SIZE].astype(int) - solo).mean() < 8
    assert np.abs(solo[0].astype(int) - solo[-1]).max() > 50, "nothing moves"
    assert any(near(frame, PLAN, 80).any() for frame in solo)
    with Pictures.open(folder / "strip.png") as strip:
        assert strip.size == (PICTURES * (SIZE // 2 + GAP) - GAP, SIZE // 2)


@pytest.mark.window
@pytest.mark.parametrize("name", FAMILIES)
def test_the_stage_writes_the_same_films_each_time(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opengl: None
) -> None:
    first, second = (render(name, tmp_path / run, monkeypatch) for run in ("first", "second"))
    check_videos(first)
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_every_task_shown_has_a_film_beside_the_unguided_planner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_opengl: None
) -> None:
    folder = render("point_robot", tmp_path / "two", monkeypatch, shown=2)
    films = {path.name for path in folder.glob("*.mp4")}
    assert films == {f"task{index}-dual{suffix}.mp4" for index in (1, 2) for suffix in ("", "-vs-none")}
    with pytest.raises(InputError, match="no episode of task 1 with guide none; run evaluate again"):
        render("point_robot", tmp_path / "lonely", monkeypatch, guides=("dual",))


def test_tasks_that_are_left_out_of_the_datasets_and_not_played_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_opengl: None
) -> None:
    folder = render("point_robot", tmp_path / "one", monkeypatch, left_out=1)
    assert {path.name for path in folder.glob("*.mp4")} == {"task2-dual.mp4", "task2-dual-vs-none.mp4"}


@pytest.mark.parametrize("name", FAMILIES)
def test_without_opengl_the_stage_ends_well_and_names_the_package_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], no_opengl: None
) -> None:
    check_videos(render(name, tmp_path / "plain", monkeypatch))
    lines = [line for line in capfd.readouterr().err.splitlines() if "apt install" in line]
    assert len(lines) == 1


def test_a_file_of_another_kind_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.safetensors"
    write_tensors(path, {"weights": torch.zeros(3)}, {"family": "point_robot"})
    with pytest.raises(InputError, match="not recorded rollouts"):
        read_rollouts(path)


def test_unknown_family_is_refused() -> None:
    with pytest.raises(InputError, match="cheetah_vel"):
        get_family("cheetah_vle")
