"""What an agent is told of a task before it acts: one episode of somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metadiffuser.config.schema import Window


@dataclass(frozen=True)
class WarmStart:
    """What each of B episodes is told of its task.

    Attributes:
        transitions: one episode on the task by the warm-start policy (B, T, 2S + A + 1), in the order of time.
        order: a permutation of its steps (B, T); a context of K transitions takes the first K.
        known: False (B,) in zero-shot episodes, which are told nothing (``transitions`` do not count then) and
            have what they gather themselves.
    """

    transitions: Tensor
    order: Tensor
    known: Tensor

    def contexts(self, length: int) -> tuple[Tensor, Tensor]:
        """Return contexts of at most ``length`` transitions (B, K, 2S + A + 1) and their mask (B, K)."""
        chosen = self.order[:, :length]
        rows = torch.arange(len(chosen))[:, None]
        return self.transitions[rows, chosen], self.known[:, None].expand(chosen.shape)

    @classmethod
    def join(cls, parts: Sequence[WarmStart]) -> WarmStart:
        """Return what the episodes of all ``parts`` are told, as one batch."""
        return cls(*(torch.cat(tensors) for tensors in zip(*map(_tensors, parts), strict=True)))

    def __len__(self) -> int:
        return len(self.known)


def gathered_steps(count: int, length: int, window: Window) -> list[int]:
    """Return which of an episode's ``count`` transitions so far are its context: at most K, as in training.

    They are spread over the episode, its first and last among them, or the last ones if contexts are stretches.
    """
    chosen = min(count, length)
    first = count - chosen if window == "consecutive" else 0
    return [int(step) for step in np.linspace(first, count - 1, chosen).round()]


def _tensors(told: WarmStart) -> tuple[Tensor, Tensor, Tensor]:
    return told.transitions, told.order, told.known
