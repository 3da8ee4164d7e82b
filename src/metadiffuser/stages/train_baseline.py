"""Stage ``train_baseline``: one baseline of one family, on the data and contexts that the planner is trained on."""

from __future__ import annotations

from metadiffuser import paths
from metadiffuser.baselines import get_method
from metadiffuser.baselines.shared.interface import Sizes, Training
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.minari_store import read_family
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import read_tasks, split
from metadiffuser.pipeline.run import Run
from metadiffuser.seeding import torch_generator, torch_initialisation
from metadiffuser.tracking import write_curve


def run(job: Run) -> None:
    """Train on the training tasks' episodes; write the model and the learning curve."""
    family, name = get_family(job.wildcard("family")), job.wildcard("method")
    method, section = get_method(name), job.section(f"baseline.{name}")
    stream = ("train_baseline", family.name, name, job.wildcard("seed"))
    context, _ = ContextModel.load(job.path(paths.CONTEXT))
    tasks = split(read_tasks(job.path(paths.TASKS), job.path(paths.DATASET)), "train")
    qualities = list(dict.fromkeys([*section.qualities, *context.config.qualities]))
    episodes = read_family(job.path(paths.DATASET), tasks, qualities)
    training = Training(
        episodes,
        [task.index for task in tasks],
        context,
        torch_generator(job.root_seed, *stream),
        job.work / "training.safetensors",
    )
    sizes = Sizes(family.observation_size, family.action_size, context.latent_size, family.episode_length)
    with torch_initialisation(job.root_seed, *stream):
        model = method.Model(sizes, section)
    model.normaliser.load_state_dict(context.normaliser.state_dict())
    trained, records = method.train(model, training)
    write_curve(job.path(paths.BASELINE_CURVE), records)
    trained.save(job.path(paths.BASELINE), {"family": family.name, "method": name, "stage": "train_baseline"})
