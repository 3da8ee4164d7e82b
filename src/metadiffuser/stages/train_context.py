"""Stage ``train_context``: the context encoder of one family with its reward and dynamics models."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.context.probe import linear_probe, principal_axes
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import encode_tasks, prediction_errors, train_context
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import read_family
from metadiffuser.data.windows import TaskData
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.tasks import read_tasks, split
from metadiffuser.run import Run
from metadiffuser.seeding import torch_generator, torch_initialisation
from metadiffuser.tracking import write_curve

PROBED_CONTEXTS = 8  # contexts per task and quality for the probe and the embedding


def run(run: Run) -> None:
    """Train on the training tasks' episodes; write the model, its learning curve and what z tells of the task."""
    family = get_family(run.wildcard("family"))
    section = run.section("context")
    stream = ("train_context", family.name, run.wildcard("representation"), run.wildcard("seed"))
    tasks = read_tasks(run.path(paths.TASKS))
    episodes = read_family(run.path(paths.DATASET), tasks, section.qualities)
    data = TaskData.stack(episodes, [task.index for task in split(tasks, "train")])
    with torch_initialisation(run.root_seed, *stream):
        model = ContextModel(family.observation_size, family.action_size, section, family.travelled)
    generator = torch_generator(run.root_seed, *stream)
    records = train_context(model, data, generator, run.work / "training.safetensors")
    model.eval()
    metrics = {
        "family": family.name,
        "representation": run.wildcard("representation"),
        "seed": int(run.wildcard("seed")),
        **_diagnose(model, episodes, tasks, generator),
    }
    write_curve(run.path(paths.CONTEXT_CURVE), records)
    write_json(run.path(paths.CONTEXT_METRICS), metrics)
    model.save(run.path(paths.CONTEXT), {"family": family.name, "stage": "train_context"})


def _diagnose(
    model: ContextModel, episodes: dict[str, dict[int, Episodes]], tasks: list[Task], generator: torch.Generator
) -> dict[str, Any]:
    """Return the linear probe, the models' errors and the embedding, on training and on unseen tasks."""
    errors = {}
    for name in ("train", "test"):
        data = TaskData.stack(episodes, [task.index for task in split(tasks, name)])
        reward, dynamics = prediction_errors(model, data, generator)
        errors[name] = {"reward": reward, "dynamics": dynamics}
    latents, told = [], []
    for quality, by_task in episodes.items():
        data = TaskData.stack({quality: by_task}, [task.index for task in tasks])
        encoded = encode_tasks(model, data, PROBED_CONTEXTS, generator).numpy()
        latents.append(encoded)
        told += [(task, quality) for task in tasks]
    z = np.concatenate(latents)  # (quality x task, context, Z)
    parameters = np.stack([task.vector for task, _ in told])
    trained = np.array([task.split == "train" for task, _ in told])
    axes = principal_axes(z[trained].reshape(-1, z.shape[-1]))
    embeddings = []
    for (task, quality), mean in zip(told, z.mean(axis=1), strict=True):
        embeddings.append(
            {
                "task": task.index,
                "split": task.split,
                "quality": quality,
                "parameters": task.vector.tolist(),
                "z": np.round(mean, 5).tolist(),
                "xy": np.round(axes(mean), 5).tolist(),
            }
        )
    return {"probe": linear_probe(z, parameters, trained), "errors": errors, "embeddings": embeddings}
