"""The dual guide: gradients of predicted return and of dynamics consistency (method section 3).

    g = grad_x [ sum_t R_psi(s_t, a_t, z) - lambda * sum_t || s_{t+1} - P_omega(s_t, a_t, z) ||^2 ]

Both terms are in normalised units, so that one scale serves all families. A plan is (states, actions).
"""

from __future__ import annotations

import torch
from torch import Tensor

from metadiffuser.context.representation import ContextModel


def predicted_return(model: ContextModel, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
    """Return sum_t R_psi (B,), in normalised rewards, of states (B, H, S), actions (B, H, A), latents (B, Z)."""
    repeated = latents[:, None].expand(-1, states.shape[1], -1)
    return model.predict_rewards(states, actions, repeated).sum(dim=1)


def inconsistency(model: ContextModel, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
    """Return sum_t || s_{t+1} - P_omega(s_t, a_t, z) ||^2 (B,) of a plan, in normalised states."""
    repeated = latents[:, None].expand(-1, states.shape[1] - 1, -1)
    expected = model.predict_states(states[:, :-1], actions[:, :-1], repeated)
    return (states[:, 1:] - expected).square().sum(dim=(1, 2))


def dual_gradient(
    model: ContextModel, plan: Tensor, latents: Tensor, return_scale: Tensor, dynamics_scale: Tensor
) -> Tensor:
    """Return the gradient (B, H, S + A) that raises the return and lowers the inconsistency.

    Args:
        model: reward and dynamics models.
        plan: segments (B, H, S + A) of normalised states and actions.
        latents: z (B, Z).
        return_scale: alpha (B,); zero leaves the return alone.
        dynamics_scale: alpha * lambda (B,); zero leaves the consistency alone.
    """
    with torch.enable_grad():
        plan = plan.detach().requires_grad_(True)
        states, actions = plan.split([model.observation_size, model.action_size], dim=-1)
        objective = torch.zeros(len(plan), device=plan.device)
        if bool(return_scale.any()):
            objective = objective + return_scale * predicted_return(model, states, actions, latents)
        if bool(dynamics_scale.any()):
            objective = objective - dynamics_scale * inconsistency(model, states, actions, latents)
        (gradient,) = torch.autograd.grad(objective.sum(), plan)
    return gradient
