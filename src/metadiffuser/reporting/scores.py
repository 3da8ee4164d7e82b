"""The metrics of planner, baselines and data as tidy tables; ``encoders`` reads those of the context encoders.

| table | one row per | columns |
|---|---|---|
| ``read_scores`` | episode of a cell | family, representation, *cell*, seed, task, episode, return, normalised |
| ``read_behaviour`` | episode of the dataset | family, quality, split, task, episode, return, normalised |
| ``read_transfer`` | episode of an expert given other parameters | those of ``read_behaviour``, ``given`` for quality |
| ``read_optimum`` | task whose exact optimum is known | family, split, task, optimum |
| ``read_plan_errors`` | cell and steps ahead | family, representation, seed, *cell*, ahead, error |
| ``read_task_errors`` | cell, steps ahead and task | family, representation, seed, *cell*, ahead, task, error |
| ``read_promises`` | cell with predicted returns | family, representation, seed, *cell*, horizon, predicted, received |
| ``read_training_tasks`` | episode on a training task | those of ``read_scores`` |
| ``read_sampler_study`` | episode of the sampler study | those of ``read_scores`` with sampler and steps for *cell* |
| ``read_parameters`` | method, and context model | family, representation, seed, method, parameters |
| ``read_tasks`` | task | family, task, split, parameters |
| ``read_qualities`` | method, family and quality of its data | family, method, quality |
| ``read_traces`` | plan traced | family, representation, seed, *cell*, task, step, planned, executed |

A *cell* of the evaluation is a method, its guide and where its context came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metadiffuser.artifacts import read_json
from metadiffuser.errors import InputError
from metadiffuser.evaluation.statistics import normalised_score

SCORES = (
    "family",
    "representation",
    "method",
    "guide",
    "context",
    "seed",
    "task",
    "episode",
    "return",
    "normalised",
)
BEHAVIOUR = ("family", "quality", "split", "task", "episode", "return", "normalised")
CELL = ("method", "guide", "context")
SETTING = ("sampler", "steps")
MODEL = ("family", "representation", "seed")


@contextmanager
def metrics_record(path: Path) -> Iterator[Any]:
    """Yield a metrics file's content; whatever does not fit its format becomes one ``InputError``."""
    content = read_json(path)
    try:
        yield content
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: not the metrics expected ({reason}); run the stage that writes it again") from None


def _returns(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the episode returns of a task (R,). Raises ``ValueError`` if there is none or one is not finite."""
    returns = np.asarray(values, float)
    if returns.ndim != 1 or returns.size == 0 or not np.isfinite(returns).all():
        raise ValueError(f"expected a list of finite returns, got {str(values)[:60]}")
    return returns


def _episodes(by_task: Mapping[str, Sequence[float]], anchors: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for task in sorted(by_task, key=int):
        returns = _returns(by_task[task])
        normalised = normalised_score(returns, anchors[task]["random"], anchors[task]["expert"])
        for episode, (value, score) in enumerate(zip(returns, normalised, strict=True)):
            yield {"task": int(task), "episode": episode, "return": float(value), "normalised": float(score)}


def _read_returns(
    planner: Sequence[Path], dataset: Sequence[Path], part: str, keys: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the episodes of a part of PLANNER_METRICS or BASELINE_METRICS, entries distinguished by ``keys``."""
    anchors = {}
    for path in dataset:
        with metrics_record(path) as content:
            anchors[content["family"]] = content["anchors"]
    rows: list[dict[str, Any]] = []
    for path in planner:
        with metrics_record(path) as content:
            model = {name: content[name] for name in MODEL}
            if content["family"] not in anchors:
                raise ValueError(f"family {content['family']} has no dataset metrics")
            for entry in content[part]:
                named = model | {name: entry[name] for name in keys}
                rows += [named | episode for episode in _episodes(entry["returns"], anchors[content["family"]])]
    return rows


def read_scores(planner: Sequence[Path], dataset: Sequence[Path]) -> pd.DataFrame:
    """Read PLANNER_METRICS, normalised by the anchors of DATASET_METRICS. Raises ``InputError``."""
    return pd.DataFrame(_read_returns(planner, dataset, "cells", CELL), columns=list(SCORES))


def read_training_tasks(metrics: Sequence[Path], dataset: Sequence[Path]) -> pd.DataFrame:
    """Read what methods earned on training tasks, normalised, from the same files. Raises ``InputError``."""
    return pd.DataFrame(_read_returns(metrics, dataset, "training_tasks", CELL), columns=list(SCORES))


def read_sampler_study(planner: Sequence[Path], dataset: Sequence[Path]) -> pd.DataFrame:
    """Read the study of samplers on training tasks from PLANNER_METRICS, normalised. Raises ``InputError``."""
    columns = [*MODEL, *SETTING, "task", "episode", "return", "normalised"]
    return pd.DataFrame(_read_returns(planner, dataset, "sampler_study", SETTING), columns=columns)


def read_behaviour(dataset: Sequence[Path]) -> pd.DataFrame:
    """Read the returns of the behaviour policies from DATASET_METRICS. Raises ``InputError``."""
    rows: list[dict[str, Any]] = []
    for path in dataset:
        with metrics_record(path) as content:
            split = {int(task["index"]): task["split"] for task in content["tasks"]}
            for quality, by_task in content["returns"].items():
                for episode in _episodes(by_task, content["anchors"]):
                    named = {"family": content["family"], "quality": quality, "split": split[episode["task"]]}
                    rows.append(named | episode)
    return pd.DataFrame(rows, columns=list(BEHAVIOUR))


def read_transfer(dataset: Sequence[Path]) -> pd.DataFrame:
    """Read what experts earn given other tasks' parameters from DATASET_METRICS that have it. Raises ``InputError``."""
    rows: list[dict[str, Any]] = []
    for path in dataset:
        with metrics_record(path) as content:
            split = {int(task["index"]): task["split"] for task in content["tasks"]}
            for given, by_task in content.get("transfer", {}).items():
                named = {"family": content["family"], "given": given}
                episodes = _episodes(by_task, content["anchors"])
                rows += [{**named, "split": split[episode["task"]], **episode} for episode in episodes]
    columns = ["family", "given", "split", "task", "episode", "return", "normalised"]
    return pd.DataFrame(rows, columns=columns)


def read_tasks(dataset: Sequence[Path]) -> pd.DataFrame:
    """Read the tasks of every family, in the order of their split, from DATASET_METRICS. Raises ``InputError``."""
    rows = []
    for path in dataset:
        with metrics_record(path) as content:
            for task in content["tasks"]:
                values = tuple((name, tuple(map(float, part))) for name, part in sorted(task["parameters"].items()))
                rows.append((content["family"], int(task["index"]), str(task["split"]), values))
    return pd.DataFrame(rows, columns=["family", "task", "split", "parameters"])


def read_qualities(metrics: Sequence[Path]) -> pd.DataFrame:
    """Read which qualities of data a method was trained on, where its metrics say so. Raises ``InputError``."""
    rows = []
    for path in metrics:
        with metrics_record(path) as content:
            named = (content["family"], str(content["training_tasks"][0]["method"]))
            rows += [(*named, str(quality)) for quality in content.get("qualities", ())]
    return pd.DataFrame(rows, columns=["family", "method", "quality"]).drop_duplicates(ignore_index=True)


def read_imported(dataset: Sequence[Path]) -> dict[str, str]:
    """Return how the episodes of imported families got their labels, ``given`` or ``ranked``. Raises ``InputError``."""
    found = {}
    for path in dataset:
        with metrics_record(path) as content:
            if content["source"] == "imported":
                found[content["family"]] = str(content["labels"])
    return found


def read_optimum(dataset: Sequence[Path]) -> pd.DataFrame:
    """Read the exact optima from DATASET_METRICS, for families that have them. Raises ``InputError``."""
    rows = []
    for path in dataset:
        with metrics_record(path) as content:
            split = {int(task["index"]): task["split"] for task in content["tasks"]}
            family, optimum = content["family"], content["optimum"]
            rows += [(family, split[int(task)], int(task), float(optimum[task])) for task in sorted(optimum, key=int)]
    return pd.DataFrame(rows, columns=["family", "split", "task", "optimum"])


def read_plan_errors(planner: Sequence[Path]) -> pd.DataFrame:
    """Read the errors of planned against executed states from PLANNER_METRICS. Raises ``InputError``."""
    rows = []
    for path in planner:
        with metrics_record(path) as content:
            for cell in content["cells"]:
                named = [content[name] for name in MODEL] + [cell[name] for name in CELL]
                for ahead, error in (cell["plan_error"] or {}).items():
                    rows.append((*named, int(ahead), float(error)))
    return pd.DataFrame(rows, columns=[*MODEL, *CELL, "ahead", "error"])


def read_task_errors(planner: Sequence[Path]) -> pd.DataFrame:
    """Read the errors of planned against executed states task by task from PLANNER_METRICS. Raises ``InputError``."""
    rows = []
    for path in planner:
        with metrics_record(path) as content:
            for cell in content["cells"]:
                named = [content[name] for name in MODEL] + [cell[name] for name in CELL]
                for ahead, by_task in (cell["plan_error_by_task"] or {}).items():
                    rows += [(*named, int(ahead), int(task), float(by_task[task])) for task in sorted(by_task, key=int)]
    return pd.DataFrame(rows, columns=[*MODEL, *CELL, "ahead", "task", "error"])


def read_promises(planner: Sequence[Path]) -> pd.DataFrame:
    """Read predicted and received returns of a plan's steps from PLANNER_METRICS. Raises ``InputError``."""
    rows = []
    for path in planner:
        with metrics_record(path) as content:
            for cell in content["cells"]:
                promise = cell["predicted_return"]
                if promise is not None:
                    named = [content[name] for name in MODEL] + [cell[name] for name in CELL]
                    values = (float(promise[name]) for name in ("predicted", "received"))
                    rows.append((*named, int(content["horizon"]), *values))
    return pd.DataFrame(rows, columns=[*MODEL, *CELL, "horizon", "predicted", "received"])


def read_parameters(metrics: Sequence[Path]) -> pd.DataFrame:
    """Read the number of parameters from PLANNER_METRICS and BASELINE_METRICS; the context model is a method here.

    Raises ``InputError``.
    """
    rows = []
    for path in metrics:
        with metrics_record(path) as content:
            named = [content[name] for name in MODEL]
            rows.append((*named, str(content["training_tasks"][0]["method"]), int(content["parameters"])))
            if "context_parameters" in content:
                rows.append((*named, "context", int(content["context_parameters"])))
    return pd.DataFrame(rows, columns=[*MODEL, "method", "parameters"])


def read_context_users(metrics: Sequence[Path]) -> set[str]:
    """Read which methods act on the shared context model's z: their metrics count its parameters.

    Raises ``InputError``.
    """
    found = set()
    for path in metrics:
        with metrics_record(path) as content:
            if "context_parameters" in content:
                found.add(str(content["training_tasks"][0]["method"]))
    return found


def read_traces(planner: Sequence[Path]) -> pd.DataFrame:
    """Read the plans traced against execution from PLANNER_METRICS. Raises ``InputError``.

    ``planned`` is (H, 3) and ``executed`` (T + 1, 3), in world coordinates.
    """
    rows = []
    for path in planner:
        with metrics_record(path) as content:
            for trace in content["traces"]:
                planned, executed = (np.asarray(trace[name], float) for name in ("planned", "executed"))
                if planned.ndim != 2 or executed.ndim != 2 or planned.shape[1] != 3 or executed.shape[1] != 3:
                    raise ValueError(f"expected traces of points (x, y, z), got {planned.shape} and {executed.shape}")
                named = [content[name] for name in MODEL] + [trace[name] for name in CELL]
                rows.append((*named, int(trace["task"]), int(trace["step"]), planned, executed))
    return pd.DataFrame(rows, columns=[*MODEL, *CELL, "task", "step", "planned", "executed"])
