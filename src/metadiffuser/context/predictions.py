"""What the reward and dynamics models predict of transitions that happened, beside what happened."""

from __future__ import annotations

from torch import Tensor

from metadiffuser.context.representation import ContextModel


def predictions(model: ContextModel, latents: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return rewards (B, M) and changes of state (B, M, S) that are predicted, then those that were, normalised.

    Args:
        model: whose predictions they are.
        latents: z (B, Z).
        targets: transitions (B, M, 2S + A + 1).
    """
    latents = latents[:, None].expand(-1, targets.shape[1], -1)
    state, action, reward, successor = targets.split(model.sizes, dim=-1)
    state_, reward_ = model.normaliser.state(state), model.normaliser.reward(reward[..., 0])
    change = model.normaliser.delta(successor - state)
    given = (state_, action, latents)
    return model.predict_rewards(*given), model.predict_changes(*given), reward_, change
