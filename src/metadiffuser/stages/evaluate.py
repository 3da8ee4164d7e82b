"""Stage ``evaluate``: play unseen tasks with every guide and every kind of warm-start data."""

from __future__ import annotations

from metadiffuser import paths
from metadiffuser.artifacts import write_json, write_tensors
from metadiffuser.calibration.choice import read_beyond, read_chosen, with_values
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.labels import labels
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.evaluation.planner import evaluate_planner
from metadiffuser.evaluation.setup import episode_setups
from metadiffuser.pipeline.run import Run
from metadiffuser.planning.planner import Planner


def run(job: Run) -> None:
    """Evaluate one trained planner; write per-episode returns and the rollouts that are shown."""
    family, section = get_family(job.wildcard("family")), job.section("evaluation")
    representation, seed = job.wildcard("representation"), job.wildcard("seed")
    context, _ = ContextModel.load(job.path(paths.CONTEXT), job.device)
    diffusion, _ = DiffusionModel.load(job.path(paths.DIFFUSION), job.device)
    chosen, beyond = read_chosen(job.path(paths.CALIBRATION)), read_beyond(job.path(paths.CALIBRATION))
    planning = job.section("planning")
    planner = Planner(diffusion, context, with_values(planning, chosen))
    valued = None if beyond is None else Planner(diffusion, context, with_values(planning, beyond))
    data = job.path(paths.DATASET)
    tasks = read_tasks(job.path(paths.TASKS), data)
    unseen, studied = episode_setups(family, tasks, data, section, job.root_seed, representation, seed)
    found = evaluate_planner(planner, valued, section, unseen, studied, job.work)
    job.notes.update(found.times)
    names = labels("family", family.name, family) | {"representation": representation, "seed": int(seed)}
    own = {"settings": chosen, "qualities": list(diffusion.config.qualities)}
    write_json(job.path(paths.PLANNER_METRICS), names | own | found.metrics)
    write_tensors(job.path(paths.ROLLOUTS), found.rollouts, {"family": family.name, "episodes": found.episodes})
