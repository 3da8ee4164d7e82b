"""Episodes in the learned models, which judge settings where there is no access to a simulator.

An agent starts where a held-out stored episode starts and acts; P_omega says where it gets, R_psi what it is paid, and
V(s, z) what would follow. z is that of the task, the mean over many expert contexts.

The models that judge are those that guide the planner, so a guide that climbs their errors would be praised for it.
Therefore a step is paid the less, the farther it leads from the data (as in MOPO: Yu et al. 2020, arXiv 2005.13239,
which takes another measure of doubt)::

    R_psi(s, a, z) - DOUBT * max(0, d(s, a) / d_0 - 1)

d is the distance of (s, a) to the nearest stored one, and d_0 the distance that all but one in twenty held-out ones
stay below. All in normalised units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metadiffuser.context.representation import ContextModel
from metadiffuser.data.episodes import Floats
from metadiffuser.data.windows import TaskData, draw_contexts, draw_transitions
from metadiffuser.evaluation.setup import EpisodeSetup

CONTEXTS = 64  # expert contexts whose mean z is the task's
STORED = 2048  # state-action pairs that distances are measured to
CHECKED = 512  # held-out pairs that set the scale of distances
USUAL = 0.95  # share of those that lie within the scale
DOUBT = 1.0  # standard deviations of reward that a step costs at twice the scale


@dataclass(frozen=True)
class Models:
    """The learned models as a judge.

    Attributes:
        model: reward, dynamics and value models.
        latents: z of the setup's tasks (N, Z).
        starts: first states (R, S) of the setup's episodes, in the environment's units.
        stored: state-action pairs of the data (M, S + A), normalised.
        scale: d_0.
    """

    model: ContextModel
    latents: Tensor
    starts: Tensor
    stored: Tensor
    scale: float

    @classmethod
    @torch.inference_mode()
    def of(cls, model: ContextModel, setup: EpisodeSetup) -> Models:
        """Return the judge of a setup, whose data hold the qualities that the models were trained on."""
        device = model.latent_mean.device
        parts = [setup.data[quality].split_episodes() for quality in model.config.qualities]
        first = torch.cat([held_out.observations[:, :, 0] for _, held_out in parts], dim=1)
        positions = torch.tensor(setup.positions)
        episode = torch.randint(first.shape[1], positions.shape, generator=setup.generator("starts"))
        starts = first[positions, episode].to(device)
        fitting, held_out = ([part[side] for part in parts] for side in (0, 1))
        stored = _pairs(model, fitting, STORED, setup.generator("stored"))
        checked = _pairs(model, held_out, CHECKED, setup.generator("checked"))
        scale = float(_distances(checked, stored).quantile(USUAL).clamp_min(1e-6))
        latents = _task_latents(model, setup)
        return cls(model, latents, starts, stored, scale)

    def doubt(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return max(0, d / d_0 - 1) (B,) of normalised states (B, S) and actions (B, A)."""
        pairs = torch.cat([self.model.normaliser.local(states), actions], dim=-1)
        return (_distances(pairs, self.stored) / self.scale - 1).clamp_min(0)


def _task_latents(model: ContextModel, setup: EpisodeSetup) -> Tensor:
    """Return z (N, Z) of the setup's tasks: of each, the mean over ``CONTEXTS`` expert contexts."""
    config, expert, device = model.config, setup.data["expert"], model.latent_mean.device
    tasks = torch.tensor(setup.repeated(CONTEXTS))
    drawn = draw_contexts(
        expert, tasks, config.context_length, setup.generator("latents"), full=True, window=config.window
    )
    contexts, mask, parameters = (part.to(device) for part in (*drawn, expert.parameters[tasks]))
    return model.encode(contexts, mask, parameters).unflatten(0, (-1, CONTEXTS)).mean(dim=1)


def _pairs(model: ContextModel, parts: Sequence[TaskData], count: int, generator: torch.Generator) -> Tensor:
    """Draw normalised state-action pairs (M, S + A), as many of every quality and about as many of every task."""
    found = []
    for data in parts:
        each = -(-count // len(parts))
        tasks = torch.arange(each) % len(data.rewards)
        found.append(draw_transitions(data, tasks, 1, generator)[:, 0])
    rows = torch.cat(found).to(model.latent_mean.device)
    states, actions, _, _ = rows.split(model.sizes, dim=-1)
    return torch.cat([model.normaliser.local(model.normaliser.state(states)), actions], dim=-1)


def _distances(pairs: Tensor, stored: Tensor) -> Tensor:
    return torch.cdist(pairs, stored).amin(dim=1)


class ModelEnvs:
    """B episodes in the learned models.

    Args:
        models: the judge.
        positions: position of each episode's task (B,), the setup's positions some times over.
        steps: of an episode.
        beyond: whether the value of the state after the last step is paid with it.
    """

    def __init__(self, models: Models, positions: Sequence[int], steps: int, beyond: bool):
        self._models, self._steps, self._beyond = models, steps, beyond
        self._latents = models.latents[list(positions)]
        self._starts = models.starts.repeat(len(positions) // len(models.starts), 1)
        self._states = self._starts
        self._step = 0

    def reset(self) -> Floats:
        """Start all episodes; return observations (B, S)."""
        self._states, self._step = self._models.model.normaliser.state(self._starts), 0
        return self._observations()

    @torch.inference_mode()
    def step(self, actions: Floats) -> tuple[Floats, Floats]:
        """Apply actions (B, A), clipped to [-1, 1]; return observations (B, S) and penalised rewards (B,)."""
        model, states = self._models.model, self._states
        applied = torch.from_numpy(np.asarray(actions, np.float32)).to(states.device).clamp(-1, 1)
        rewards = model.predict_rewards(states, applied, self._latents) - DOUBT * self._models.doubt(states, applied)
        self._states = model.predict_states(states, applied, self._latents)
        self._step += 1
        if self._beyond and self._step == self._steps:
            rewards = rewards + model.predict_values(self._states, self._latents)
        return self._observations(), rewards.cpu().numpy()

    def _observations(self) -> Floats:
        return self._models.model.normaliser.denormalise_state(self._states).cpu().numpy()
