"""Frames of recorded episodes: scenes, side views and sketches with plan and path, and their captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import radians, tan
from typing import Any

import numpy as np
import pytest

from metadiffuser.envs import FAMILIES, Array, Family, Sketch, Task
from metadiffuser.envs.shared import base
from metadiffuser.envs.shared.camera import roams
from metadiffuser.viewing import frames
from metadiffuser.viewing.scene import EXECUTED, PLAN, Image
from metadiffuser.viewing.sideview import AGENT, SideView, SketchView
from tests.helpers.videos import MOST, STEPS, episode, near


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
    columns = [near(written[90:], colour).nonzero()[1] for colour in (PLAN, EXECUTED)]
    assert columns[0].max() < columns[1].min(), "the key names the plan first, then the executed path"
    assert (written[50:90] == 128).all()


def test_the_key_names_each_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    class Pen:
        def line(self, place: Any, fill: Any, width: int) -> None:
            drawn.append(fill[:3])

        def text(self, place: Any, text: str, *rest: Any, **options: Any) -> None:
            drawn.append(text)

        def rectangle(self, *rest: Any, **options: Any) -> None:
            """Nothing is read of it."""

    monkeypatch.setattr("PIL.ImageDraw.Draw", lambda band: Pen())
    frames.caption(np.zeros((120, 240, 3), np.uint8), ("left", "right"))
    assert drawn == ["left", "right", PLAN, "planned", EXECUTED, "executed"]


def test_films_run_in_real_time_but_not_too_slowly() -> None:
    assert frames.frame_rate(FAMILIES["cheetah_vel"], 1) == 20.0
    assert frames.frame_rate(FAMILIES["cheetah_vel"], 2) == 10.0
    assert frames.frame_rate(FAMILIES["point_robot"], 1) == frames.SLOWEST
