"""Stage ``calibrate``: the settings of one trained planner that act at test time, chosen on training tasks."""

from __future__ import annotations

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.calibration.choice import BEYOND
from metadiffuser.calibration.judge import read_judge
from metadiffuser.calibration.planner import VALUED, calibrate_planner, with_value
from metadiffuser.calibration.record import calibration_record, trials_record
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.labels import labels
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.pipeline.run import Run


def run(job: Run) -> None:
    """Try settings on training tasks; write every score and the choice."""
    family, section = get_family(job.wildcard("family")), job.section("calibration")
    representation, seed = job.wildcard("representation"), job.wildcard("seed")
    context, _ = ContextModel.load(job.path(paths.CONTEXT), job.device)
    diffusion, _ = DiffusionModel.load(job.path(paths.DIFFUSION), job.device)
    data = job.path(paths.DATASET)
    tasks = read_tasks(job.path(paths.TASKS), data)
    judge = read_judge(family, tasks, data, context, section, job.root_seed, representation, seed)
    planning = job.section("planning")
    tried, chosen = calibrate_planner(diffusion, context, planning, section, judge, job.work)
    record = calibration_record(judge, section, tried, chosen)
    if section.beyond:
        valued = with_value(planning, chosen.values)
        trials, best = calibrate_planner(diffusion, context, valued, section, judge, job.work / BEYOND)
        record[BEYOND] = trials_record(judge, trials, best, VALUED)
    names = labels("family", family.name, family) | {"representation": representation, "seed": int(seed)}
    write_json(job.path(paths.CALIBRATION), names | record)
