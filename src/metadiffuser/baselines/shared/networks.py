"""M multilayer perceptrons at once, for losses whose gradients are left to autograd."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metadiffuser.behaviour.networks import MemberMLP, perceptron, unflatten


class Perceptrons(nn.Module):
    """M perceptrons with ReLU between their layers, all parameters in one flat tensor.

    Args:
        members: M.
        sizes: layer widths, from input to output.
        generator: draws the initial weights, as those of behaviour policies are drawn.
    """

    def __init__(self, members: int, sizes: Sequence[int], generator: torch.Generator):
        super().__init__()
        self.members = members
        self.sizes = tuple(sizes)
        self.flat = nn.Parameter(MemberMLP(members, sizes, generator).flat.detach().clone())

    def forward(self, inputs: Tensor, frozen: bool = False) -> Tensor:
        """Map inputs (M, B, in) to outputs (M, B, out); ``frozen`` passes no gradient to the parameters."""
        flat = self.flat.detach() if frozen else self.flat
        return perceptron(unflatten(flat, self.members, self.sizes), inputs)[-1]
