"""What a trained representation is worth, on training and on unseen tasks: probes of z and errors of the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from metadiffuser.context.probe import Flags, identifiable, linear_probe, principal_axes
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import encode_some, encode_tasks, prediction_errors
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.windows import TaskData
from metadiffuser.envs import Family, Task
from metadiffuser.envs.shared.tasks import split

PROBED_CONTEXTS = 8  # contexts per task and quality for the probe and the embedding
BASES = 4  # tasks on which it is tried out whether a parameter shows
ROLLED = (1, 4, 8, 16)  # steps ahead at which the models' errors are measured
ROLLED_SEGMENTS = 32  # segments per task that the models are rolled out over


def diagnose(
    model: ContextModel,
    family: Family,
    episodes: Mapping[str, Mapping[int, Episodes]],
    tasks: Sequence[Task],
    generator: torch.Generator,
    trials: np.random.Generator,
) -> dict[str, Any]:
    """Return probes, errors and embeddings, as they go into the metrics file.

    Args:
        model: trained.
        family: the tasks' family.
        episodes: {quality: {task index: episodes}} of all tasks.
        tasks: of both splits.
        generator: draws contexts and targets.
        trials: draws the actions with which parameters are tried out.

    Returns:
        ``probe`` and ``probe_by_quality``, R^2 of the linear probe; ``probe_identifiable``, R^2 of a probe of those
        parameters alone that show in the motion or the reward, and their number; ``errors`` at one step and
        ``rollout_errors`` further ahead, root mean squares in normalised units; ``embeddings``, z by task and quality.
    """
    errors, rolled = {}, {}
    for name in ("train", "test"):
        data = TaskData.stack(episodes, [task.index for task in split(list(tasks), name)])
        reward, dynamics = prediction_errors(model, data, generator)
        errors[name] = {"reward": reward, "dynamics": dynamics}
        rolled[name] = rollout_errors(model, data, generator)
    latents, told = [], []
    for quality, by_task in episodes.items():
        data = TaskData.stack({quality: by_task}, [task.index for task in tasks])
        latents.append(encode_tasks(model, data, PROBED_CONTEXTS, generator).numpy())
        told += [(task, quality) for task in tasks]
    z = np.concatenate(latents)  # (quality x task, context, Z)
    shown = identifiable(family, tasks[:BASES], trials)
    return {
        **_probes(z, told, shown),
        "errors": errors,
        "rollout_errors": rolled,
        "embeddings": _embeddings(z, told),
    }


@torch.no_grad()
def rollout_errors(model: ContextModel, data: TaskData, generator: torch.Generator) -> dict[str, dict[str, float]]:
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


def _probes(z: np.ndarray[Any, Any], told: Sequence[tuple[Task, str]], shown: Flags) -> dict[str, Any]:
    """Return the probes of z (N, M, Z) of N tasks and qualities; ``shown`` says which parameters can be found."""
    parameters = np.stack([task.vector for task, _ in told])
    trained = np.array([task.split == "train" for task, _ in told])
    qualities = [quality for _, quality in told]
    scores = linear_probe(z, parameters, trained, qualities)
    found = linear_probe(z, parameters[:, shown], trained, qualities)
    return {
        "probe": scores.pop("all"),
        "probe_by_quality": scores,
        "probe_identifiable": {"parameters": int(shown.sum()), **found["all"]},
    }


def _embeddings(z: np.ndarray[Any, Any], told: Sequence[tuple[Task, str]]) -> list[dict[str, Any]]:
    """Return the mean z of each task and quality, with its place on the two main axes of the training tasks' z."""
    trained = np.array([task.split == "train" for task, _ in told])
    axes = principal_axes(z[trained].reshape(-1, z.shape[-1]))
    return [
        {
            "task": task.index,
            "split": task.split,
            "quality": quality,
            "parameters": task.vector.tolist(),
            "z": np.round(mean, 5).tolist(),
            "xy": np.round(axes(mean), 5).tolist(),
        }
        for (task, quality), mean in zip(told, z.mean(axis=1), strict=True)
    ]
