"""Stage ``train_context``: a task representation of one family with its reward and dynamics models."""

from __future__ import annotations

from typing import cast

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.config.schema import Representation
from metadiffuser.context.diagnostics import diagnose
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import keep_hypotheses, train_context
from metadiffuser.data.labels import labels
from metadiffuser.data.minari_store import read_family
from metadiffuser.data.windows import TaskData
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import read_tasks, split
from metadiffuser.pipeline.run import Run
from metadiffuser.seeding import numpy_generator, torch_generator, torch_initialisation
from metadiffuser.tracking import write_curve


def run(job: Run) -> None:
    """Train on the training tasks' episodes; write the model, its learning curve and diagnostics of z."""
    family = get_family(job.wildcard("family"))
    section = job.section("context")
    representation = cast(Representation, job.wildcard("representation"))
    stream = ("train_context", family.name, representation, job.wildcard("seed"))
    tasks = read_tasks(job.path(paths.TASKS), job.path(paths.DATASET))
    episodes = read_family(job.path(paths.DATASET), tasks, section.qualities)
    data = TaskData.stack(episodes, [task.index for task in split(tasks, "train")])
    with torch_initialisation(job.root_seed, *stream):
        sizes = (family.observation_size, family.action_size)
        model = ContextModel(*sizes, section, family.unbounded_dims, representation, data.parameters.shape[1])
    generator = torch_generator(job.root_seed, *stream)
    records = train_context(model, data, generator, job.work / "training.safetensors")
    model.eval()
    permutations = numpy_generator(job.root_seed, *stream, "permutations")
    metrics = {
        **labels("family", family.name, family),
        "representation": representation,
        "seed": int(job.wildcard("seed")),
        **diagnose(model, episodes, tasks, generator, permutations),
    }
    keep_hypotheses(model, data, torch_generator(job.root_seed, *stream, "hypotheses"))
    write_curve(job.path(paths.CONTEXT_CURVE), records)
    write_json(job.path(paths.CONTEXT_METRICS), metrics)
    model.save(job.path(paths.CONTEXT), {"family": family.name, "stage": "train_context"})
