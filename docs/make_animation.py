"""Make docs/assets/animation.webp, the moving picture of the README, from the committed videos.

With ``--check`` it only compares.
Each tile is one whole episode on an unseen task of a family, with the plans drawn over it. The episodes have different
lengths, so each is stretched or shortened to the same number of frames.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
VIDEOS = ROOT / "results" / "laptop" / "videos"
PICTURE = Path(__file__).resolve().with_name("assets") / "animation.webp"
CLIPS = (
    ("point_robot/task45", "cheetah_vel/task45", "cheetah_dir/task3"),
    ("ant_dir/task46", "hopper_param/task45", "walker_param/task45"),
)  # rows of the grid
SIZE = 480  # pixels of a video's side
TILE = 248  # pixels of a tile's side
FRAMES = 66
MILLISECONDS = 80  # of one frame
QUALITY = 55  # of WebP, 0 to 100


def clip(name: str) -> NDArray[np.uint8]:
    """Return ``FRAMES`` frames (FRAMES, TILE, TILE, 3), evenly spread over a video."""
    path = VIDEOS / f"{name}-dual.mp4"
    command = [get_ffmpeg_exe(), "-v", "error", "-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt"]
    raw = subprocess.run([*command, "rgb24", "-"], capture_output=True, check=path.is_file()).stdout
    if not raw:
        raise FileNotFoundError(2, "no video", str(path))
    video = np.frombuffer(raw, np.uint8).reshape(-1, SIZE, SIZE, 3)
    chosen = np.linspace(0, len(video) - 1, FRAMES).round().astype(int)
    tiles = [Image.fromarray(video[index]).resize((TILE, TILE), Image.Resampling.LANCZOS) for index in chosen]
    return np.stack([np.asarray(tile) for tile in tiles])


def grid() -> NDArray[np.uint8]:
    """Return the frames (FRAMES, 2 TILE, 3 TILE, 3) of the animation."""
    return np.concatenate([np.concatenate([clip(name) for name in row], axis=2) for row in CLIPS], axis=1)


def picture() -> bytes:
    """Return the animation as a WebP file that repeats for ever."""
    frames = [Image.fromarray(frame) for frame in grid()]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        format="WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=MILLISECONDS,
        loop=0,
        quality=QUALITY,
        method=4,
    )
    return buffer.getvalue()


def main(arguments: list[str]) -> int:
    """Write the picture, or with ``--check`` return 1 if it is not the one of the videos."""
    try:
        wanted = picture()
    except FileNotFoundError as error:
        sys.stderr.write(f"{error.filename}: missing; 'git checkout -- results' brings the videos back\n")
        return 1
    if arguments == ["--check"]:
        same = PICTURE.is_file() and PICTURE.read_bytes() == wanted
        if not same:
            sys.stderr.write(f"docs/assets/{PICTURE.name} differs from the videos in results/; run 'make animation'\n")
        return int(not same)
    PICTURE.write_bytes(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
