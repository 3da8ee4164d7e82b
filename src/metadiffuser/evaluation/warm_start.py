"""The one draw of warm-start data: the planner and every baseline are given what this returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from metadiffuser.config.schema import Context
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData
from metadiffuser.errors import InputError

QUALITIES = ("expert", "medium", "random")  # of the episodes that warm-start data are drawn from
WITHOUT_CONTEXT = ("none", "zero_shot", "oracle")  # evaluation contexts that start without transitions


def warm_start_source(context: str, position: int, count: int) -> tuple[str, int]:
    """Return (quality, position of the task) that a context's transitions come from.

    ``wrong_task`` takes expert data of the next of the ``count`` tasks.

    Raises:
        InputError: there is no other task.
    """
    if context == "wrong_task":
        if count < 2:
            raise InputError(
                "evaluation.contexts: wrong_task takes data of another unseen task, and there is only one; take it "
                "out, or have two unseen tasks or more"
            )
        return "expert", (position + 1) % count
    return context, position


def draw_warm_start(
    context: str,
    episodes: Mapping[str, TaskData],
    positions: Sequence[int],
    drawn_as: Context,
    generator: torch.Generator,
) -> WarmStart:
    """Return the warm-start data of one cell: one whole episode of the context's quality a row.

    Its first K steps in ``order`` are what ``draw_contexts`` draws with an equal generator: contexts are drawn at test
    time as in training.

    Args:
        context: evaluation context, which says where the data come from.
        episodes: {quality: episodes of the tasks}.
        positions: position of each row's task (B,) among the tasks.
        drawn_as: how contexts are drawn, and their K.
        generator: draws the warm-start episode and the order of its transitions.
    """
    size = len(positions)
    some = next(iter(episodes.values()))
    count, _, steps, width = some.transitions.shape
    if context in WITHOUT_CONTEXT:
        nothing = torch.zeros(size, steps, width), torch.arange(steps).repeat(size, 1)
        return WarmStart(*nothing, torch.zeros(size, dtype=torch.bool), some.parameters[torch.tensor(positions)])
    sources = [warm_start_source(context, position, count) for position in positions]
    data = episodes[sources[0][0]]
    tasks = torch.tensor([task for _, task in sources])
    episode = torch.randint(data.rewards.shape[1], (size, 1), generator=generator)
    if drawn_as.window == "consecutive":  # a stretch from anywhere; the other steps follow it, round the episode's end
        starts = steps - min(drawn_as.context_length, steps) + 1
        order = (torch.randint(starts, (size, 1), generator=generator) + torch.arange(steps)) % steps
    else:
        order = torch.rand(size, steps, generator=generator).argsort(dim=1)
    transitions = data.transitions[tasks, episode[:, 0]]
    return WarmStart(transitions, order, torch.ones(size, dtype=torch.bool), data.parameters[tasks])
