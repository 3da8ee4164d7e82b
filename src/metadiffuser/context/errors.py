"""How far the models' predictions are off, by the z that they are given and by the steps that they look ahead.

| z | what it is |
|---|---|
| right | of one context of the task |
| wrong | of one context of another task |
| mean | zeros: the average training task, which is what an agent that knows nothing is given |
| fitted | fitted to the task's own transitions through the frozen models: as good as a z can be for these models |

``fitted`` stands for the true z. A model that is given the true parameters would have to be trained (that is
``true_task``), and overfits the training tasks where parameters are many; a fit to a task's transitions, measured on
others of its transitions, bounds what any encoder could tell these models.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metadiffuser.context.predictions import predictions
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import encode_some, prediction_losses
from metadiffuser.data.windows import TaskData, draw_transitions

CONTEXTS = 8  # per task
TARGETS = 64  # transitions predicted for each context
FIT_STEPS, FIT_TARGETS, FIT_RATE = 200, 256, 0.05  # of the fit of z: steps of Adam, transitions a task, step size
ROLLED = (1, 4, 8, 16)  # steps ahead at which the models' errors are measured
ROLLED_SEGMENTS = 32  # segments per task that the models are rolled out over

Errors = dict[str, dict[str, float]]


def errors_by_latent(
    model: ContextModel, data: TaskData, trained: Tensor, generator: torch.Generator
) -> dict[str, Errors]:
    """Return errors of one step's prediction, all kinds of z on the same transitions.

    Args:
        model: trained.
        data: N tasks, two or more.
        trained: which of them are training tasks (N,).
        generator: draws contexts, other tasks and transitions.

    Returns:
        {"train" or "test": {z: {"reward", "dynamics"}}}: root mean squared errors in normalised units.
    """
    tasks = torch.arange(len(data.rewards)).repeat(CONTEXTS)
    fitted = fit_latents(model, data, generator)
    with torch.no_grad():
        targets = draw_transitions(data, tasks, TARGETS, generator)
        right = encode_some(model, data, tasks, generator)
        wrong = encode_some(model, data, _other_tasks(data, tasks, generator), generator)
        latents = {"right": right, "wrong": wrong, "mean": torch.zeros_like(right), "fitted": fitted[tasks]}
        squares = {name: _squares(model, z, targets) for name, z in latents.items()}
    return {
        split: {
            name: {part: float(values[chosen[tasks]].mean().sqrt()) for part, values in parts.items()}
            for name, parts in squares.items()
        }
        for split, chosen in (("train", trained), ("test", ~trained))
    }


def fit_latents(model: ContextModel, data: TaskData, generator: torch.Generator) -> Tensor:
    """Return the z (N, Z) that explains each task's transitions best, by gradient steps through the frozen models."""
    tasks = torch.arange(len(data.rewards))
    latents = torch.zeros(len(tasks), model.latent_size, requires_grad=True)
    optimiser = torch.optim.Adam([latents], lr=FIT_RATE)
    for _ in range(FIT_STEPS):
        loss = sum(prediction_losses(model, latents, draw_transitions(data, tasks, FIT_TARGETS, generator)))
        assert isinstance(loss, Tensor)
        (latents.grad,) = torch.autograd.grad(loss * len(tasks), latents)
        optimiser.step()
    return latents.detach()


def _squares(model: ContextModel, latents: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return mean squared errors (B,) of the rewards and of the changes of state of targets (B, M, 2S + A + 1)."""
    rewards, changes, reward, change = predictions(model, latents, targets)
    return {
        "reward": (rewards - reward).square().mean(dim=1),
        "dynamics": (changes - change).square().mean(dim=(1, 2)),
    }


def _other_tasks(data: TaskData, tasks: Tensor, generator: torch.Generator) -> Tensor:
    """Draw for each of ``tasks`` (B,) one with other parameters, or, if all are alike, another one."""
    count = len(data.rewards)
    others = ~torch.eye(count, dtype=torch.bool)
    differs = (data.parameters[:, None] != data.parameters[None]).any(dim=-1)
    eligible = torch.where(differs.any(dim=1, keepdim=True), differs, others)
    return torch.multinomial(eligible[tasks].double(), 1, generator=generator)[:, 0]


@torch.no_grad()
def rollout_errors(model: ContextModel, data: TaskData, generator: torch.Generator) -> Errors:
    """Return how far the models are off when they go on from their own predictions, under the data's actions.

    z comes from a context of the task, the segments from any of its episodes.

    Returns:
        {steps ahead j: {"reward", "state"}}: root mean squared errors of the j-th reward and of the state it leads to,
        in normalised units, all j from the same states: those that the most steps can follow. Steps ahead that are
        longer than an episode are left out.
    """
    count, episodes, steps, _ = data.actions.shape
    ahead = [step for step in ROLLED if step <= steps]
    tasks = torch.arange(count).repeat(ROLLED_SEGMENTS)
    latents = encode_some(model, data, tasks, generator)
    rows = (tasks[:, None], torch.randint(episodes, (len(tasks), 1), generator=generator))
    time = torch.randint(steps - ahead[-1] + 1, (len(tasks), 1), generator=generator) + torch.arange(ahead[-1] + 1)
    observed = data.observations[*rows, time]
    states = model.normaliser.state(observed - model.normaliser.origin(observed[:, :1]))
    actions = data.actions[*rows, time[:, :-1]]
    rewards = model.normaliser.reward(data.rewards[*rows, time[:, :-1]])
    current = states[:, 0]
    errors = {}
    for step in range(1, ahead[-1] + 1):
        reward = model.predict_rewards(current, actions[:, step - 1], latents)
        current = model.predict_states(current, actions[:, step - 1], latents)
        if step in ahead:
            errors[str(step)] = {
                "reward": float((reward - rewards[:, step - 1]).square().mean().sqrt()),
                "state": float((current - states[:, step]).square().mean().sqrt()),
            }
    return errors
