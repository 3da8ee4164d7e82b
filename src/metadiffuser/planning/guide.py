"""The dual guide: gradients of predicted return and of dynamics consistency (metadiffuser.md, section 3).

    g = grad_x [ alpha * sum_t R_psi(s_t, a_t, z) - alpha * lambda * sum_t || s_{t+1} - P_omega(s_t, a_t, z) ||^2 ]

Both terms are in normalised units, so that one scale serves all families. A plan is (states, actions). The value beyond
the horizon, ``value_scale`` * V(s_{H-1}, z), is added to the return where it is asked for (ours).

``context.objective`` says what the guide climbs. ``DualGuide`` writes its gradient out by hand: sampling asks for it
at every denoising step, z is the same at all of them, and the models are small enough that building a graph costs as
much as the products themselves (``benchmarks/planning.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from metadiffuser.context.representation import ContextModel


class DualGuide:
    """The gradient of ``objective`` with regard to the plan, without automatic differentiation.

    Args:
        model: reward, dynamics and value models; their weights are read when the guide is made.
        value_scale: weight of V beside the predicted return; zero leaves it out.
    """

    def __init__(self, model: ContextModel, value_scale: float = 0.0):
        self._size = model.observation_size
        normaliser = model.normaliser
        seen = torch.cat([normaliser.local_mask, normaliser.local_mask.new_ones(model.action_size)])
        self._reward = _Perceptron(model.reward_model.network, seen, seen.new_ones(1), seen.new_zeros(1))
        # The dynamics model's output in normalised states: what ``ContextModel.predict_states`` adds to s_t.
        scale, shift = normaliser.delta_std / normaliser.state_std, normaliser.delta_mean / normaliser.state_std
        self._dynamics = _Perceptron(model.dynamics_model.network, seen, scale, shift)
        self._value: _Perceptron | None = None
        if value_scale:
            weight = value_scale * model.value_std.view(1)  # V's mean has no gradient
            self._value = _Perceptron(model.value_model.network, normaliser.local_mask, weight, weight.new_zeros(1))

    def prepare(self, latents: Tensor, return_scale: Tensor, dynamics_scale: Tensor) -> Callable[[Tensor], Tensor]:
        """Return (plan (B, H, S + A)) -> gradient (B, H, S + A); what the plan has no part in is computed here, once.

        Each model sees those rows alone whose scale is not zero.

        Args:
            latents: z (B, Z).
            return_scale: alpha (B,).
            dynamics_scale: alpha * lambda (B,).
        """
        terms = []
        for scale, make in ((return_scale, self._return_term), (dynamics_scale, self._dynamics_term)):
            if bool(scale.any()):
                rows = _Rows.of(scale)
                terms.append((rows, make(rows.take(latents), rows.take(scale))))

        def gradient(plan: Tensor) -> Tensor:
            total = torch.zeros_like(plan)
            for rows, term in terms:
                rows.add(total, term(rows.take(plan)))
            return total

        return gradient

    def _return_term(self, latents: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the gradient of alpha * [ sum_t R_psi(s_t, a_t, z) + value_scale * V(s_{H-1}, z) ]."""
        offset = self._reward.offset(latents)

        def term(plan: Tensor) -> Tensor:
            hidden = self._reward.hidden(plan, offset)
            return self._reward.backward(hidden, scale[:, None, None].expand(-1, plan.shape[1], 1))

        value = self._value
        if value is None:
            return term
        beyond = value.offset(latents)

        def term_with_value(plan: Tensor) -> Tensor:
            gradient = term(plan)
            hidden = value.hidden(plan[:, -1:, : self._size], beyond)
            gradient[:, -1:, : self._size] += value.backward(hidden, scale[:, None, None])
            return gradient

        return term_with_value

    def _dynamics_term(self, latents: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the gradient of -alpha * lambda * sum_t || s_{t+1} - s_t - P_omega(s_t, a_t, z) ||^2."""
        offset, weight, size = self._dynamics.offset(latents), 2 * scale[:, None, None], self._size

        def term(plan: Tensor) -> Tensor:
            states = plan[..., :size]
            hidden = self._dynamics.hidden(plan[:, :-1], offset)
            pull = weight * (states[:, 1:] - states[:, :-1] - self._dynamics.output(hidden))
            gradient = torch.zeros_like(plan)
            gradient[:, :-1] = self._dynamics.backward(hidden, pull)
            gradient[:, :-1, :size] += pull
            gradient[:, 1:, :size] -= pull
            return gradient

        return term


@dataclass(frozen=True)
class _Rows:
    """Some rows of a batch; ``None`` is all of them, and copies nothing."""

    index: Tensor | None

    @classmethod
    def of(cls, scale: Tensor) -> _Rows:
        """Return the rows whose scale (B,) is not zero."""
        return cls(None if bool(scale.all()) else scale.nonzero()[:, 0])

    def take(self, values: Tensor) -> Tensor:
        return values if self.index is None else values[self.index]

    def add(self, total: Tensor, values: Tensor) -> None:
        if self.index is None:
            total += values
        else:
            total.index_add_(0, self.index, values)


class _Perceptron:
    """An MLP with SiLU between its layers, f(x, z), and the gradient of its output with regard to x.

    Args:
        network: linear layers, the first of which takes (x, z).
        seen: factor of each entry of x (X,), folded into the first layer.
        scale: factor of each output (O,), folded into the last layer.
        shift: added to each output (O,) after that.
    """

    def __init__(self, network: nn.Module, seen: Tensor, scale: Tensor, shift: Tensor):
        assert isinstance(network, nn.Sequential)
        assert all(isinstance(layer, (nn.Linear, nn.SiLU)) for layer in network), "the gradient below is that of SiLU"
        layers = [layer for layer in network if isinstance(layer, nn.Linear)]
        weights, biases = [layer.weight.detach() for layer in layers], [layer.bias.detach() for layer in layers]
        self._enter, self._task = weights[0][:, : len(seen)] * seen, weights[0][:, len(seen) :]
        self._weights = [*weights[1:-1], scale[:, None] * weights[-1]]
        self._biases = [*biases[:-1], scale * biases[-1] + shift]

    def offset(self, latents: Tensor) -> Tensor:
        """Return z's part of the first layer (B, 1, F) of latents (B, Z)."""
        return functional.linear(latents, self._task, self._biases[0])[:, None]

    def hidden(self, x: Tensor, offset: Tensor) -> list[Tensor]:
        """Return each hidden layer (B, H, F) before its SiLU, of x (B, H, X)."""
        values = [functional.linear(x, self._enter).add_(offset)]
        for weight, bias in zip(self._weights[:-1], self._biases[1:-1], strict=True):
            values.append(functional.linear(functional.silu(values[-1]), weight, bias))
        return values

    def output(self, hidden: list[Tensor]) -> Tensor:
        """Return the output (B, H, O) that follows from the hidden layers."""
        return functional.linear(functional.silu(hidden[-1]), self._weights[-1], self._biases[-1])

    def backward(self, hidden: list[Tensor], gradient: Tensor) -> Tensor:
        """Return the gradient with regard to x (B, H, X), given that of the output (B, H, O)."""
        for weight, before in zip(reversed(self._weights), reversed(hidden), strict=True):
            gradient = torch.ops.aten.silu_backward(gradient @ weight, before)
        return gradient @ self._enter
