"""M multilayer perceptrons at once, and the tanh-Gaussian distribution of actions.

One agent is M = 1 and fifty agents are M = 50: the member axis leads every array, and one batched matrix
product a layer serves all members.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LOG_STD = (-5.0, 1.0)  # bounds of the log standard deviation before squashing
OUTPUT_GAIN = 0.01  # the last layer starts small, so that first actions are unbiased and first values near zero


class MemberMLP(nn.Module):
    """M perceptrons with ReLU between their layers; no two share a parameter.

    All parameters live in one flat tensor, which is what the optimiser and Polyak averaging work on;
    ``layers`` are views of it. Gradients gather in ``flat.grad`` through views in the same way.

    Args:
        members: M.
        sizes: layer widths, from input to output.
        generator: draws the initial weights, uniform within 1 / sqrt(fan in).
    """

    def __init__(self, members: int, sizes: Sequence[int], generator: torch.Generator):
        super().__init__()
        self.members = members
        self.sizes = tuple(sizes)
        pairs = list(itertools.pairwise(self.sizes))
        count = sum(members * (fan_in + 1) * fan_out for fan_in, fan_out in pairs)
        self.flat = nn.Parameter(torch.empty(count, device=generator.device), requires_grad=False)
        self.flat.grad = torch.zeros_like(self.flat)
        self.frozen = unflatten(self.flat.detach(), members, self.sizes)
        gradients = unflatten(self.flat.grad, members, self.sizes)
        for index, (weight, bias) in enumerate(self.frozen):
            bound = (OUTPUT_GAIN if index == len(pairs) - 1 else 1.0) / math.sqrt(weight.shape[1])
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)
        self.layers = [(w.detach().requires_grad_(), b.detach().requires_grad_()) for w, b in self.frozen]
        for layer, gradient in zip(self.layers, gradients, strict=True):
            for leaf, view in zip(layer, gradient, strict=True):
                leaf.grad = view

    def zero_gradient(self) -> None:
        """Set the gradient of all members to zero, in place."""
        assert self.flat.grad is not None
        self.flat.grad.zero_()

    def forward(self, inputs: Tensor, frozen: bool = False) -> Tensor:
        """Map inputs (M, B, in) to outputs (M, B, out); ``frozen`` passes no gradient to the parameters."""
        return perceptron(self.frozen if frozen else self.layers, inputs)


def unflatten(flat: Tensor, members: int, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Return (weight (M, in, out), bias (M, 1, out)) of every layer as views of ``flat``."""
    layers, start = [], 0
    for fan_in, fan_out in itertools.pairwise(sizes):
        middle = start + members * fan_in * fan_out
        end = middle + members * fan_out
        layers.append((flat[start:middle].view(members, fan_in, fan_out), flat[middle:end].view(members, 1, fan_out)))
        start = end
    return layers


def perceptron(layers: Sequence[tuple[Tensor, Tensor]], inputs: Tensor) -> Tensor:
    """Return outputs (M, B, out) for inputs (M, B, in). ReLU, because tanh costs a CPU twenty times as much."""
    hidden = inputs
    for weight, bias in layers[:-1]:
        hidden = torch.relu_(torch.baddbmm(bias, hidden, weight))
    weight, bias = layers[-1]
    return torch.baddbmm(bias, hidden, weight)


def squashed_sample(outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Draw actions a = tanh(u), u ~ N(mean, std^2), and their log density (soft actor-critic, appendix C).

    log pi(a) = log N(u) - sum_i log(1 - tanh(u_i)^2), with log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)).

    Args:
        outputs: the actor's output (..., 2A): mean and log standard deviation, the latter clamped to LOG_STD.
        noise: standard normal (..., A).

    Returns:
        Actions (..., A) in (-1, 1) and log densities (...).
    """
    mean, log_std = outputs.chunk(2, dim=-1)
    log_std = log_std.clamp(*LOG_STD)
    raw = torch.addcmul(mean, log_std.exp(), noise)
    gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
    jacobian = 2.0 * (math.log(2.0) - raw - nn.functional.softplus(-2.0 * raw))
    return torch.tanh(raw), (gaussian - jacobian).sum(dim=-1)


def squashed_mean(outputs: Tensor) -> Tensor:
    """Return the deterministic actions tanh(mean) (..., A) of the actor's output (..., 2A)."""
    return torch.tanh(outputs.chunk(2, dim=-1)[0])
