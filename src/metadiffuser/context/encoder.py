"""The context encoder E_phi: a few transitions of a task -> its representation z (metadiffuser.md, section 1)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from metadiffuser.data.episodes import row_sizes
from metadiffuser.data.normaliser import Normaliser

FEATURES = 16  # F, regressors of the least-squares problem, unless asked for otherwise
TARGETS = 8  # what is regressed on them, likewise
SMALLEST_RIDGE = 1e-3  # keeps the regression solvable in single precision


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Return linear layers of the given sizes with SiLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class ContextEncoder(nn.Module):
    """Ridge regression on learned features of the transitions, whose coefficients an MLP turns into z.

    What a task is shows in how rewards and changes of state depend on states and actions, not in where its
    transitions happen to lie; regression coefficients say the first and cancel the second, as averages of
    features cannot (docs/deviations.md, 7)::

        W = (mean phi phi' + lambda I)^-1 mean phi y'        z = MLP(W)

    with regressors phi (F) and targets y of each transition and lambda learned. Means know neither an order nor a
    number of transitions, so z does not depend on them. Solving the regression inside the network is that of
    Bertinetto et al. 2019 (arXiv 1805.08136) and Harrison et al. 2018 (arXiv 1807.08912).

    Args:
        observation_size: S.
        action_size: A.
        outputs: numbers given for a context: Z, or 2Z for a mean and a log-variance.
        width: features of a transition.
        regressors: F.
        targets: numbers that are regressed on them.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        outputs: int,
        width: int,
        regressors: int = FEATURES,
        targets: int = TARGETS,
    ):
        super().__init__()
        self.sizes = row_sizes(observation_size, action_size)
        self.regression = [regressors, targets]
        self.embed = mlp([sum(self.sizes), 2 * width, width])
        self.regress = nn.Linear(width, regressors + targets)
        self.log_ridge = nn.Parameter(torch.tensor(-2.0))
        self.head = mlp([regressors * targets, 2 * width, outputs])

    def features(self, contexts: Tensor, normaliser: Normaliser) -> Tensor:
        """Normalise transitions (..., 2S + A + 1); s' becomes the change of state, where dynamics show."""
        state, action, reward, successor = contexts.split(self.sizes, dim=-1)
        change = normaliser.delta(successor - state)
        return torch.cat([normaliser.local(normaliser.state(state)), action, normaliser.reward(reward), change], dim=-1)

    def forward(self, contexts: Tensor, mask: Tensor, normaliser: Normaliser) -> Tensor:
        """Return the outputs (B, Z or 2Z) of contexts (B, K, 2S + A + 1), of which mask (B, K) says what counts.

        A row without any transition gets the z of an empty set, which is the same for all.
        """
        features, targets = self._regression(contexts, mask, normaliser).split(self.regression, dim=-1)
        weights = mask / mask.sum(dim=1, keepdim=True).clamp_min(1)
        weighted = (features * weights[..., None]).transpose(1, 2)
        ridge = (SMALLEST_RIDGE + self.log_ridge.exp()) * torch.eye(self.regression[0], device=contexts.device)
        coefficients = torch.linalg.solve(weighted @ features + ridge, weighted @ targets)
        return self.head(coefficients.flatten(1))

    def _regression(self, contexts: Tensor, mask: Tensor, normaliser: Normaliser) -> Tensor:
        """Return regressors and targets of every transition (B, K, F + targets); zeros, and no work, for masked ones.

        Contexts in training hold half of K transitions on average, so that whole episodes cost what half of them would.
        """

        def of(transitions: Tensor) -> Tensor:
            values: Tensor = self.regress(functional.silu(self.embed(self.features(transitions, normaliser))))
            return values

        if bool(mask.all()):
            return of(contexts)
        shown = of(contexts[mask])
        return shown.new_zeros(*mask.shape, shown.shape[-1]).index_put((mask,), shown)
