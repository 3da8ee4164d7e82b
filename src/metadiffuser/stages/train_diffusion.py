"""Stage ``train_diffusion``: the conditional diffusion model of one family, the context encoder frozen."""

from __future__ import annotations

from metadiffuser import paths
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import task_latents
from metadiffuser.data.minari_store import read_family
from metadiffuser.data.windows import TaskData
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.diffusion.training import train_diffusion
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import read_tasks, split
from metadiffuser.pipeline.run import Run
from metadiffuser.seeding import torch_generator, torch_initialisation
from metadiffuser.tracking import write_curve


def run(job: Run) -> None:
    """Train on the training tasks' episodes; write the averaged weights and the learning curve."""
    family = get_family(job.wildcard("family"))
    section = job.section("diffusion")
    stream = ("train_diffusion", family.name, job.wildcard("representation"), job.wildcard("seed"))
    context, _ = ContextModel.load(job.path(paths.CONTEXT))
    tasks = split(read_tasks(job.path(paths.TASKS), job.path(paths.DATASET)), "train")
    indices = [task.index for task in tasks]
    qualities = list(dict.fromkeys([*section.qualities, *context.config.qualities]))
    episodes = read_family(job.path(paths.DATASET), tasks, qualities)

    generator = torch_generator(job.root_seed, *stream)
    described = TaskData.stack({quality: episodes[quality] for quality in context.config.qualities}, indices)
    latents = task_latents(context, described, generator)
    data = TaskData.stack({quality: episodes[quality] for quality in section.qualities}, indices)
    with torch_initialisation(job.root_seed, *stream):
        model = DiffusionModel(family.observation_size, family.action_size, context.latent_size, section)
    model.normaliser.load_state_dict(context.normaliser.state_dict())
    checkpoint = job.work / "training.safetensors"
    averaged, records = train_diffusion(model, data, latents, generator, checkpoint, job.device)
    write_curve(job.path(paths.DIFFUSION_CURVE), records)
    averaged.save(job.path(paths.DIFFUSION), {"family": family.name, "stage": "train_diffusion"})
