"""FOCAL's representation: an encoder trained by distances of contexts (Li et al., ICLR 2021, arXiv 2010.01112).

Contexts of one task are pulled together by their squared distance, contexts of different tasks pushed apart by an
inverse power of theirs; neither rewards nor states are predicted (metadiffuser.md, section 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

POWER = 2  # n of the inverse power: FOCAL's own
EPSILON = 0.1  # keeps the inverse power finite: FOCAL's own


def distance_metric_loss(latents: Tensor, tasks: Tensor) -> Tensor:
    """Return FOCAL's loss, the mean over all pairs of two contexts.

    ========================  =============================
    paper                     code
    ========================  =============================
    y_i = y_j: ||z_i-z_j||^2  ``squared[same]``
    else: 1 / (d^n + eps)     ``1 / (squared^(n/2) + eps)``
    ========================  =============================

    Either kind is averaged by itself, so that the few pairs of one task weigh as much as the many of two.

    Args:
        latents: z (B, Z).
        tasks: which task each is of (B,).
    """
    first, second = torch.triu_indices(len(latents), len(latents), offset=1)
    squared = (latents[first] - latents[second]).square().sum(dim=-1)
    same = (tasks[first] == tasks[second]).to(squared)
    apart = 1 / (squared ** (POWER / 2) + EPSILON)
    pull = (same * squared).sum() / same.sum().clamp_min(1)
    push = ((1 - same) * apart).sum() / (1 - same).sum().clamp_min(1)
    return pull + push
