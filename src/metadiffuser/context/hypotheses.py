"""Which task an episode is of: the training tasks' z, weighed by how well the models explain what happened (ours).

An encoder needs a context, and at an episode's start there is none. What is known then is which tasks there are: the
mean z of each training task is a hypothesis of what this one is. A hypothesis's cost is the squared error of the reward
and of the change of state that R_psi and P_omega predict with its z, over all transitions (s, a, r, s') so far::

    cost_k = sum_t [ (r - R_psi(s, a, z_k))^2 / sigma_r^2 + mean_i (ds_i - P_omega(s, a, z_k)_i)^2 / sigma_i^2 ]
    w_k    = softmax_k(-cost_k / 2)

with sigma^2 the models' own mean squared error on the training tasks. The mean over i in place of a sum allows for
errors that come together: a foot that touches the ground too early is one error, in all of the joints.

A task that is between training tasks is none of the hypotheses. So the encoder's z of the episode's own transitions is
one more of them, and from the mean of all, z follows the gradient of::

    cost(z) / 2 + |(z - m) / d|^2 / 2

with m and d the mean and the deviation of the training tasks' z, which are their prior.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metadiffuser.context.predictions import predictions
from metadiffuser.context.representation import SMALLEST_DEVIATION, ContextModel

SMALLEST_VARIANCE = 1e-3  # of an error in normalised units: models are not trusted further than to 3% of a deviation
RATE = 0.1  # Adam's step size in the refinement of z


def squared_errors(model: ContextModel, latents: Tensor, transitions: Tensor) -> Tensor:
    """Return squared errors (B, K, M, 1 + S), the reward's first, of transitions (B, M, 2S + A + 1) by z (B, K, Z).

    All in normalised units.
    """
    count = latents.shape[1]
    repeated = transitions.repeat_interleave(count, dim=0)
    rewards, changes, reward, change = predictions(model, latents.flatten(0, 1), repeated)
    errors = torch.cat([(rewards - reward)[..., None], changes - change], dim=-1)
    return errors.square().unflatten(0, (-1, count))


def costs(model: ContextModel, latents: Tensor, transitions: Tensor) -> Tensor:
    """Return what transitions (B, M, 2S + A + 1) cost each hypothesis z (B, K, Z), summed over them: (B, K)."""
    variance = model.error_variance.clamp_min(SMALLEST_VARIANCE)
    relative = squared_errors(model, latents, transitions) / variance
    return (relative[..., 0] + relative[..., 1:].mean(dim=-1)).sum(dim=-1)


def spread_out(latents: Tensor, count: int) -> Tensor:
    """Return ``count`` of N latents (N, Z) that cover them, or all if there are no more.

    The first is the one nearest to their mean, and each further one the farthest from those before it.
    """
    count = min(count, len(latents))
    distances = torch.cdist(latents, latents)
    chosen = [int((latents - latents.mean(dim=0)).square().sum(dim=1).argmin())]
    nearest = distances[chosen[0]]
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, distances[chosen[-1]])
    return latents[sorted(chosen)]


@torch.inference_mode(False)
def refine(model: ContextModel, latents: Tensor, transitions: Tensor, steps: int) -> Tensor:
    """Return z (B, Z) after ``steps`` of Adam from ``latents`` (B, Z), each row by its own transitions.

    Args:
        model: trained.
        latents: where z starts.
        transitions: of each episode (B, M, 2S + A + 1).
        steps: gradient steps; 0 returns ``latents``.
    """
    known = model.task_latents
    centre, spread = known.mean(dim=0), known.std(dim=0, correction=0).clamp_min(SMALLEST_DEVIATION)
    refined = latents.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([refined], lr=RATE)
    with torch.enable_grad():
        for _ in range(steps):
            unlikely = ((refined - centre) / spread).square().sum(dim=1)
            loss = (costs(model, refined[:, None], transitions.clone())[:, 0] + unlikely).sum() / 2
            (refined.grad,) = torch.autograd.grad(loss, refined)
            optimiser.step()
    return refined.detach()


class Belief:
    """What B episodes know of their tasks, each from its own transitions alone.

    Args:
        model: trained; its training tasks' z are the hypotheses.
        count: the most hypotheses.
        rows: B.
    """

    def __init__(self, model: ContextModel, count: int, rows: int):
        self._model = model
        self.hypotheses = spread_out(model.task_latents, count)
        self._costs = model.task_latents.new_zeros(rows, len(self.hypotheses))
        self._seen: list[Tensor] = []

    @torch.inference_mode()
    def observe(self, transitions: Tensor) -> None:
        """Weigh the hypotheses by one more transition of each episode (B, 2S + A + 1)."""
        self._seen.append(transitions)
        everywhere = self.hypotheses.expand(len(transitions), -1, -1)
        self._costs = self._costs + costs(self._model, everywhere, transitions[:, None])

    def latents(self, own: Tensor | None = None, steps: int = 0) -> Tensor:
        """Return the posterior mean of z (B, Z), refined by ``steps`` of the gradient if there are transitions."""
        mean = self.mean(own)
        return refine(self._model, mean, torch.stack(self._seen, dim=1), steps) if self._seen and steps else mean

    @torch.inference_mode()
    def weights(self, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return hypotheses (B, K, Z) and their weights (B, K), which add up to 1.

        Args:
            own: the encoder's z (B, Z) of the episodes' own transitions, which is one more hypothesis.
        """
        latents, costs_ = self.hypotheses.expand(len(self._costs), -1, -1), self._costs
        if own is not None:
            latents = torch.cat([latents, own[:, None]], dim=1)
            costs_ = torch.cat([costs_, costs(self._model, own[:, None], torch.stack(self._seen, dim=1))], dim=1)
        return latents, torch.softmax(-costs_ / 2, dim=1)

    @torch.inference_mode()
    def mean(self, own: Tensor | None = None) -> Tensor:
        """Return the posterior mean of z (B, Z); before any transition, the mean of the hypotheses."""
        latents, weights = self.weights(own)
        return (weights[..., None] * latents).sum(dim=1)
