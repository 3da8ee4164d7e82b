"""Films and film strips whose bytes depend on their frames alone."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image as Pictures

from metadiffuser.artifacts import whole_file
from metadiffuser.viewing.scene import Image

GAP = 4  # pixels between the pictures of a strip

_INPUT = ("-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24")
_ENCODING = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "26", "-threads", "1")
_REPEATABLE = ("-flags:v", "+bitexact", "-fflags", "+bitexact", "-map_metadata", "-1")
_CONTAINER = ("-movflags", "+faststart", "-f", "mp4")


@contextmanager
def film(path: Path, height: int, width: int, rate: float) -> Iterator[Callable[[Image], None]]:
    """Yield a function that appends a frame (height, width, 3) to an MP4: H.264, yuv420p, the same bytes each time.

    Args:
        path: written whole, or not at all if the block fails.
        height: pixels, even.
        width: pixels, even.
        rate: frames a second.

    Raises:
        OSError: the encoder failed; the message is its own.
    """
    size = ("-s", f"{width}x{height}", "-r", str(rate), "-i", "-")
    with whole_file(path) as temporary:
        command = [get_ffmpeg_exe(), *_INPUT, *size, *_ENCODING, *_REPEATABLE, *_CONTAINER, str(temporary)]
        encoder = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        sink = encoder.stdin
        assert sink is not None

        def append(frame: Image) -> None:
            if frame.shape != (height, width, 3):
                raise ValueError(f"expected a frame ({height}, {width}, 3), got {frame.shape}")
            sink.write(frame.tobytes())

        cut = None
        try:
            yield append
        except BrokenPipeError as error:  # the encoder has ended before the film has, and says why
            cut = error
        except BaseException:
            encoder.kill()
            raise
        finally:
            _, message = encoder.communicate()
        if encoder.returncode != 0 or cut:
            reason = message.decode(errors="replace").strip()
            raise OSError(errno.EIO, f"the encoder failed: {reason}", str(path)) from cut


def write_strip(path: Path, frames: Sequence[Image]) -> None:
    """Write ``frames``, each (height, width, 3), side by side as one PNG with white gaps."""
    height, width = frames[0].shape[:2]
    strip = np.full((height, len(frames) * (width + GAP) - GAP, 3), 255, np.uint8)
    for index, frame in enumerate(frames):
        left = index * (width + GAP)
        strip[:, left : left + width] = frame
    with whole_file(path) as temporary:
        Pictures.fromarray(strip).save(temporary, format="PNG", optimize=False)
