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

    All parameters live in one flat tensor, which is what the optimiser and Polyak averaging work on; ``layers`` are
    views of it. Gradients are written out rather than left to autograd, which at these sizes takes longer to keep
    its books than the matrix products take; they land in ``gradient`` through views in the same way.

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
        self.gradient = torch.zeros_like(self.flat)
        self.layers = unflatten(self.flat.detach(), members, self.sizes)
        self._gradients = unflatten(self.gradient, members, self.sizes)
        for index, (weight, bias) in enumerate(self.layers):
            bound = (OUTPUT_GAIN if index == len(pairs) - 1 else 1.0) / math.sqrt(weight.shape[1])
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs (M, B, in) to outputs (M, B, out)."""
        return self.trace(inputs)[-1]

    def trace(self, inputs: Tensor) -> list[Tensor]:
        """Return what every layer is given, inputs (M, B, in) first, and the outputs (M, B, out) last."""
        return perceptron(self.layers, inputs)

    def backward(self, trace: Sequence[Tensor], slope: Tensor) -> None:
        """Put the gradient of the parameters in place of what ``gradient`` held.

        Args:
            trace: of the forward pass.
            slope: gradient of the outputs (M, B, out).
        """
        for index in reversed(range(len(self.layers))):
            weight, bias = self._gradients[index]
            torch.sum(slope, dim=1, keepdim=True, out=bias)
            if weight.shape[-1] == 1:  # a product with one column is slow this way round, and fast the other
                torch.bmm(slope.transpose(1, 2), trace[index], out=weight.transpose(1, 2))
            else:
                torch.bmm(trace[index].transpose(1, 2), slope, out=weight)
            if index > 0:
                slope = self._below(index, trace, slope)

    def input_slope(self, trace: Sequence[Tensor], slope: Tensor, last: int) -> Tensor:
        """Return the gradient (M, B, last) of the last so many inputs, given that of the outputs (M, B, out)."""
        for index in reversed(range(1, len(self.layers))):
            slope = self._below(index, trace, slope)
        weight = self.layers[0][0][:, -last:]
        return torch.bmm(weight, slope.transpose(1, 2)).transpose(1, 2)  # few rows are faster than few columns

    def _below(self, index: int, trace: Sequence[Tensor], slope: Tensor) -> Tensor:
        """Return the gradient of what came out of the layer below ``index``, before its ReLU; (M, B, in)."""
        weight = self.layers[index][0].transpose(1, 2)
        result = slope * weight if weight.shape[1] == 1 else torch.bmm(slope, weight)
        return torch.ops.aten.threshold_backward.grad_input(result, trace[index], 0.0, grad_input=result)


def unflatten(flat: Tensor, members: int, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Return (weight (M, in, out), bias (M, 1, out)) of every layer as views of ``flat``."""
    layers, start = [], 0
    for fan_in, fan_out in itertools.pairwise(sizes):
        middle = start + members * fan_in * fan_out
        end = middle + members * fan_out
        layers.append((flat[start:middle].view(members, fan_in, fan_out), flat[middle:end].view(members, 1, fan_out)))
        start = end
    return layers


def perceptron(layers: Sequence[tuple[Tensor, Tensor]], inputs: Tensor) -> list[Tensor]:
    """Return what every layer is given, inputs (M, B, in) first, and the outputs (M, B, out) last.

    ReLU, because tanh costs a CPU twenty times as much.
    """
    trace = [inputs]
    for weight, bias in layers[:-1]:
        trace.append(torch.baddbmm(bias, trace[-1], weight).relu_())
    weight, bias = layers[-1]
    if weight.shape[-1] == 1:  # a matrix product with one column takes four times as long
        trace.append(torch.linalg.vecdot(trace[-1], weight.transpose(1, 2))[..., None].add_(bias))
    else:
        trace.append(torch.baddbmm(bias, trace[-1], weight))
    return trace


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


def squashed_slope(
    outputs: Tensor, noise: Tensor, actions: Tensor, action_slope: Tensor, density_slope: Tensor
) -> Tensor:
    """Return the gradient (..., 2A) of the actor's output, given those of what ``squashed_sample`` made of it.

    With a = tanh(u) and u = mean + std * noise: da/du = 1 - a^2 and d log pi / du = 2a; the standard deviation acts
    through u and, by -log std, directly. Where the clamp holds the log standard deviation, it has no gradient.

    Args:
        outputs: the actor's output (..., 2A).
        noise: standard normal (..., A).
        actions: what was drawn (..., A).
        action_slope: gradient of the actions (..., A).
        density_slope: gradient of the log densities (..., 1).
    """
    log_std = outputs.chunk(2, dim=-1)[1]
    raw = torch.addcmul(action_slope, actions.square(), action_slope, value=-1.0)
    raw.addcmul_(actions, density_slope, value=2.0)
    spread = (raw * noise).mul_(log_std.clamp(*LOG_STD).exp_()).sub_(density_slope)
    free = (log_std >= LOG_STD[0]) & (log_std <= LOG_STD[1])
    return torch.cat([raw, spread.mul_(free)], dim=-1)


def squashed_mean(outputs: Tensor) -> Tensor:
    """Return the deterministic actions tanh(mean) (..., A) of the actor's output (..., 2A)."""
    return torch.tanh(outputs.chunk(2, dim=-1)[0])
