"""Stage ``render_rollouts``: films of recorded rollouts with the plan drawn over them, and a film strip."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import numpy as np

from metadiffuser import paths
from metadiffuser.artifacts import whole_directory
from metadiffuser.config.schema import Rendering
from metadiffuser.envs import Family, get_family
from metadiffuser.envs.shared import gl
from metadiffuser.envs.shared.tasks import read_tasks, split
from metadiffuser.errors import InputError
from metadiffuser.pipeline.run import Run
from metadiffuser.progress import Progress
from metadiffuser.viewing.frames import caption, episode_frame, frame_rate, open_painter, rollout_frames, stride
from metadiffuser.viewing.rollouts import Episode, read_rollouts
from metadiffuser.viewing.video import film, write_strip

GUIDE, RIVAL = "dual", "none"  # the guide that is shown, and what it is shown beside


def run(run: Run) -> None:
    """Write films of each shown task, alone and beside the unguided planner, and ``strip.png`` of the first."""
    family = get_family(run.wildcard("family"))
    section: Rendering = run.section("rendering")
    (representation, *_), (seed, *_) = run.value("representations"), run.value("seeds")
    source = run.path(paths.ROLLOUTS, representation=representation, seed=str(seed))
    episodes = {(episode.task.index, episode.guide): episode for episode in read_rollouts(source)}
    played = {index for index, _ in episodes}
    shown = [task for task in split(read_tasks(run.path(paths.TASKS)), "test") if task.index in played][: section.tasks]
    for index, guide in product((task.index for task in shown), (GUIDE, RIVAL)):
        if (index, guide) not in episodes:
            raise InputError(f"{source}: no episode of task {index} with guide {guide}; run evaluate again")
    if gl.backend() is None:
        print(f"render_rollouts: plain side views only: {gl.REMEDY}", file=sys.stderr)
    with whole_directory(run.path(paths.VIDEOS)) as folder, Progress("render_rollouts", len(shown)) as progress:
        strip(folder / "strip.png", family, episodes[shown[0].index, GUIDE], section)
        for task in shown:
            film_pair(folder, family, episodes[task.index, GUIDE], episodes[task.index, RIVAL], section)
            progress.advance()


def film_pair(folder: Path, family: Family, guided: Episode, rival: Episode, section: Rendering) -> None:
    """Write ``task<index>-dual.mp4`` of ``guided``, and ``-vs-none.mp4`` with ``rival`` beside it, step by step.

    Both start from the same state, and each has its own caption: guide, step and return so far.
    """
    height, width, name = section.height, section.width, f"task{guided.task.index}-{GUIDE}"
    rate = frame_rate(family, stride(len(guided.rewards), section.frames))
    with ExitStack() as stack:
        append = stack.enter_context(film(folder / f"{name}.mp4", height, width, rate))
        append_pair = stack.enter_context(film(folder / f"{name}-vs-{RIVAL}.mp4", height, 2 * width, rate))
        painter = stack.enter_context(open_painter(family.model(guided.task), height, width))
        left = rollout_frames(painter, family, guided, section.frames)
        right = rollout_frames(painter, family, rival, section.frames)
        for pair in zip(left, right, strict=True):
            append(pair[0])
            append_pair(np.hstack(pair))


def strip(path: Path, family: Family, episode: Episode, section: Rendering) -> None:
    """Write pictures of half size, evenly spaced over the decisions of an episode."""
    height, width = section.height // 2, section.width // 2
    steps = np.linspace(0, len(episode.rewards) - 1, section.strip_frames).round().astype(int)
    with open_painter(family.model(episode.task), height, width) as painter:
        frames = [caption(episode_frame(painter, episode, step), (f"step {step}", "")) for step in steps.tolist()]
    write_strip(path, frames)
