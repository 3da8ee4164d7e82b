"""What a plan is worth to the generalised models: predicted return, less inconsistency (method section 3).

All in normalised units, so that one scale serves all families. A plan is (states, actions).
"""

from __future__ import annotations

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


def objective(
    model: ContextModel, plan: Tensor, latents: Tensor, return_scale: Tensor, dynamics_scale: Tensor
) -> Tensor:
    """Return alpha * return - alpha * lambda * inconsistency (B,): what the guide climbs and candidates are ranked by.

    Args:
        model: reward and dynamics models.
        plan: segments (B, H, S + A) of normalised states and actions.
        latents: z (B, Z).
        return_scale: alpha (B,); zero leaves the return out.
        dynamics_scale: alpha * lambda (B,); zero leaves the consistency out.
    """
    states, actions = plan.split([model.observation_size, model.action_size], dim=-1)
    gained = return_scale * predicted_return(model, states, actions, latents)
    return gained - dynamics_scale * inconsistency(model, states, actions, latents)
