"""Contexts and trajectory segments, drawn from the episodes of many tasks at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metadiffuser.config.schema import Window
from metadiffuser.data.episodes import Episodes, Floats
from metadiffuser.errors import InputError

HELD_OUT = 0.1  # share of each task's episodes kept for the validation loss


@dataclass(frozen=True)
class TaskData:
    """E episodes of each of N tasks as tensors.

    Attributes:
        observations: (N, E, T + 1, S).
        actions: (N, E, T, A).
        rewards: (N, E, T).
        transitions: (N, E, T, 2S + A + 1), rows in the context layout (s, a, r, s').
        parameters: what distinguishes each task (N, F), for those who may know it.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    transitions: Tensor
    parameters: Tensor

    @classmethod
    def stack(cls, episodes: Mapping[str, Mapping[int, Episodes]], tasks: Sequence[int]) -> TaskData:
        """Stack the episodes of ``tasks``, all qualities in the mapping one after the other.

        Every number is copied once, straight to its place. Raises ``InputError`` if tasks differ in their number of
        episodes.
        """
        parts = [[by_task[task] for by_task in episodes.values()] for task in tasks]
        counts = [sum(map(len, several)) for several in parts]
        if len(set(counts)) > 1:
            raise InputError(f"tasks have {min(counts)} to {max(counts)} episodes, not the same; run collect_dataset")
        joined = Episodes.join([part for several in parts for part in several])  # task by task, quality by quality

        def by_position(array: Floats) -> Tensor:
            return torch.from_numpy(array.reshape(len(tasks), -1, *array.shape[1:]))

        return cls(
            by_position(joined.observations),
            by_position(joined.actions),
            by_position(joined.rewards),
            by_position(joined.transitions()),
            torch.stack([torch.from_numpy(several[0].parameters) for several in parts]),
        )

    def split_episodes(self, share: float = HELD_OUT) -> tuple[TaskData, TaskData]:
        """Hold out every n-th episode, about ``share`` of them and at least one; one episode is in both parts."""
        episodes = self.rewards.shape[1]
        held = torch.zeros(episodes, dtype=torch.bool)
        held[:: max(1, round(1 / share))] = True
        kept = ~held if episodes > 1 else held
        parts = (self.observations, self.actions, self.rewards, self.transitions)
        first, second = ([*(part[:, chosen] for part in parts), self.parameters] for chosen in (kept, held))
        return TaskData(*first), TaskData(*second)

    def __repr__(self) -> str:
        tasks, episodes, steps, _ = self.actions.shape
        return f"TaskData(N={tasks}, E={episodes}, T={steps})"


def draw_contexts(
    data: TaskData,
    tasks: Tensor,
    length: int,
    generator: torch.Generator,
    full: bool = False,
    window: Window = "scattered",
) -> tuple[Tensor, Tensor]:
    """Draw one context a row: transitions of one random episode of the row's task.

    Args:
        data: episodes to draw from.
        tasks: positions (B,) in ``data``.
        length: K; a row holds K distinct transitions, or all T if the episode is shorter.
        generator: source of randomness.
        full: use all K transitions; otherwise their number is uniform in 1..K, so that the encoder
            learns to do with little.
        window: transitions from anywhere in the episode, or one stretch of it.

    Returns:
        Contexts (B, K, 2S + A + 1) and their mask (B, K), True where a transition counts.
    """
    episodes, steps = data.rewards.shape[1:]
    size, length = len(tasks), min(length, steps)
    episode = torch.randint(episodes, (size, 1), generator=generator)
    if window == "consecutive":
        order = torch.randint(steps - length + 1, (size, 1), generator=generator) + torch.arange(length)
    else:
        order = torch.rand(size, steps, generator=generator).argsort(dim=1)[:, :length]
    contexts = data.transitions[tasks[:, None], episode, order]
    if full:
        return contexts, torch.ones(size, length, dtype=torch.bool)
    count = torch.randint(1, length + 1, (size, 1), generator=generator)
    return contexts, torch.arange(length) < count


def draw_transitions(data: TaskData, tasks: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw ``count`` transitions of each row's task; return (B, count, 2S + A + 1)."""
    episodes, steps = data.rewards.shape[1:]
    shape = (len(tasks), count)
    episode = torch.randint(episodes, shape, generator=generator)
    step = torch.randint(steps, shape, generator=generator)
    return data.transitions[tasks[:, None], episode, step]


def draw_segments(rows: Tensor, horizon: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw trajectory segments that start anywhere in an episode, its last steps included, in one gather.

    A segment that reaches past the end repeats the last row; those places are masked and do not count in the loss.

    Args:
        rows: one row (D,) a stored state, with the action taken there (N, E, T + 1, D).
        horizon: H.
        count: B.
        generator: source of randomness.

    Returns:
        Tasks (B,), segments (B, H, D), and the mask of places inside the episode (B, H).
    """
    tasks, episodes, stored, size = rows.shape
    episode = torch.randint(tasks * episodes, (count, 1), generator=generator)
    time = torch.randint(stored - 1, (count, 1), generator=generator) + torch.arange(horizon)
    place = episode * stored + time.clamp_max(stored - 1)
    segments = rows.view(-1, size).index_select(0, place.flatten()).view(count, horizon, size)
    return episode[:, 0] // episodes, segments, time < stored - 1
