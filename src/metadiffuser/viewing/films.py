"""Films of recorded episodes with the plan drawn over them, and film strips of single pictures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import numpy as np

from metadiffuser.config.schema import Rendering
from metadiffuser.envs import Family, Task
from metadiffuser.errors import InputError
from metadiffuser.progress import Progress
from metadiffuser.viewing.frames import caption, episode_frame, frame_rate, open_painter, rollout_frames, stride
from metadiffuser.viewing.rollouts import Episode, read_rollouts
from metadiffuser.viewing.video import film, write_strip

SHOWN, BESIDE = "dual", "none"  # the guide that is shown, and the one beside it


def write_films(folder: Path, family: Family, tasks: Sequence[Task], source: Path, section: Rendering) -> None:
    """Write films of some tasks, alone and beside the unguided planner, and ``strip.png`` of the first.

    Args:
        folder: to write to; it exists.
        family: environment family.
        tasks: unseen ones, of which the first ``section.tasks`` that have been played are shown; those that are left
            out of the datasets have not.
        source: file of recorded rollouts.
        section: sizes and numbers of frames.

    Raises:
        InputError: the rollouts are missing or damaged, or lack an episode that is to be shown.
    """
    episodes = {(episode.task.index, episode.guide): episode for episode in read_rollouts(source)}
    played = {index for index, _ in episodes}
    shown = [task.index for task in tasks if task.index in played][: section.tasks]
    if not shown:
        raise InputError(f"{source}: no episode of an unseen task; run evaluate again")
    for index, guide in product(shown, (SHOWN, BESIDE)):
        if (index, guide) not in episodes:
            raise InputError(f"{source}: no episode of task {index} with guide {guide}; run evaluate again")
    with Progress("render_rollouts", len(shown)) as progress:
        write_episode_strip(folder / "strip.png", family, episodes[shown[0], SHOWN], section)
        for index in shown:
            film_pair(folder, family, episodes[index, SHOWN], episodes[index, BESIDE], section)
            progress.advance()


def film_pair(folder: Path, family: Family, guided: Episode, unguided: Episode, section: Rendering) -> None:
    """Write ``task<index>-dual.mp4`` of ``guided``, and ``-vs-none.mp4`` with ``unguided`` beside it, step by step.

    Both start from the same state, and each has its own caption: guide, step and return so far.
    """
    height, width, name = section.height, section.width, f"task{guided.task.index}-{SHOWN}"
    rate = frame_rate(family, stride(len(guided.rewards), section.frames))
    with ExitStack() as stack:
        append = stack.enter_context(film(folder / f"{name}.mp4", height, width, rate))
        append_pair = stack.enter_context(film(folder / f"{name}-vs-{BESIDE}.mp4", height, 2 * width, rate))
        painter = stack.enter_context(open_painter(family, guided.task, height, width))
        left = rollout_frames(painter, family, guided, section.frames)
        right = rollout_frames(painter, family, unguided, section.frames)
        for pair in zip(left, right, strict=True):
            append(pair[0])
            append_pair(np.hstack(pair))


def write_episode_strip(path: Path, family: Family, episode: Episode, section: Rendering) -> None:
    """Write pictures of half size, evenly spaced over the decisions of an episode."""
    height, width = section.height // 2, section.width // 2
    steps = np.linspace(0, len(episode.rewards) - 1, section.strip_frames).round().astype(int)
    with open_painter(family, episode.task, height, width) as painter:
        frames = [caption(episode_frame(painter, episode, step), (f"step {step}", "")) for step in steps.tolist()]
    write_strip(path, frames)
