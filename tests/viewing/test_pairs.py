"""Films of two episodes side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metadiffuser.config.schema import Rendering
from metadiffuser.envs import get_family
from metadiffuser.viewing import films
from metadiffuser.viewing.scene import Image
from tests.helpers.videos import episode


def test_the_guided_episode_is_on_the_left_and_the_unguided_one_on_the_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, list[Image]] = {}

    @contextmanager
    def film(path: Path, *_: Any) -> Iterator[Callable[[Image], None]]:
        yield written.setdefault(path.name, []).append

    def frames(_: Any, __: Any, shown: Any, most: int) -> Iterator[Image]:
        yield from (np.full((64, 64, 3), 10 if shown.guide == "dual" else 200, np.uint8) for _ in range(most))

    monkeypatch.setattr(films, "film", film)
    monkeypatch.setattr(films, "open_painter", lambda *_: nullcontext())
    monkeypatch.setattr(films, "rollout_frames", frames)
    guided, unguided = episode("point_robot", "dual"), episode("point_robot", "none")
    section = Rendering(width=64, height=64, frames=3, strip_frames=2, tasks=1)
    films.film_pair(tmp_path, get_family("point_robot"), guided, unguided, section)
    index = guided.task.index
    assert [int(frame.mean()) for frame in written[f"task{index}-dual.mp4"]] == [10, 10, 10]
    pairs = written[f"task{index}-dual-vs-none.mp4"]
    assert [(int(frame[:, :64].mean()), int(frame[:, 64:].mean())) for frame in pairs] == [(10, 200)] * 3


def test_a_film_of_every_other_step_is_as_long_as_the_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    @contextmanager
    def film(path: Path, height: int, width: int, rate: float) -> Iterator[Callable[[Image], None]]:
        rates.append(rate)
        yield lambda picture: None

    monkeypatch.setattr(films, "film", film)
    monkeypatch.setattr(films, "open_painter", lambda *_: nullcontext())
    monkeypatch.setattr(films, "rollout_frames", lambda *_: iter(()))
    shown, family = episode("cheetah_vel"), get_family("cheetah_vel")
    section = Rendering(width=64, height=64, frames=10, strip_frames=2, tasks=1)
    films.film_pair(tmp_path, family, shown, shown, section)
    assert rates == [1.0 / (2 * family.dt)] * 2  # 20 steps, at most ten pictures


def test_a_strip_goes_from_the_first_decision_to_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def caption(image: Image, line: tuple[str, str]) -> Image:
        said.append(line[0])
        return image

    monkeypatch.setattr(films, "open_painter", lambda *_: nullcontext())
    monkeypatch.setattr(films, "episode_frame", lambda *_: np.zeros((32, 32, 3), np.uint8))
    monkeypatch.setattr(films, "caption", caption)
    section = Rendering(width=64, height=64, frames=3, strip_frames=4, tasks=1)
    films.write_episode_strip(tmp_path / "strip.png", get_family("point_robot"), episode("point_robot"), section)
    assert said == ["step 0", "step 6", "step 13", "step 19"]
