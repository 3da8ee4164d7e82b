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


def run(run: Run) -> None:
    """Train on the training tasks' episodes; write the model and the learning curve."""
    family, name = get_family(run.wildcard("family")), run.wildcard("method")
    method, section = get_method(name), run.section(f"baseline.{name}")
    stream = ("train_baseline", family.name, name, run.wildcard("seed"))
    context, _ = ContextModel.load(run.path(paths.CONTEXT))
    tasks = split(read_tasks(run.path(paths.TASKS), run.path(paths.DATASET)), "train")
    qualities = list(dict.fromkeys([*section.qualities, *context.config.qualities]))
    episodes = read_family(run.path(paths.DATASET), tasks, qualities)
    training = Training(
        episodes,
        [task.index for task in tasks],
        context,
        torch_generator(run.root_seed, *stream),
        run.work / "training.safetensors",
    )
    sizes = Sizes(family.observation_size, family.action_size, context.latent_size, family.episode_length)
    with torch_initialisation(run.root_seed, *stream):
        model = method.Model(sizes, section)
    model.normaliser.load_state_dict(context.normaliser.state_dict())
    trained, records = method.train(model, training)
    write_curve(run.path(paths.BASELINE_CURVE), records)
    trained.save(run.path(paths.BASELINE), {"family": family.name, "method": name, "stage": "train_baseline"})
