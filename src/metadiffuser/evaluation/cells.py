"""The cells of an evaluation: which agent, with which guide, told what about the task (method section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metadiffuser.config.schema import Evaluation, Planning, Window
from metadiffuser.data.windows import TaskData, draw_contexts
from metadiffuser.evaluation.warm_start import warm_start_source
from metadiffuser.planning.agent import Instructions, PlanningAgent

WITHOUT_CONTEXT = ("none", "zero_shot", "oracle")  # cells that start without transitions


@dataclass(frozen=True)
class Cell:
    """One row of the result tables, before it is split by task and episode.

    Attributes:
        method: ``metadiffuser``; ``unconditional``, the same network with the null condition, where only the guide's
            models are told z; or ``random``, uniform actions.
        guide: ``none``, ``return``, ``dynamics`` or ``dual``.
        context: where the warm-start data comes from, or ``none``; ``oracle`` is given z itself.
    """

    method: str
    guide: str
    context: str


def make_cells(config: Evaluation) -> list[Cell]:
    """Return every context with the first guide, every guide with the first context, and three references."""
    by_context = [Cell("metadiffuser", config.guides[0], context) for context in config.contexts]
    by_guide = [Cell("metadiffuser", guide, config.contexts[0]) for guide in config.guides[1:]]
    references = [Cell("unconditional", "none", "none"), Cell("random", "none", "none")]
    warm = [context for context in config.contexts if context not in WITHOUT_CONTEXT]
    guided = [Cell("unconditional", "return", context) for context in warm[:1]]
    return [*by_context, *by_guide, *guided, *references]


def instruct(
    cell: Cell,
    warm_start: Mapping[str, TaskData],
    positions: Sequence[int],
    planning: Planning,
    context_length: int,
    generator: torch.Generator,
    window: Window = "scattered",
) -> Instructions:
    """Return what the episodes of one cell are played with.

    Args:
        cell: a cell of a planning method.
        warm_start: episodes of the unseen tasks by quality.
        positions: position of each episode's task (B,) among the unseen tasks.
        planning: the guide's scales.
        context_length: K.
        generator: draws the warm-start episode and its transitions.
        window: how they are drawn.
    """
    size = len(positions)
    some = next(iter(warm_start.values()))
    contexts = torch.zeros(size, context_length, some.transitions.shape[-1])
    mask = torch.zeros(size, context_length, dtype=torch.bool)
    tasks = torch.tensor(positions)
    if cell.context not in WITHOUT_CONTEXT:
        count = some.rewards.shape[0]
        sources = [warm_start_source(cell.context, position, count) for position in positions]
        tasks = torch.tensor([task for _, task in sources])
        drawn, _ = draw_contexts(warm_start[sources[0][0]], tasks, context_length, generator, True, window)
        contexts[:, : drawn.shape[1]] = drawn
        mask[:, : drawn.shape[1]] = True
    follow = planning.return_scale if cell.guide in ("return", "dual") else 0.0
    agree = planning.dynamics_scale if cell.guide in ("dynamics", "dual") else 0.0
    return Instructions(
        contexts,
        mask,
        torch.full((size,), cell.context == "zero_shot"),
        torch.full((size,), follow),
        torch.full((size,), agree),
        some.parameters[tasks],
    )


def inform(agent: PlanningAgent, cells: Sequence[Cell], given: Sequence[Tensor | None]) -> None:
    """Give an agent z where its instructions hold no context to make it from.

    Args:
        agent: plays ``cells`` one after the other, each with R episodes; not yet started.
        cells: cells of planning methods.
        given: z (R, Z) of the episodes of each cell, or None where the agent makes it itself. The denoiser of
            ``unconditional`` does not see it; the guide's models do.
    """
    size = len(agent.known) // len(cells)
    parts = [own if z is None else z for own, z in zip(agent.latents.split(size), given, strict=True)]
    told = [z is not None and cell.method != "unconditional" for cell, z in zip(cells, given, strict=True)]
    agent.latents = torch.cat(parts)
    agent.known = agent.known | torch.tensor(told, device=agent.known.device).repeat_interleave(size)


def uniform_actions(generator: np.random.Generator, size: int, action_size: int) -> np.ndarray:
    """Return uniform actions (B, A) in [-1, 1], as float32."""
    return generator.uniform(-1.0, 1.0, (size, action_size)).astype(np.float32)
