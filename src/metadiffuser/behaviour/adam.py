"""Adam (Kingma and Ba, 2015) on one flat tensor, in one kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam(nn.Module):
    """The moments of one parameter's gradient, and the step that they suggest.

    ``torch.optim.Adam`` computes the same bits by the same kernel, but goes through more Python for one tensor than
    a small network's matrix products take. The moments are buffers, so checkpoints of a module hold them.

    Args:
        parameter: what is optimised, in place; any shape.
    """

    steps: Tensor
    mean: Tensor
    square: Tensor

    def __init__(self, parameter: Tensor):
        super().__init__()
        self._parameter = [parameter.detach()]  # in a list, since a module would claim it as its own
        self.register_buffer("steps", torch.zeros((), device=parameter.device))
        self.register_buffer("mean", torch.zeros_like(parameter))
        self.register_buffer("square", torch.zeros_like(parameter))

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """Move the parameter by ``gradient``, of its shape, with step size ``rate``."""
        self.steps += 1
        torch._fused_adam_(
            self._parameter,
            [gradient],
            [self.mean],
            [self.square],
            [],
            [self.steps],
            lr=rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )
