"""The DAG: what each stage reads and writes, its parameters and the code that it runs.

This is the only statement of parameters and code. ``metadiffuser dvc`` writes ``dvc.yaml`` from it, and the rules of
Snakemake look both up by the stage's name; their literal paths are held equal to those here by a test. A stage that
reads what it does not declare here fails.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metadiffuser import paths
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError

PACKAGE = "src/metadiffuser"
COMMON_CODE = ("artifacts.py", "seeding.py")


@dataclass(frozen=True)
class Stage:
    """One kind of job.

    Attributes:
        name: CLI verb, Snakemake rule and DVC stage.
        wildcards: what one job is for; ``preset`` is implied.
        params: keys of params.yaml that the stage depends on.
        inputs: path templates; a field that is not a wildcard of the stage stands for all of its values.
        outputs: path templates; the timing record is implied unless ``timed`` is false.
        code: files and folders below the package that the stage runs.
        timed: whether the job writes a timing record.
        first: wildcards whose inputs use only the first configured value.

    Parameters and code may hold wildcards, too: a job of one baseline depends on that baseline's alone.
    """

    name: str
    wildcards: tuple[str, ...]
    params: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    code: tuple[str, ...]
    timed: bool = True
    first: tuple[str, ...] = ()


def _sections(*names: str) -> tuple[str, ...]:
    return tuple(itertools.chain.from_iterable((name, f"overrides.{{family}}.{name}") for name in names))


_MODEL = ("family", "representation", "seed")
_BASELINE = ("family", "method", "seed")
_LISTS = ("families", "representations", "baselines", "seeds", "report")  # what tables and figures depend on

_ENVS = ("envs/__init__.py", "envs/shared", "envs/{family}.py")  # a family's file holds its tasks and its simulator
_TASK_LIST = ("importing/store.py", "data/episodes.py", *_ENVS)
_TRAINING = ("checkpointing.py", "tracking.py", "training.py")
_SAC = tuple(f"behaviour/{name}.py" for name in ("adam", "networks", "policies", "replay", "sac", "training"))
_METHOD = (  # a method's file holds its training and its acting
    *("baselines/__init__.py", "baselines/shared", "baselines/{method}.py", "behaviour/networks.py"),
    *("context", "data", *_ENVS, "checkpointing.py", "training.py"),
)
_PLANNER = ("evaluation", "planning", "diffusion", "context", "data", *_ENVS)
_PLAY = tuple(f"evaluation/{name}.py" for name in ("rollout", "setup", "warm_start"))
_KEPT = ("evaluation/outcomes.py", "evaluation/statistics.py")
_CALIBRATION = tuple(f"calibration/{name}.py" for name in ("descent", "judge", "models", "record"))
_CURVES = (paths.BEHAVIOUR_CURVE, paths.CONTEXT_CURVE, paths.DIFFUSION_CURVE, paths.BASELINE_CURVE)
_METRICS = (paths.DATASET_METRICS, paths.CONTEXT_METRICS, paths.PLANNER_METRICS, paths.BASELINE_METRICS)

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="define_tasks",
            wildcards=("family",),
            params=("seed", *_sections("tasks")),
            inputs=(),
            outputs=(paths.TASKS,),
            code=("stages/define_tasks.py", *_TASK_LIST),
        ),
        Stage(
            name="train_behaviour",
            wildcards=("family", "shard"),
            params=("seed", "device", "shards", *_sections("behaviour")),
            inputs=(paths.TASKS,),
            outputs=(paths.BEHAVIOUR, paths.BEHAVIOUR_CURVE),
            code=("stages/train_behaviour.py", *_SAC, *_TASK_LIST, "checkpointing.py", "tracking.py"),
        ),
        Stage(
            name="collect_dataset",
            wildcards=("family",),
            params=("seed", "device", "shards", *_sections("dataset")),
            inputs=(paths.TASKS, paths.BEHAVIOUR),
            outputs=(paths.DATASET, paths.DATASET_METRICS),
            code=(
                *("stages/collect_dataset.py", "behaviour", "importing/dataset.py", "importing/store.py", "data"),
                *(*_ENVS, "checkpointing.py"),
            ),
        ),
        Stage(
            name="describe_dataset",
            wildcards=("family",),
            params=(),
            inputs=(paths.DATASET_METRICS,),
            outputs=(paths.DATASET_CARD,),
            code=("stages/describe_dataset.py", "reporting/card.py", "reporting/style.py"),
        ),
        Stage(
            name="train_context",
            wildcards=_MODEL,
            params=("seed", *_sections("context")),
            inputs=(paths.TASKS, paths.DATASET),
            outputs=(paths.CONTEXT, paths.CONTEXT_CURVE, paths.CONTEXT_METRICS),
            code=("stages/train_context.py", "context", "data", *_ENVS, *_TRAINING),
        ),
        Stage(
            name="train_diffusion",
            wildcards=_MODEL,
            params=("seed", "device", *_sections("diffusion")),
            inputs=(paths.TASKS, paths.DATASET, paths.CONTEXT),
            outputs=(paths.DIFFUSION, paths.DIFFUSION_CURVE),
            code=("stages/train_diffusion.py", "diffusion", "context", "data", *_ENVS, *_TRAINING),
        ),
        Stage(
            name="calibrate",
            wildcards=_MODEL,
            params=("seed", "device", *_sections("planning", "calibration")),
            inputs=(paths.TASKS, paths.DATASET, paths.CONTEXT, paths.DIFFUSION),
            outputs=(paths.CALIBRATION,),
            code=("stages/calibrate.py", *_CALIBRATION, "calibration/choice.py", "calibration/planner.py", *_PLANNER),
        ),
        Stage(
            name="evaluate",
            wildcards=_MODEL,
            params=("seed", "device", *_sections("planning", "evaluation")),
            inputs=(paths.TASKS, paths.DATASET, paths.CONTEXT, paths.DIFFUSION, paths.CALIBRATION),
            outputs=(paths.PLANNER_METRICS, paths.ROLLOUTS),
            code=("stages/evaluate.py", "calibration/choice.py", *_PLANNER),
        ),
        Stage(
            name="train_baseline",
            wildcards=_BASELINE,
            params=("seed", *_sections("baseline.{method}")),
            inputs=(paths.TASKS, paths.DATASET, paths.CONTEXT),
            outputs=(paths.BASELINE, paths.BASELINE_CURVE),
            code=("stages/train_baseline.py", *_METHOD, "tracking.py"),
            first=("representation",),
        ),
        Stage(
            name="calibrate_baseline",
            wildcards=_BASELINE,
            params=("seed", *_sections("calibration")),
            inputs=(paths.TASKS, paths.DATASET, paths.CONTEXT, paths.BASELINE),
            outputs=(paths.BASELINE_CALIBRATION,),
            code=("stages/calibrate_baseline.py", "calibration/baseline.py", *_CALIBRATION, *_METHOD, *_PLAY, *_KEPT),
            first=("representation",),
        ),
        Stage(
            name="evaluate_baseline",
            wildcards=_BASELINE,
            params=("seed", *_sections("evaluation")),
            inputs=(paths.TASKS, paths.DATASET, paths.CONTEXT, paths.BASELINE, paths.BASELINE_CALIBRATION),
            outputs=(paths.BASELINE_METRICS,),
            code=("stages/evaluate_baseline.py", "calibration/choice.py", *_METHOD, *_PLAY, "evaluation/baseline.py"),
            first=("representation",),
        ),
        Stage(
            name="render_rollouts",
            wildcards=("family",),
            params=("representations", "seeds", *_sections("rendering")),
            inputs=(paths.TASKS, paths.ROLLOUTS),
            outputs=(paths.VIDEOS,),
            code=("stages/render_rollouts.py", "viewing", *_ENVS),
            first=("representation", "seed"),
        ),
        Stage(
            name="make_tables",
            wildcards=(),
            params=_LISTS,
            inputs=(*_METRICS, paths.CALIBRATION, paths.BASELINE_CALIBRATION),
            outputs=(paths.TABLES,),
            code=("stages/make_tables.py", "reporting", "evaluation/statistics.py"),
        ),
        Stage(
            name="make_figures",
            wildcards=(),
            params=_LISTS,
            inputs=(*_METRICS, *_CURVES),
            outputs=(paths.FIGURES,),
            code=("stages/make_figures.py", "reporting", "evaluation/statistics.py", "tracking.py"),
        ),
        Stage(
            name="make_report",
            wildcards=(),
            params=tuple(Params.model_fields),
            inputs=(paths.TABLES, paths.FIGURES, paths.VIDEOS, paths.TIMING),
            outputs=(paths.REPORT,),
            code=("stages/make_report.py", "reporting", "evaluation/statistics.py"),
            timed=False,
        ),
    )
}


@dataclass(frozen=True)
class Job:
    """One node of the DAG.

    Attributes:
        name: ``stage@preset-wildcard-...``, the name that both engines show.
        stage: the stage's record.
        wildcards: values of ``preset`` and of the stage's wildcards, as text.
        command: the shell command.
        params: {dotted key: value} of the parameters that the job depends on.
        inputs: paths of other jobs' outputs.
        outputs: paths that the job writes.
        reads: ``wildcards``, and the first configured value of those that its inputs use only the first of.
        code: files and folders below the package that the job runs, the common ones included.
    """

    name: str
    stage: Stage
    wildcards: Mapping[str, str]
    command: str
    params: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reads: Mapping[str, str]
    code: tuple[str, ...]


def wildcard_values(params: Params) -> dict[str, list[str]]:
    """Return the values of every wildcard."""
    return {
        "preset": [params.preset],
        "family": list(params.families),
        "representation": list(params.representations),
        "method": list(params.baselines),
        "seed": [str(seed) for seed in params.seeds],
        "shard": [str(shard) for shard in params.shards],
    }


def job_name(stage: str, wildcards: Mapping[str, str]) -> str:
    """Return ``stage@preset-...`` of one job."""
    return f"{stage}@{'-'.join(wildcards.values())}"


def source_files(entries: Iterable[str], package: Path = Path(PACKAGE)) -> list[str]:
    """Return the files of code entries (files or folders below the package), sorted within each entry."""
    files = []
    for entry in entries:
        path = package / entry
        found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        files += [str(p) for p in found if "__pycache__" not in p.parts]
    return files


def code_of(stage: str, wildcards: Mapping[str, str]) -> tuple[str, ...]:
    """Return the code entries of a stage for some wildcards, the common ones first."""
    fields = dict(wildcards)
    return (*COMMON_CODE, *(entry.format(**fields) for entry in STAGES[stage].code))


def params_of(stage: str, wildcards: Mapping[str, str], tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return {dotted key: value} of the parameters that a stage depends on for some wildcards.

    Args:
        stage: name of the stage.
        wildcards: values of its wildcards.
        tree: the whole of params.yaml.
    """
    fields = dict(wildcards)
    keys = [key.format(**fields) for key in STAGES[stage].params]
    return {key: lookup(tree, key) for key in keys}


def threads(job: Job, params: Params) -> int:
    """Return the CPU threads that ``job`` is given: its section's, the last declared if there are several."""
    family = job.wildcards.get("family")
    sections = [params.section(key, family) for key in job.params if family and key in params.overridable()]
    return next((int(section.threads) for section in reversed(sections) if hasattr(section, "threads")), 1)


def lookup(tree: Any, key: str) -> Any:
    """Return the value at a dotted key of a nested mapping."""
    for part in key.split("."):
        tree = tree[part]
    return tree


def expand(template: str, wildcards: Mapping[str, str], params: Params) -> list[str]:
    """Fill ``template``; fields that are not in ``wildcards`` take all of their values."""
    if template == paths.TIMING:
        return [timing_path(job.name, params.preset) for job in jobs(params, timed_only=True)]
    fields = [field for field in dict.fromkeys(re.findall(r"{(\w+)}", template)) if field not in wildcards]
    known = wildcard_values(params)
    choices = itertools.product(*(known[field] for field in fields))
    return [template.format(**wildcards, **dict(zip(fields, choice, strict=True))) for choice in choices]


def timing_path(name: str, preset: str) -> str:
    """Return the path of a job's timing record."""
    return paths.TIMING.format(preset=preset, job=name.replace(f"@{preset}", "", 1))


def make_job(stage: Stage, wildcards: Mapping[str, str], params: Params) -> Job:
    """Return the job of ``stage`` for ``wildcards`` (without ``preset``)."""
    bound = {"preset": params.preset, **wildcards}
    name = job_name(stage.name, bound)
    options = "".join(f" --{key} {value}" for key, value in wildcards.items())
    known = wildcard_values(params)
    reads = bound | {name: known[name][0] for name in stage.first}
    outputs = [path for template in stage.outputs for path in expand(template, bound, params)]
    return Job(
        name=name,
        stage=stage,
        wildcards=bound,
        command=f"metadiffuser {stage.name}{options}",
        params=params_of(stage.name, bound, params.model_dump()),
        inputs=tuple(path for template in stage.inputs for path in expand(template, reads, params)),
        outputs=(*outputs, *([timing_path(name, params.preset)] if stage.timed else [])),
        reads=reads,
        code=code_of(stage.name, bound),
    )


def find_job(stage: str, wildcards: Mapping[str, str], params: Params) -> Job:
    """Return one job of the DAG. Raises ``InputError`` for a wildcard value that params.yaml does not have."""
    known = wildcard_values(params)
    for name, value in wildcards.items():
        if value not in known[name]:
            raise InputError(f"--{name} {value}: not in params.yaml, which has {', '.join(known[name])}")
    return make_job(STAGES[stage], wildcards, params)


def jobs(params: Params, timed_only: bool = False) -> list[Job]:
    """Return every job of the DAG, producers before consumers."""
    known = wildcard_values(params)
    return [
        make_job(stage, dict(zip(stage.wildcards, choice, strict=True)), params)
        for stage in STAGES.values()
        if stage.timed or not timed_only
        for choice in itertools.product(*(known[name] for name in stage.wildcards))
    ]
