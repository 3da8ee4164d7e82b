"""The declared work of each stage: a number that the CPU time of its jobs is taken to be proportional to.

Only ratios count: a recorded time is scaled by the ratio of a new job's work to the recorded job's. So a stage's work
is the product of the parameters that drive it, and constants of its implementation are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from metadiffuser.config import plugins
from metadiffuser.config.params import Params
from metadiffuser.pipeline import dag

Settings = Mapping[str, Any]


def section(settings: Settings, name: str, family: str = "") -> SimpleNamespace:
    """Return a section of parameters with the family's overrides merged in.

    Args:
        settings: {dotted key: value}, as in ``dag.Job.params`` and in dvc.lock.
        name: of the section.
        family: whose overrides count.

    Raises:
        KeyError: there is no such section.
    """
    override = settings.get(f"overrides.{family}.{name}")
    return SimpleNamespace(**{**settings[name], **(override if isinstance(override, Mapping) else {})})


def settings(params: Params) -> dict[str, Any]:
    """Return {dotted key: value} of all parameters, as ``of`` reads them."""
    return {key: value for job in dag.jobs(params) for key, value in job.params.items()}


def of(stage: str, wildcards: Mapping[str, str], settings: Settings) -> float:
    """Return the work of a job, 0 for one that has nothing to do.

    Args:
        stage: its name; a stage that is not listed here always takes the same time.
        wildcards: of the job.
        settings: {dotted key: value} of all parameters (see ``settings``).

    Raises:
        KeyError, AttributeError, TypeError: the settings are of another version and lack what is asked for.
    """
    return float(WORK[stage](_Job(wildcards, settings))) if stage in WORK else 1.0


class _Job:
    """The sections that a job's work is computed from, by attribute."""

    def __init__(self, wildcards: Mapping[str, str], settings: Settings):
        self.wildcards = wildcards
        self.settings = settings

    def __getattr__(self, name: str) -> SimpleNamespace:
        return section(self.settings, name, self.wildcards.get("family", ""))


def _weights(part: SimpleNamespace) -> float:
    """Return about how many weights the hidden layers of a section's network have; 1 if it does not say."""
    if hasattr(part, "hidden"):
        return sum(one * other for one, other in pairwise([part.hidden[0], *part.hidden]))
    return part.layers * part.width**2 if hasattr(part, "layers") else 1


def _denoiser(job: _Job) -> float:
    """Return about how many multiply-adds the U-Net makes for one segment: each level has half the steps."""
    part = job.diffusion
    return part.horizon * sum((part.width * m) ** 2 / 2**level for level, m in enumerate(part.multipliers))


def _behaviour(job: _Job) -> float:
    tasks, part, shards = job.tasks, job.behaviour, job.settings["shards"]
    indices = range(tasks.train + tasks.test)[int(job.wildcards["shard"]) :: len(shards)]
    count, training = len(indices), sum(index < tasks.train for index in indices)
    if not count or getattr(tasks, "imported", None) is not None:
        return 0
    agents = count
    if part.sharing == "task_conditioned":
        # The unseen tasks have one agent. Jobs that were recorded before there were teachers trained one agent in all.
        agents = min(part.teachers, training) + (training < count) if hasattr(part, "teachers") else 1
    return agents * part.steps * part.updates_per_step * part.batch_size * _weights(part)


def _dataset(job: _Job) -> float:
    return (job.tasks.train + job.tasks.test) * len(job.dataset.qualities) * job.dataset.episodes


def _context(job: _Job) -> float:
    part = job.context
    return part.steps * part.task_batch * part.target_batch * _weights(part)


def _diffusion(job: _Job) -> float:
    return job.diffusion.steps * job.diffusion.batch_size * _denoiser(job)


def _calibrate(job: _Job) -> float:
    part, planning = job.calibration, job.planning
    episodes = part.settings * len(part.contexts) * min(part.tasks, job.tasks.train) * part.episodes
    steps = min(planning.sampling_steps, job.diffusion.denoising_steps)
    return episodes * steps * planning.candidates / planning.actions_per_plan * _denoiser(job)


def _calibrate_baseline(job: _Job) -> float:
    part, method = job.calibration, job.wildcards["method"]
    own = section(job.settings, f"baseline.{method}", job.wildcards["family"])
    grid = plugins.load("method", method).METHOD.calibrated
    others = sum(value != getattr(own, key, None) for key, values in grid.items() for value in values)
    settings = min(part.settings, 1 + others)
    return settings * len(part.contexts) * min(part.tasks, job.tasks.train) * part.episodes


def _evaluate(job: _Job) -> float:
    part, planning, made = job.evaluation, job.planning, job.diffusion.denoising_steps
    cells = len(part.contexts) + len(part.guides)
    steps = cells * job.tasks.test * part.episodes * min(planning.sampling_steps, made)
    for sampler in part.samplers:
        steps += min(part.study_tasks, job.tasks.train) * part.study_episodes * min(sampler["steps"], made)
    return steps * planning.candidates / planning.actions_per_plan * _denoiser(job)


def _train_baseline(job: _Job) -> float:
    method = job.wildcards["method"]
    part = section(job.settings, f"baseline.{method}", job.wildcards["family"])
    declared: Callable[[SimpleNamespace], float] | None = getattr(plugins.load("method", method), "work", None)
    return declared(part) if declared else part.steps * part.batch_size * _weights(part)


def _evaluate_baseline(job: _Job) -> float:
    return len(job.evaluation.contexts) * job.tasks.test * job.evaluation.episodes


def _rollouts(job: _Job) -> float:
    part = job.rendering
    return min(part.tasks, job.tasks.test) * part.frames * part.width * part.height


def _metrics(job: _Job) -> float:
    models = len(job.settings["representations"]) + len(job.settings["baselines"])
    return len(job.settings["families"]) * len(job.settings["seeds"]) * models


def _tables(job: _Job) -> float:
    return _metrics(job) * job.report.bootstrap_samples


WORK: Mapping[str, Callable[[_Job], float]] = {
    "train_behaviour": _behaviour,
    "collect_dataset": _dataset,
    "train_context": _context,
    "train_diffusion": _diffusion,
    "calibrate": _calibrate,
    "evaluate": _evaluate,
    "train_baseline": _train_baseline,
    "calibrate_baseline": _calibrate_baseline,
    "evaluate_baseline": _evaluate_baseline,
    "render_rollouts": _rollouts,
    "make_tables": _tables,
    "make_figures": _metrics,
}
