"""What an evaluation's episodes are told of their task: the same warm-start data for every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from metadiffuser.config.schema import Context
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData


def warm_start_source(context: str, position: int, count: int) -> tuple[str, int]:
    """Return (quality, position of the task) that a context's transitions come from.

    ``wrong_task`` takes expert data of the next unseen task.
    """
    if context == "wrong_task":
        return "expert", (position + 1) % count
    return context, position


def draw_warm_start(
    context: str,
    episodes: Mapping[str, TaskData],
    positions: Sequence[int],
    drawn_as: Context,
    generator: torch.Generator,
) -> WarmStart:
    """Return what the episodes of one cell are told: one whole episode of the context's quality a row.

    Its first K steps in ``order`` are what ``draw_contexts`` draws with an equal generator, so that every method,
    the planner included, is told the same.

    Args:
        context: where the warm-start data comes from.
        episodes: episodes of the unseen tasks by quality.
        positions: position of each row's task (B,) among the unseen tasks.
        drawn_as: how contexts are drawn, and their K.
        generator: draws the warm-start episode and the order of its transitions.
    """
    size = len(positions)
    some = next(iter(episodes.values()))
    count, _, steps, width = some.transitions.shape
    if context == "zero_shot":
        order = torch.arange(steps).repeat(size, 1)
        return WarmStart(torch.zeros(size, steps, width), order, torch.zeros(size, dtype=torch.bool))
    sources = [warm_start_source(context, position, count) for position in positions]
    data = episodes[sources[0][0]]
    tasks = torch.tensor([task for _, task in sources])
    episode = torch.randint(data.rewards.shape[1], (size, 1), generator=generator)
    if drawn_as.window == "consecutive":  # a stretch from anywhere, and round the episode's end the rest
        starts = steps - min(drawn_as.context_length, steps) + 1
        order = (torch.randint(starts, (size, 1), generator=generator) + torch.arange(steps)) % steps
    else:
        order = torch.rand(size, steps, generator=generator).argsort(dim=1)
    return WarmStart(data.transitions[tasks, episode[:, 0]], order, torch.ones(size, dtype=torch.bool))
