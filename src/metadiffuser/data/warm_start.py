"""Warm-start data: one episode of another policy, given to an agent before it acts (metadiffuser.md, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metadiffuser.config.schema import Window


@dataclass(frozen=True)
class WarmStart:
    """The warm-start data of B episodes.

    Attributes:
        transitions: one episode on the task by the warm-start policy (B, T, 2S + A + 1), in the order of time.
        order: a permutation of its steps (B, T); a context of K transitions takes the first K.
        has_context: False (B,) in episodes that start without a context, such as zero-shot ones; their ``transitions``
            do not count.
        parameters: parameters of the task that the transitions are of (B, F), which only the representation
            ``true_task`` reads.
    """

    transitions: Tensor
    order: Tensor
    has_context: Tensor
    parameters: Tensor

    def contexts(self, length: int) -> tuple[Tensor, Tensor]:
        """Return contexts of at most ``length`` transitions (B, K, 2S + A + 1) and their mask (B, K)."""
        chosen = self.order[:, :length]
        rows = torch.arange(len(chosen), device=chosen.device)[:, None]
        return self.transitions[rows, chosen], self.has_context[:, None].expand(chosen.shape)

    def to(self, device: torch.device) -> WarmStart:
        """Return the same data on ``device``."""
        return WarmStart(*(tensor.to(device) for tensor in self._tensors()))

    @classmethod
    def join(cls, parts: Sequence[WarmStart]) -> WarmStart:
        """Return the warm-start data of the episodes of all ``parts``, as one batch."""
        return cls(*(torch.cat(tensors) for tensors in zip(*(part._tensors() for part in parts), strict=True)))

    def __len__(self) -> int:
        return len(self.has_context)

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.transitions, self.order, self.has_context, self.parameters


def gathered_steps(count: int, length: int, window: Window) -> list[int]:
    """Return which of an episode's ``count`` transitions so far are its context: at most K, as in training.

    They are spread over the episode, its first and last among them, or the last ones if contexts are stretches.
    """
    chosen = min(count, length)
    first = count - chosen if window == "consecutive" else 0
    return [int(step) for step in np.linspace(first, count - 1, chosen).round()]
