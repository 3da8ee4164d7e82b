"""Trials through the ordinary stages, in a scratch folder where stages that trials have in common run once."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metadiffuser import paths
from metadiffuser.artifacts import read_json, write_json
from metadiffuser.config.params import Params
from metadiffuser.data.minari_store import read_anchors
from metadiffuser.envs import Family, get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.errors import InputError
from metadiffuser.evaluation.statistics import normalised_score
from metadiffuser.pipeline import dag, records
from metadiffuser.pipeline.run import execute
from metadiffuser.tuning.holdout import Source, hold_out, write_split
from metadiffuser.tuning.settings import OWN, Trial

DATA = "data"  # the scratch folder's preset that holds the tasks and datasets
CHAINS = {OWN: ("train_context", "train_diffusion", "calibrate", "evaluate")}
BASELINE = ("train_context", "train_baseline", "calibrate_baseline", "evaluate_baseline")
SHARED = "train_context"  # its time counts only for the planner: baselines get its model


@dataclass(frozen=True)
class Score:
    """What a trial came to.

    Attributes:
        normalised: {context: {task: normalised scores of its episodes (R,)}}.
        seconds: CPU seconds of training.
    """

    normalised: dict[str, dict[str, NDArray[np.float64]]]
    seconds: float

    @classmethod
    def join(cls, folds: Sequence[Score]) -> Score:
        """Return the score on the held-out tasks of all folds, and the mean time of training one."""
        contexts = folds[0].normalised
        joined = {name: {k: v for fold in folds for k, v in fold.normalised[name].items()} for name in contexts}
        return cls(joined, float(np.mean([fold.seconds for fold in folds])))


@contextlib.contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Hold the lock ``path``; wait while another process does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Scratch:
    """The folder of one family's trials: a project of its own, in which every set of parameters is a preset."""

    root: Path

    @classmethod
    def prepare(cls, params: Params, family: str, count: int, folds: int) -> list[Scratch]:
        """Return a scratch folder for each fold of ``count`` held-out training tasks.

        A folder is made again if data or split have changed.

        Raises:
            InputError: the family's tasks or datasets are missing or damaged.
        """
        wildcards = {"preset": params.preset, "family": family}
        tasks, data = (Path(template.format(**wildcards)) for template in (paths.TASKS, paths.DATASET))
        for path in (tasks, data):
            if not path.exists():
                raise InputError(f"{path}: missing; run 'snakemake --cores all {data}'")
        place = (records.WORK / "tuning" / params.preset).resolve()
        digest = records.digest(tasks, data)
        found = []
        for fold, sources in enumerate(hold_out(read_tasks(tasks, data), count, folds)):
            scratch = cls(place / f"{family}-{count}-{fold}")
            scratch._fill(sources, tasks, data, get_family(family), digest)
            found.append(scratch)
        return found

    def _fill(self, sources: Sequence[Source], tasks: Path, data: Path, family: Family, digest: str) -> None:
        with waiting(self.root / "data.lock"):
            marker = self.root / "data.json"
            parts = [[source.task.to_json(), source.index, source.half] for source in sources]
            current = {"data": digest, "split": parts}
            if not marker.is_file() or read_json(marker) != current:
                marker.unlink(missing_ok=True)
                place = {"preset": DATA, "family": family.name}
                target = [self.root / template.format(**place) for template in (paths.TASKS, paths.DATASET)]
                write_split(read_json(tasks), data, family, sources, *target)
                write_json(marker, current)

    def run(self, trial: Trial) -> Score:
        """Run the jobs of a trial that have not been run, and return its score."""
        with contextlib.chdir(self.root):
            place = {"preset": DATA, "family": trial.family}
            made = {template: Path(template.format(**place)) for template in (paths.TASKS, paths.DATASET)}
            known = dag.wildcard_values(trial.params)
            upstream: list[Any] = []
            seconds = 0.0
            for name in CHAINS.get(trial.method, BASELINE):
                stage = dag.STAGES[name]
                wildcards = {key: known[key][0] for key in stage.wildcards}
                upstream.append([name, dag.make_job(stage, wildcards, trial.params).params])
                job, params = _job(name, wildcards, trial.params, upstream)
                _link_inputs(job, made)
                with waiting(Path("locks") / f"{job.name}.lock"):
                    if not records.is_current(job):
                        execute(job, params)
                made |= dict(zip(job.stage.outputs, map(Path, job.outputs), strict=False))
                if name.startswith("train_") and (name != SHARED or trial.method == OWN):
                    seconds += float(read_json(Path(dag.timing_path(job.name, params.preset)))["cpu_seconds"])
            metrics = read_json(made[stage.outputs[0]])
            return Score(_normalised(metrics["cells"], made[paths.DATASET], trial), seconds)


def _job(name: str, wildcards: dict[str, str], params: Params, upstream: Sequence[Any]) -> tuple[dag.Job, Params]:
    """Return a stage's job under the preset that is named after its parameters and those of the stages before it."""
    values = json.dumps(upstream, sort_keys=True).encode()
    own = params.model_copy(update={"preset": f"t{hashlib.blake2b(values, digest_size=8).hexdigest()}"})
    return dag.find_job(name, wildcards, own), own


def _link_inputs(job: dag.Job, made: dict[str, Path]) -> None:
    """Put the outputs of earlier jobs where ``job`` expects its inputs."""
    for template, path in zip(job.stage.inputs, map(Path, job.inputs), strict=True):
        source = made[template].resolve()
        if path.resolve() != source:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(source, target_is_directory=source.is_dir())


def _normalised(cells: Sequence[dict[str, Any]], data: Path, trial: Trial) -> dict[str, dict[str, NDArray[np.float64]]]:
    found = {}
    for context in trial.params.section("evaluation", trial.family).contexts:
        guide = "dual" if trial.method == OWN else "none"
        wanted = {"method": trial.method, "guide": guide, "context": context}
        (returns,) = [cell["returns"] for cell in cells if wanted.items() <= cell.items()]
        scores = {
            task: normalised_score(values, *read_anchors(data, trial.family, int(task)))
            for task, values in returns.items()
        }
        found[context] = {task: values for task, values in scores.items() if np.isfinite(values).all()}
        if not found[context]:
            raise InputError(f"{trial.family}: on no held-out task is the expert better than random; hold out others")
    return found
