"""What a plan is worth to the generalised models: predicted return, less inconsistency (metadiffuser.md, section 3).

To the return, the value of the state that the plan ends in may be added (ours; off by default).

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


def value_beyond(model: ContextModel, states: Tensor, latents: Tensor) -> Tensor:
    """Return V(s_{H-1}, z) (B,), in normalised rewards, of states (B, H, S) and latents (B, Z).

    The last state that a plan holds stands for the one after it, so its own reward counts in the plan's return too.
    """
    return model.predict_values(states[:, -1], latents)


def objective(
    model: ContextModel,
    plan: Tensor,
    latents: Tensor,
    return_scale: Tensor,
    dynamics_scale: Tensor,
    *,
    value_scale: float = 0.0,
) -> Tensor:
    """Return what the guide climbs and candidates are ranked by (B,).

    This is alpha * (return + value_scale * V(s_{H-1}, z)) - alpha * lambda * inconsistency.

    Args:
        model: reward and dynamics models.
        plan: segments (B, H, S + A) of normalised states and actions.
        latents: z (B, Z).
        return_scale: alpha (B,); zero leaves the return out.
        dynamics_scale: alpha * lambda (B,); zero leaves the consistency out.
        value_scale: weight of the value beyond the horizon; zero leaves it out, and V is not computed.
    """
    states, actions = plan.split([model.observation_size, model.action_size], dim=-1)
    gained = predicted_return(model, states, actions, latents)
    if value_scale:
        gained = gained + value_scale * value_beyond(model, states, latents)
    return return_scale * gained - dynamics_scale * inconsistency(model, states, actions, latents)
