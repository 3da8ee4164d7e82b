"""Films and strips as they are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

from metadiffuser.viewing.scene import PLAN, Image
from metadiffuser.viewing.video import GAP, film, write_strip
from tests.helpers.videos import decode


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
