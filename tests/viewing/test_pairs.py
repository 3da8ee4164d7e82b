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
