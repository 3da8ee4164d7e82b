"""The live window, opened on a virtual display, driven by real keys and mouse, judged by its picture."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageGrab

from metadiffuser.artifacts import write_json
from metadiffuser.config.loading import load
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.shared.base import without_model
from metadiffuser.envs.shared.tasks import LEFT_OUT
from metadiffuser.errors import InputError
from metadiffuser.viewing import live
from metadiffuser.viewing.live import Player, pick_task, view
from metadiffuser.viewing.scene import EXECUTED, PLAN
from tests.conftest import ROOT, require

SLATE = (100, 110, 126)
PATIENCE = 60.0  # seconds before a window that does not react fails the test
CALM = 40  # frames in a row without a step: the play has stopped

# A robot that glides ahead and writes down each step and each frame.
SCRIPT = """
import sys
import numpy as np
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import default_task
from metadiffuser.viewing.live import play

family = get_family(sys.argv[1])
task = default_task(family.name, 3)
rest = family.simulator([task], 1).positions[0] * 0.0


class Gliding:
    def reset(self):
        self.taken = 0
        print("reset", flush=True)

    def step(self):
        self.taken += 1
        print("step", flush=True)

    @property
    def positions(self):
        return rest + 0.06 * self.taken * np.eye(len(rest))[0]

    @property
    def plan(self):
        print("frame", flush=True)
        start = np.array([0.06 * self.taken, 0.0, 0.7 if len(rest) > 2 else 0.06])
        return start + np.linspace(0.0, 1.0, 10)[:, None] * np.array([0.7, 0.5, 0.3])

    @property
    def caption(self):
        return f"{family.title}\\nstep {self.taken}"


play(family, task, Gliding())
"""


@pytest.fixture
def display() -> Iterator[str]:
    """Start a virtual display; yield its name."""
    require("Xvfb", "virtual display of the window tests (Debian package xvfb)")
    require("xdotool", "keys and mouse of the window tests (Debian package xdotool)")
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "1200x900x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield f":{server.stdout.readline().strip()}"
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


class Play:
    """A running window and what its player wrote down."""

    def __init__(self, family: str, display: str, folder: Path):
        self.display = display
        self.home = folder / "home"
        self.work = folder / "work"
        self.home.mkdir()
        self.work.mkdir()
        self._record = folder / "record.txt"
        self._errors = folder / "errors.txt"
        self._environment = {**os.environ, "DISPLAY": display, "HOME": str(self.home), "MUJOCO_GL": "egl"}
        self._environment.pop("XDG_CONFIG_HOME", None)
        with self._record.open("w") as record, self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, family],
                cwd=self.work,
                env=self._environment,
                stdout=record,
                stderr=errors,
            )

    def events(self) -> list[str]:
        return self._record.read_text().split()

    def steps(self) -> int:
        return self.events().count("step")

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{what} did not happen; exit {self.process.poll()}\n{self._errors.read_text()}")
            time.sleep(0.05)

    def calm(self) -> bool:
        last = self.events()[-CALM:]
        return len(last) == CALM and set(last) == {"frame"}

    def draw(self, frames: int = 3) -> None:
        """Wait until some more frames are drawn."""
        target = self.events().count("frame") + frames
        self.wait(lambda: self.events().count("frame") >= target, "drawing")

    def do(self, *actions: str) -> None:
        """Press keys and move the mouse, as a person does."""
        subprocess.run(["xdotool", *actions], env=self._environment, check=True)

    def screenshot(self) -> NDArray[np.int_]:
        self.draw()
        return np.asarray(ImageGrab.grab(xdisplay=self.display).convert("RGB"), int)


@pytest.fixture
def start(display: str, tmp_path: Path) -> Iterator[Callable[[str], Play]]:
    running: list[Play] = []

    def open_window(family: str) -> Play:
        play = Play(family, display, tmp_path)
        running.append(play)
        play.wait(lambda: play.steps() >= 15, "the play")
        return play

    yield open_window
    for play in running:
        if play.process.poll() is None:
            play.process.kill()
        play.process.wait()


def count(picture: NDArray[np.int_], colour: tuple[int, int, int], within: float = 45.0) -> int:
    return int((np.linalg.norm(picture - np.array(colour), axis=-1) < within).sum())


def pause(play: Play) -> int:
    """Press space; return the number of steps taken when the play stands still."""
    play.do("key", "space")
    play.wait(play.calm, "pausing")
    return play.steps()


@pytest.mark.window
def test_window_shows_the_robot_and_its_plan_and_obeys_keys_and_mouse(start: Callable[[str], Play]) -> None:
    play = start("cheetah_vel")
    stopped = pause(play)
    shown = play.screenshot()
    assert count(shown, PLAN) > 150, "the plan is not in the picture"
    assert count(shown, EXECUTED) > 30, "the executed path is not in the picture"
    assert count(shown, SLATE, 60.0) > 2000, "the robot is not in the picture"
    assert play.steps() == stopped

    play.do("key", "Right")
    play.wait(lambda: play.steps() > stopped, "a single step")
    play.wait(play.calm, "standing still after a single step")
    assert play.steps() == stopped + 1
    before = play.screenshot()
    assert np.abs(before - shown).max() > 50, "the step is not in the picture"

    play.do("mousemove", "500", "400", "mousedown", "1", "mousemove_relative", "--", "120", "30", "mouseup", "1")
    turned = play.screenshot()
    assert (np.abs(turned - before).max(axis=-1) > 20).mean() > 0.05, "dragging does not turn the camera"
    play.do("click", "4", "click", "4", "click", "4")
    zoomed = play.screenshot()
    assert (np.abs(zoomed - turned).max(axis=-1) > 20).mean() > 0.05, "the wheel does not zoom"
    play.do("mousemove", "300", "500", "click", "--repeat", "2", "--delay", "80", "1")
    aimed = play.screenshot()
    assert (np.abs(aimed - zoomed).max(axis=-1) > 20).mean() > 0.05, "a double click does not aim the camera"

    play.do("key", "t", "key", "ctrl+s")  # would write files, in the package as it is
    play.do("key", "space")
    play.wait(lambda: play.steps() > stopped + 3, "going on")
    play.do("key", "Escape")
    assert play.process.wait(PATIENCE) == 0
    assert list(play.home.iterdir()) == []
    assert list(play.work.iterdir()) == []


@pytest.mark.window
def test_flat_families_are_seen_from_above_and_start_again_after_an_episode(start: Callable[[str], Play]) -> None:
    play = start("point_robot")
    play.wait(lambda: play.events().count("reset") == 2, "a second episode")
    assert play.steps() >= 20
    pause(play)
    shown = play.screenshot()
    assert count(shown, PLAN) > 150
    assert count(shown, (51, 176, 80), 60.0) > 100, "the goal is not in the picture"
    assert count(shown[60:700, 200:760], (0, 0, 0)) == 0, "the floor ends inside the window"
    play.do("key", "Escape")
    assert play.process.wait(PATIENCE) == 0


def test_without_a_display_one_sentence_points_at_the_films() -> None:
    code = (
        "from metadiffuser.config.loading import load\n"
        "from metadiffuser.errors import InputError\n"
        "from metadiffuser.viewing.live import view\n"
        "try:\n"
        "    view(load('presets/smoke.yaml'), 'point_robot', None, 'dual', None)\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    without = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=without, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "no display" in done.stdout
    assert "results/smoke/videos/point_robot" in done.stdout
    assert done.stderr == ""


def never(*_: object) -> Player:
    raise AssertionError("the agent is loaded before the input is checked")


@pytest.mark.parametrize(
    ("family", "guide", "named"),
    [
        ("cheetah_vle", "dual", "cheetah_vel"),
        ("cheetah_vel", "daul", "did you mean 'dual'"),
        ("ant_dir", "dual", "--family ant_dir: not in params.yaml, which has point_robot, cheetah_vel"),
    ],
)
def test_unknown_names_are_refused(family: str, guide: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        view(load(ROOT / "presets" / "smoke.yaml"), family, None, guide, never)


def test_a_family_without_a_model_is_refused_with_its_films(monkeypatch: pytest.MonkeyPatch) -> None:
    sketched = replace(get_family("point_robot"), model=without_model)
    monkeypatch.setattr("metadiffuser.viewing.live.get_family", lambda name: sketched)
    with pytest.raises(InputError, match="no MuJoCo model to open a window on; play the films in results/smoke/videos"):
        view(load(ROOT / "presets" / "smoke.yaml"), "point_robot", None, "dual", never)


class NoWindow:
    """In place of the window: asks for a step at each of three frames."""

    paused = False

    def __init__(self) -> None:
        self.frames = 3
        self.trail = np.zeros((1, 3))

    @property
    def is_alive(self) -> bool:
        self.frames -= 1
        return self.frames >= 0

    def take_single_step(self) -> bool:
        return True

    def nothing(self, *_: object) -> None:
        pass

    place_camera = follow = render = close = nothing


class Advancing:
    """A half-cheetah that is a metre further on at every step, from 1 m on."""

    plan = None
    caption = ""

    def __init__(self) -> None:
        self.positions = np.zeros(9)

    def reset(self) -> None:
        self.positions[0] = 1.0

    def step(self) -> None:
        self.positions[0] += 1.0


def test_the_trail_goes_to_where_the_robot_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    window = NoWindow()
    monkeypatch.setattr("metadiffuser.viewing.live.Window", lambda *_: window)
    live.play(get_family("cheetah_vel"), Task(0, "test", {"speed": (1.0,)}), Advancing())
    assert window.trail[:, 0].tolist() == pytest.approx([1.0, 2.0, 3.0, 4.0])


def test_the_first_unseen_task_is_the_default(tmp_path: Path) -> None:
    tasks = [Task(index, "train" if index < 2 else "test", {"goal": (0.1, 0.2)}) for index in range(4)]
    path = tmp_path / "tasks.json"
    write_json(path, {"family": "point_robot", "tasks": [task.to_json() for task in tasks]})
    assert pick_task(path, None).index == 2
    assert pick_task(path, 3).index == 3
    with pytest.raises(InputError, match=r"tasks 0 to 3$"):
        pick_task(path, 4)


def test_a_task_that_is_not_there_is_named_with_those_left_out(tmp_path: Path) -> None:
    tasks = [Task(index, "train", {"goal": (0.1, 0.2)}) for index in range(4)]
    path = tmp_path / "tasks.json"
    write_json(path, {"family": "point_robot", "tasks": [task.to_json() for task in tasks]})
    write_json(tmp_path / LEFT_OUT, [1])
    with pytest.raises(InputError, match=r"tasks 0 to 3; left out of the data: 1$"):
        pick_task(path, 1, tmp_path)
    with pytest.raises(InputError, match=r"tasks\.json: holds no unseen task; name one of the others by --task"):
        pick_task(path, None)
