"""Stage ``train_context``: a task representation of one family with its reward and dynamics models."""

from __future__ import annotations

from typing import cast

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.config.schema import Representation
from metadiffuser.context.diagnostics import diagnose
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import train_context
from metadiffuser.data.minari_store import read_family
from metadiffuser.data.windows import TaskData
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import read_tasks, split
from metadiffuser.pipeline.run import Run
from metadiffuser.seeding import numpy_generator, torch_generator, torch_initialisation
from metadiffuser.tracking import write_curve


def run(run: Run) -> None:
    """Train on the training tasks' episodes; write the model, its learning curve and what z tells of the task."""
    family = get_family(run.wildcard("family"))
    section = run.section("context")
    representation = cast(Representation, run.wildcard("representation"))
    stream = ("train_context", family.name, representation, run.wildcard("seed"))
    tasks = read_tasks(run.path(paths.TASKS), run.path(paths.DATASET))
    episodes = read_family(run.path(paths.DATASET), tasks, section.qualities)
    data = TaskData.stack(episodes, [task.index for task in split(tasks, "train")])
    with torch_initialisation(run.root_seed, *stream):
        sizes = (family.observation_size, family.action_size)
        model = ContextModel(*sizes, section, family.unbounded_dims, representation, data.parameters.shape[1])
    generator = torch_generator(run.root_seed, *stream)
    records = train_context(model, data, generator, run.work / "training.safetensors")
    model.eval()
    trials = numpy_generator(run.root_seed, *stream, "identifiable")
    metrics = {
        "family": family.name,
        "representation": representation,
        "seed": int(run.wildcard("seed")),
        **diagnose(model, family, episodes, tasks, generator, trials),
    }
    write_curve(run.path(paths.CONTEXT_CURVE), records)
    write_json(run.path(paths.CONTEXT_METRICS), metrics)
    model.save(run.path(paths.CONTEXT), {"family": family.name, "stage": "train_context"})
