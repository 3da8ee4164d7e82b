"""Frames, films and strips of recorded rollouts, with OpenGL and without."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import radians, tan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from imageio_ffmpeg import get_ffmpeg_exe
from numpy.typing import NDArray
from PIL import Image as Pictures

from metadiffuser import paths
from metadiffuser.artifacts import write_json, write_tensors
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.envs import FAMILIES, Array, Family, Sketch, Task, get_family, total_reward
from metadiffuser.envs.shared import base, gl
from metadiffuser.envs.shared.camera import roams
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.run import Run
from metadiffuser.stages import render_rollouts
from metadiffuser.viewing import frames
from metadiffuser.viewing.rollouts import Episode, read_rollouts
from metadiffuser.viewing.scene import EXECUTED, PLAN, Image
from metadiffuser.viewing.sideview import AGENT, SideView, SketchView
from metadiffuser.viewing.video import GAP, film, write_strip
from tests.conftest import ROOT

SIZE = 96  # pixels
MOST = 7  # frames of a film
PICTURES = 3  # of a strip
STEPS = 20
HORIZON = 5


@pytest.fixture
def opengl() -> None:
    if gl.backend() is None:
        assert os.environ.get("CI") != "true", gl.REMEDY
        pytest.skip(gl.REMEDY)


@pytest.fixture
def no_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gl, "backend", lambda: None)


def near(image: Image, colour: tuple[int, int, int], within: float = 60.0) -> NDArray[np.bool_]:
    """Tell which pixels have about this colour."""
    return np.asarray(np.linalg.norm(image.astype(float) - colour, axis=-1) < within)


# --- which OpenGL library --------------------------------------------------------------------------------------------


@pytest.mark.skipif(len(gl.BACKENDS) < 3, reason="this system has one backend")
@pytest.mark.parametrize(
    ("wanted", "working", "chosen"),
    [
        ("", {"egl", "osmesa", "glfw"}, "egl"),
        ("", {"osmesa", "glfw"}, "osmesa"),
        ("", {"glfw"}, "glfw"),
        ("", set(), None),
        ("OSMesa", {"egl", "osmesa", "glfw"}, "osmesa"),
        ("osmesa", {"egl", "glfw"}, "egl"),
        ("off", {"egl", "osmesa", "glfw"}, None),
    ],
)
def test_the_first_backend_that_works_is_chosen(wanted: str, working: set[str], chosen: str | None) -> None:
    assert gl.choose(wanted, working.__contains__) == chosen


def test_probing_a_backend_that_cannot_work_leaves_this_process_alive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not gl.probe("glfw")
    assert list(tmp_path.iterdir()) == []


def test_without_a_library_the_message_names_the_package(no_opengl: None) -> None:
    model = FAMILIES["point_robot"].model(Task(0, "test", {"goal": (0.5, 0.5)}))
    with pytest.raises(InputError, match="apt install libegl1"):
        gl.renderer(model, 16, 16)


@pytest.mark.parametrize("name", FAMILIES)
def test_scenery_leaves_the_original_and_the_physics_alone(name: str) -> None:
    task = draw_tasks(FAMILIES[name], 1, 1, np.random.default_rng(0))[0]
    model = FAMILIES[name].model(task)
    before = {field: np.copy(getattr(model, field)) for field in ("geom_rgba", "geom_size", "tex_data", "body_mass")}
    scenery = gl.scenery(model)
    for field, value in before.items():
        assert np.array_equal(getattr(model, field), value)
    for field in ("body_mass", "body_inertia", "geom_friction", "jnt_range", "dof_damping", "actuator_gear"):
        assert np.array_equal(getattr(model, field), getattr(scenery, field))


# --- frames ----------------------------------------------------------------------------------------------------------


def episode(name: str, guide: str = "dual") -> Episode:
    """Return a short episode whose plans run straight ahead."""
    family = FAMILIES[name]
    task = draw_tasks(family, 1, 1, np.random.default_rng(0))[1]
    simulator = family.simulator([task], 1)
    simulator.reset(np.random.default_rng(1))
    positions, rewards = [simulator.positions[0]], []
    for step in range(STEPS):
        action = 0.5 * np.cos(step + np.arange(family.action_size))[None]
        _, terms = simulator.step(action)
        positions.append(simulator.positions[0])
        rewards.append(total_reward(terms)[0])
    path = family.world_points(np.stack(positions))
    ahead = np.linspace(0, 0.8, HORIZON)[:, None] * np.array([1.0, 0.0, 0.0])
    return Episode(task, guide, np.stack(positions), path, path[:-1, None] + ahead, np.array(rewards))


@pytest.fixture(params=["opengl", "side view"])
def make_painter(request: pytest.FixtureRequest) -> Iterator[Callable[[str, Task], frames.Painter]]:
    made = []

    def make(name: str, task: Task) -> frames.Painter:
        model = FAMILIES[name].model(task)
        if request.param == "side view":
            return SideView(model, 240, 240)
        request.getfixturevalue("opengl")
        made.append(frames.ScenePainter(model, 240, 240))
        return made[-1]

    yield make
    for painter in made:
        painter.close()


@pytest.mark.window
@pytest.mark.parametrize("name", FAMILIES)
def test_a_frame_shows_robot_plan_and_executed_path(
    name: str, make_painter: Callable[[str, Task], frames.Painter]
) -> None:
    shown = episode(name)
    painter = make_painter(name, shown.task)
    image = frames.episode_frame(painter, shown, STEPS - 1)
    assert image.shape == (240, 240, 3)
    assert image.dtype == np.uint8
    assert near(image, PLAN).sum() > 40
    assert near(image, EXECUTED).sum() > 5
    without = painter.paint(shown.positions[-2], None, shown.path[:-1])
    assert near(without, PLAN).sum() == 0
    alone = painter.paint(shown.positions[-2], None, shown.path[-2:-1])
    assert np.abs(alone.astype(int) - without).max() > 50, "the executed path is not drawn"
    elsewhere = painter.paint(shown.positions[0], None, shown.path[-2:-1])
    assert np.abs(alone.astype(int) - elsewhere).max() > 50, "the robot is not drawn"


@pytest.mark.window
def test_the_plan_appears_where_it_leads(make_painter: Callable[[str, Task], frames.Painter]) -> None:
    shown = episode("point_robot")
    image = frames.episode_frame(make_painter("point_robot", shown.task), shown, 3)
    focal = 120 / tan(radians(45 / 2))  # pixels: half the height over the tangent of half the camera's angle
    depth = 3.4 - shown.plans[3, :, 2]  # metres below the camera
    columns = (120 + focal * shown.plans[3, :, 0] / depth).round().astype(int)
    rows = (120 - focal * shown.plans[3, :, 1] / depth).round().astype(int)
    orange = near(image, PLAN)
    for row, column in zip(rows, columns, strict=True):
        assert orange[row - 1 : row + 2, column - 1 : column + 2].any()


@pytest.mark.window
@pytest.mark.parametrize("name", FAMILIES)
def test_both_painters_put_the_plan_in_the_same_place(name: str, opengl: None) -> None:
    shown = episode(name)
    model = FAMILIES[name].model(shown.task)
    scene = frames.ScenePainter(model, 240, 240)
    places = []
    for painter in (scene, SideView(model, 240, 240)):
        ys, xs = near(frames.episode_frame(painter, shown, 2), PLAN).nonzero()
        places.append((xs.min(), xs.max(), ys.mean()))
    scene.close()
    # One looks down at an angle, the other straight, on a robot that goes anywhere: its torso's height shows in one.
    assert np.allclose(places[0], places[1], atol=14 if roams(model) else 8)


def without_model(**sketch: Any) -> Family:
    """A family as of a gymnasium environment: the point robot, but drawn by a sketch."""
    return replace(FAMILIES["point_robot"], model=base.without_model, sketch=Sketch(**sketch))


def test_a_family_without_a_model_is_drawn_as_its_sketch(no_opengl: None) -> None:
    shown = episode("point_robot")
    shown = replace(shown, path=shown.path[:, [0, 2, 1]], plans=shown.plans[..., [0, 2, 1]])  # upright, not on a floor

    def outline(positions: Array) -> Array:
        return np.array([[-0.5, 0.0, 0.5], [positions[0], 0.0, positions[1]]])

    with frames.open_painter(without_model(outline=outline), shown.task, 240, 320) as painter:
        assert isinstance(painter, SketchView)
        pictures = [frames.episode_frame(painter, shown, step) for step in (8, STEPS)]
    with frames.open_painter(without_model(reach=3.0), shown.task, 240, 320) as painter:
        smaller = frames.episode_frame(painter, shown, 8)
    for picture in pictures:
        assert picture.shape == (240, 320, 3)
        assert near(picture, EXECUTED).sum() > 3
        assert near(picture, AGENT).sum() > 50
    ys, xs = near(pictures[0], PLAN).nonzero()
    x, z = shown.path[8, [0, 2]]
    assert xs.min() == pytest.approx(160 + 80 * x, abs=4)  # 120 pixels are 1.5 units
    assert ys.mean() == pytest.approx(120 - 80 * z, abs=4)
    assert not near(pictures[1], PLAN).any()
    assert np.ptp(near(smaller, PLAN).nonzero()[1]) == pytest.approx(np.ptp(xs) / 2, abs=4)


def test_a_sketch_that_is_not_still_follows_the_agent(no_opengl: None) -> None:
    shown = episode("point_robot")
    far = replace(shown, path=shown.path + np.array([50.0, 0.0, 7.0]))
    with frames.open_painter(without_model(still=False), shown.task, 240, 240) as painter:
        ys, xs = near(frames.episode_frame(painter, far, STEPS), AGENT).nonzero()
    assert (xs.mean(), ys.mean()) == pytest.approx((120, 120), abs=2)


def test_frames_are_spread_evenly_and_end_with_the_episode_if_they_may() -> None:
    shown = episode("point_robot")
    family = FAMILIES["point_robot"]
    steps: list[int] = []

    class Recorder:
        def paint(self, positions: Any, plan: Any, trail: Any) -> Image:
            steps.append(len(trail) - 1)
            assert (plan is None) == (len(trail) == STEPS + 1)
            return np.zeros((64, 64, 3), np.uint8)

    assert len(list(frames.rollout_frames(Recorder(), family, shown, 100))) == STEPS + 1
    assert steps == list(range(STEPS + 1))
    steps.clear()
    list(frames.rollout_frames(Recorder(), family, shown, MOST))
    assert steps == [0, 3, 6, 9, 12, 15, 18]


def test_the_caption_says_what_is_shown_and_the_return_so_far() -> None:
    shown = episode("point_robot", "none")
    family = FAMILIES["point_robot"]
    (title, guide), (step, gained) = frames.caption_lines(family, shown, 4)
    goal = shown.task.parameters["goal"]
    assert title == f"Point-Robot, goal ({goal[0]:.2f}, {goal[1]:.2f})"
    assert (guide, step) == ("guide: none", "step 4 of 20")
    assert gained == f"return {shown.rewards[:4].sum():.1f}"
    blank = np.full((120, 240, 3), 128, np.uint8)
    written = frames.caption(blank, (title, guide), (step, gained))
    assert near(written[:40], frames.INK).any()
    assert near(written[90:], PLAN).any()
    assert (written[50:90] == 128).all()


def test_films_run_in_real_time_but_not_too_slowly() -> None:
    assert frames.frame_rate(FAMILIES["cheetah_vel"], 1) == 20.0
    assert frames.frame_rate(FAMILIES["cheetah_vel"], 2) == 10.0
    assert frames.frame_rate(FAMILIES["point_robot"], 1) == frames.SLOWEST


# --- films and strips ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Film:
    codec: str
    pixels: str
    rate: float
    frames: Image  # (frames, height, width, 3)


def decode(path: Path) -> Film:
    """Play a film to its end."""
    command = [get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    about = re.search(rb"Video: (\w+) .*?(yuv\w+).*? (\d+)x(\d+).*? ([\d.]+) fps", done.stderr)
    assert about is not None
    codec, pixels, width, height, rate = (group.decode() for group in about.groups())
    shown = np.frombuffer(done.stdout, np.uint8).reshape(-1, int(height), int(width), 3)
    return Film(codec, pixels, float(rate), shown)


def moving_square(index: int) -> Image:
    image = np.full((64, 96, 3), 230, np.uint8)
    image[16:48, 8 * index : 8 * index + 32] = PLAN
    return image


def test_a_film_is_h264_and_shows_what_was_put_in(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with film(path, 64, 96, 20.0) as append:
        for index in range(6):
            append(moving_square(index))
    made = decode(path)
    assert (made.codec, made.pixels, made.rate) == ("h264", "yuv420p", 20.0)
    assert len(made.frames) == 6
    for index, frame in enumerate(made.frames):
        assert np.abs(frame.astype(int) - moving_square(index)).mean() < 8
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "a browser cannot start to play it before it is loaded"
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]


def write_film(path: Path, height: int, width: int, pictures: list[Image]) -> None:
    with film(path, height, width, 20.0) as append:
        for picture in pictures:
            append(picture)


def test_a_film_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a frame"):
        write_film(tmp_path / "film.mp4", 64, 96, [moving_square(0), moving_square(0)[:32]])
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_fails_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="encoder failed"):  # odd sizes do not fit yuv420p
        write_film(tmp_path / "film.mp4", 63, 95, [moving_square(0)[:63, :95]])
    assert list(tmp_path.iterdir()) == []


def test_a_strip_has_its_pictures_side_by_side(tmp_path: Path) -> None:
    pictures = [moving_square(index) for index in range(4)]
    write_strip(tmp_path / "strip.png", pictures)
    with Pictures.open(tmp_path / "strip.png") as opened:
        strip = np.asarray(opened)
    assert strip.shape == (64, 4 * 96 + 3 * GAP, 3)
    for index, picture in enumerate(pictures):
        assert np.array_equal(strip[:, index * (96 + GAP) :][:, :96], picture)


# --- the stage -------------------------------------------------------------------------------------------------------


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
