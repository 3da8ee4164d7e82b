"""A short episode to show, and what tests look for in frames and films of it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from numpy.typing import NDArray

from metadiffuser.envs import FAMILIES, total_reward
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.viewing.rollouts import Episode
from metadiffuser.viewing.scene import Image

MOST = 7  # frames of a film
STEPS = 20
HORIZON = 5


def near(image: Image, colour: tuple[int, int, int], within: float = 60.0) -> NDArray[np.bool_]:
    """Tell which pixels have about this colour."""
    return np.asarray(np.linalg.norm(image.astype(float) - colour, axis=-1) < within)


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
