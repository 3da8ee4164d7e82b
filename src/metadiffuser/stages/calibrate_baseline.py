"""Stage ``calibrate_baseline``: what a baseline leaves to its user at test time, chosen on training tasks."""

from __future__ import annotations

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.baselines import get_method
from metadiffuser.calibration.baseline import calibrate_baseline
from metadiffuser.calibration.judge import read_judge
from metadiffuser.calibration.record import calibration_record
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.labels import labels
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.pipeline.run import Run


def run(job: Run) -> None:
    """Try the settings that the method declares on training tasks; write every score and the choice."""
    family, section, name = get_family(job.wildcard("family")), job.section("calibration"), job.wildcard("method")
    representation, seed = job.wildcard("representation"), job.wildcard("seed")
    context, _ = ContextModel.load(job.path(paths.CONTEXT))
    method = get_method(name)
    model, _ = method.Model.load(job.path(paths.BASELINE))
    data = job.path(paths.DATASET)
    tasks = read_tasks(job.path(paths.TASKS), data)
    judge = read_judge(family, tasks, data, context, section, job.root_seed, representation, seed)
    tried, chosen = calibrate_baseline(name, method, model, context, section, judge, seed, job.work)
    names = labels("family", family.name, family) | labels("method", name, method.METHOD) | {"seed": int(seed)}
    write_json(job.path(paths.BASELINE_CALIBRATION), names | calibration_record(judge, section, tried, chosen))
