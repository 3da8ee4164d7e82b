"""What a trained representation is worth, on training and on unseen tasks: probes of z and errors of the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from metadiffuser.context.errors import errors_by_latent, rollout_errors
from metadiffuser.context.probe import PENALTY, PERMUTATIONS, explained, left_out, principal_axes, probe
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import encode_some, encode_tasks
from metadiffuser.context.value import ReturnsToGo, value_loss
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.windows import TaskData
from metadiffuser.envs import Task
from metadiffuser.envs.shared.tasks import split

PROBED_CONTEXTS = 8  # contexts per task and quality for the probe and the embedding
DIGITS = 5  # of the embeddings that are stored; probes are of the stored ones
VALUE_CONTEXTS, VALUE_STATES = 8, 64  # contexts per task, and states for each, that V is judged on
SPLITS = ("train", "test")

Array = np.ndarray[Any, Any]


def diagnose(
    model: ContextModel,
    episodes: Mapping[str, Mapping[int, Episodes]],
    tasks: Sequence[Task],
    generator: torch.Generator,
    permutations: np.random.Generator,
) -> dict[str, Any]:
    """Return probes, errors and embeddings, as they go into the metrics file.

    Args:
        model: trained.
        episodes: {quality: {task index: episodes}} of all tasks.
        tasks: of both splits, two or more.
        generator: draws contexts and targets.
        permutations: draws what the probe would read by chance.

    Returns:
        Of the probe, which reads every task by a fit to all others: ``probe_parameters``, each parameter's R^2 with
        what chance reads; ``probe`` and ``probe_by_quality``, R^2 over all parameters alike, by split;
        ``probe_identifiable``, the same over those parameters alone that z carries, and their number.
        ``errors`` at one step with the right z, ``errors_by_latent`` with others, and ``rollout_errors`` further ahead,
        root mean squares in normalised units; ``value``, share of the variance of returns to go that V explains;
        ``embeddings``, z by task and quality, from which the probes can be computed again.
    """
    latents, contexts = [], []
    for quality, by_task in episodes.items():
        data = TaskData.stack({quality: by_task}, [task.index for task in tasks])
        latents.append(encode_tasks(model, data, PROBED_CONTEXTS, generator).numpy())
        contexts += [(task, quality) for task in tasks]
    z = np.concatenate(latents)  # (quality x task, context, Z)
    embeddings = _embeddings(z, contexts)
    means = np.array([point["z"] for point in embeddings]).reshape(len(episodes), len(tasks), -1)
    everything = TaskData.stack(episodes, [task.index for task in tasks])
    trained = torch.tensor([task.split == "train" for task in tasks])
    by_latent = errors_by_latent(model, everything, trained, generator)
    parts = {name: TaskData.stack(episodes, [task.index for task in split(list(tasks), name)]) for name in SPLITS}
    return {
        **_probes(dict(zip(episodes, means, strict=True)), tasks, permutations),
        "errors": {name: by_latent[name]["right"] for name in SPLITS},
        "errors_by_latent": by_latent,
        "rollout_errors": {name: rollout_errors(model, parts[name], generator) for name in SPLITS},
        "value": {name: value_explained(model, parts[name], generator) for name in SPLITS},
        "embeddings": embeddings,
    }


@torch.no_grad()
def value_explained(model: ContextModel, data: TaskData, generator: torch.Generator) -> float:
    """Return R^2 of V: the share of the variance of discounted returns to go, over all tasks, that it predicts."""
    tasks = torch.arange(len(data.rewards)).repeat(VALUE_CONTEXTS)
    states, returns = ReturnsToGo.of(model, data).draw(tasks, VALUE_STATES, generator)
    loss = value_loss(model, encode_some(model, data, tasks, generator), states, returns)
    spread = (returns / model.value_std).var(correction=0)
    return float(1 - loss / spread) if spread > 0 else 0.0


def parameter_names(task: Task) -> list[str]:
    """Return a name for each entry of ``task.vector``, such as ``body_mass 2``; parts are counted from 1."""
    return [
        f"{name} {number}" if len(task.parameters[name]) > 1 else name
        for name in sorted(task.parameters)
        for number in range(1, len(task.parameters[name]) + 1)
    ]


def _probes(
    by_quality: Mapping[str, Array], tasks: Sequence[Task], permutations: np.random.Generator
) -> dict[str, Any]:
    """Return the probes of {quality: z (N, Z)} of N tasks: of the mean over qualities, and of each by itself."""
    parameters = np.stack([task.vector for task in tasks])
    latents = np.mean(list(by_quality.values()), axis=0)
    found = probe(latents, parameters, permutations)
    return {
        "probe_parameters": {
            "names": parameter_names(tasks[0]),
            "penalty": PENALTY,
            "permutations": PERMUTATIONS,
            **found.to_json(),
        },
        "probe": _by_split(latents, parameters, tasks),
        "probe_by_quality": {quality: _by_split(z, parameters, tasks) for quality, z in by_quality.items()},
        "probe_identifiable": {
            "parameters": int(found.identified.sum()),
            **_by_split(latents, parameters[:, found.identified], tasks),
        },
    }


def _by_split(latents: Array, parameters: Array, tasks: Sequence[Task]) -> dict[str, float]:
    """Return R^2 over all parameters alike, of training and of unseen tasks; each is read by a fit to all others."""
    spread = parameters.std(axis=0)
    left, deviations = left_out(latents, parameters / np.where(spread > 0, spread, 1.0))
    trained = np.array([task.split == "train" for task in tasks])
    rows = {"train_r2": trained, "test_r2": ~trained}
    return {name: float(explained(left[chosen], deviations[chosen], axis=None)) for name, chosen in rows.items()}


def _embeddings(z: Array, contexts: Sequence[tuple[Task, str]]) -> list[dict[str, Any]]:
    """Return the mean z of each task and quality, with its place on the two main axes of the training tasks' z."""
    trained = np.array([task.split == "train" for task, _ in contexts])
    axes = principal_axes(z[trained].reshape(-1, z.shape[-1]))
    return [
        {
            "task": task.index,
            "split": task.split,
            "quality": quality,
            "parameters": task.vector.tolist(),
            "z": np.round(mean.astype(np.float64), DIGITS).tolist(),
            "xy": np.round(axes(mean), DIGITS).tolist(),
        }
        for (task, quality), mean in zip(contexts, z.mean(axis=1), strict=True)
    ]
