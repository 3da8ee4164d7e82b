"""Replay of M agents as one preallocated array, sampled in bulk."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metadiffuser.data.episodes import Floats

SMALLEST_SCALE = 1e-2  # floor of an input's standard deviation: an input that hardly moves is not blown up


class Batch(NamedTuple):
    """Transitions of M agents, inputs normalised.

    Attributes:
        pairs: inputs, then actions (M, B, I + A).
        rewards: (M, B).
        successors: inputs of the next step (M, B, I).
        not_done: 1 where the future counts (M, B), 0 where the episode ended in a fall.
    """

    pairs: Tensor
    rewards: Tensor
    successors: Tensor
    not_done: Tensor

    @property
    def inputs(self) -> Tensor:
        """(M, B, I)."""
        return self.pairs[..., : self.successors.shape[-1]]

    @property
    def actions(self) -> Tensor:
        """(M, B, A)."""
        return self.pairs[..., self.successors.shape[-1] :]


class Replay:
    """The last ``capacity`` transitions of each of M agents, and running statistics of their inputs.

    A row is (input, action, reward, not_done, next input) as it was observed; normalisation happens on sampling, with
    the statistics of that moment.

    Args:
        members: M.
        capacity: rows an agent keeps.
        observations: how many of the inputs are observations, whose statistics are gathered.
        fixed_centre: centre of the inputs that follow (the task vector), each agent's own (M, F).
        fixed_scale: scale of those (M, F).
        actions: A.
    """

    def __init__(
        self, members: int, capacity: int, observations: int, fixed_centre: Floats, fixed_scale: Floats, actions: int
    ):
        self.members, self.capacity, self.observations, self.actions = members, capacity, observations, actions
        self.inputs = observations + fixed_centre.shape[1]
        self.rows = np.zeros((members, capacity, 2 * self.inputs + actions + 2), np.float32)
        self.position = np.zeros(2, np.int64)  # next row to write, rows filled
        self.moments = np.zeros((3, members, observations))  # count, sum, sum of squares
        still = np.zeros((members, observations), np.float32)
        self.centre = np.concatenate([still, fixed_centre], axis=1)
        self.scale = np.concatenate([still + 1, fixed_scale], axis=1)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that a checkpoint needs, by name."""
        names = ("rows", "position", "moments", "centre", "scale")
        return {name: getattr(self, name) for name in names}

    def __len__(self) -> int:
        return int(self.position[1])

    def add(self, inputs: Floats, actions: Floats, rewards: Floats, not_done: Floats, successors: Floats) -> None:
        """Store C transitions of each agent: (M, C, I), (M, C, A), (M, C), (M, C), (M, C, I)."""
        count = rewards.shape[1]
        where = (self.position[0] + np.arange(count)) % self.capacity
        self.rows[:, where] = np.concatenate(
            [inputs, actions, rewards[..., None], not_done[..., None], successors], axis=-1
        )
        self.position[:] = (self.position[0] + count) % self.capacity, min(len(self) + count, self.capacity)
        seen = successors[..., : self.observations].astype(np.float64)
        self.moments[0] += count
        self.moments[1] += seen.sum(axis=1)
        self.moments[2] += np.square(seen).sum(axis=1)
        mean = self.moments[1] / self.moments[0]
        deviation = np.sqrt(np.maximum(self.moments[2] / self.moments[0] - np.square(mean), 0.0))
        self.centre[:, : self.observations] = mean
        self.scale[:, : self.observations] = np.maximum(deviation, SMALLEST_SCALE)

    def sample(self, updates: int, size: int, generator: torch.Generator) -> list[Batch]:
        """Draw batches of ``size`` rows an agent for several updates at once, in one gather."""
        device = generator.device
        indices = torch.randint(len(self), (updates, self.members, size), generator=generator, device=device)
        indices += self.capacity * torch.arange(self.members, device=device)[None, :, None]
        flat = torch.from_numpy(self.rows).view(-1, self.rows.shape[-1])
        rows = flat.index_select(0, indices.view(-1).cpu()).to(device).view(*indices.shape, -1)
        raw = np.zeros((self.members, self.actions + 2), np.float32)  # actions, rewards and ends stay as they are
        centre = np.concatenate([self.centre, raw, self.centre], axis=1)[:, None]
        factor = np.concatenate([1 / self.scale, raw + 1, 1 / self.scale], axis=1)[:, None]
        rows.sub_(torch.from_numpy(centre).to(device)).mul_(torch.from_numpy(factor).to(device))
        pairs, rewards, not_done, successors = rows.split([self.inputs + self.actions, 1, 1, self.inputs], dim=-1)
        parts = (pairs, rewards.squeeze(-1), successors, not_done.squeeze(-1))
        return [Batch(*batch) for batch in zip(*(part.unbind(0) for part in parts), strict=True)]
