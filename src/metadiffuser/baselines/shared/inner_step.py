"""A learned gradient step, for methods that adapt by gradient descent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

Layers = list[tuple[Tensor, Tensor]]


class InnerStep(nn.Module):
    """A gradient step whose size and direction are learned: a weight or bias W with gradient G becomes W - rate G R.

    Every weight and every bias has a rate, every layer an R (out, out) of its outputs, the identity at first
    (meta-curvature: Park and Oliva 2019, arXiv 1902.03356). It has the part of MACAW's weight transform.

    Args:
        layers: that the step is for.
        rate: the first of every rate.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], rate: float):
        super().__init__()
        self.log_rates = nn.Parameter(torch.full((len(layers), 2), math.log(rate)))
        self.maps = nn.ParameterList(torch.eye(weight.shape[-1]) for weight, _ in layers)

    def forward(self, layers: Layers, loss: Tensor, create_graph: bool, factor: float = 1.0) -> Layers:
        """Return the layers after the step on ``loss``, ``factor`` times as long as learned.

        ``create_graph`` lets gradients flow through it.
        """
        gradients = iter(torch.autograd.grad(loss, list(chain.from_iterable(layers)), create_graph=create_graph))
        moved = []
        for (weight, bias), rates, outputs in zip(layers, factor * self.log_rates.exp(), self.maps, strict=True):
            moved.append((weight - rates[0] * next(gradients) @ outputs, bias - rates[1] * next(gradients) @ outputs))
        return moved
