"""Stage ``evaluate_baseline``: one baseline on the episodes that the planner plays, with the same warm-start data."""

from __future__ import annotations

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.baselines import get_method
from metadiffuser.baselines.shared.interface import with_settings
from metadiffuser.calibration.choice import read_chosen
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.labels import labels
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.evaluation.baseline import evaluate_baseline
from metadiffuser.evaluation.setup import episode_setups
from metadiffuser.pipeline.run import Run


def run(job: Run) -> None:
    """Play every unseen task with every kind of warm-start data, and training tasks; write per-episode returns."""
    family, section, name = get_family(job.wildcard("family")), job.section("evaluation"), job.wildcard("method")
    representation, seed = job.wildcard("representation"), job.wildcard("seed")
    context, _ = ContextModel.load(job.path(paths.CONTEXT))
    method = get_method(name)
    trained, _ = method.Model.load(job.path(paths.BASELINE))
    chosen = read_chosen(job.path(paths.BASELINE_CALIBRATION))
    model = with_settings(trained, chosen)
    data = job.path(paths.DATASET)
    tasks = read_tasks(job.path(paths.TASKS), data)
    unseen, studied = episode_setups(family, tasks, data, section, job.root_seed, representation, seed)
    metrics, times = evaluate_baseline(name, method, model, context, section.contexts, unseen, studied, seed)
    job.notes.update(times)
    names = labels("family", family.name, family) | labels("method", name, method.METHOD)
    names |= {"representation": representation, "seed": int(seed)}
    write_json(job.path(paths.BASELINE_METRICS), names | {"settings": chosen} | metrics)
