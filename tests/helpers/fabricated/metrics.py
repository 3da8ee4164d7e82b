"""Fabricated records of the metrics files."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tests.helpers.fabricated.values import (
    BASELINE_SHARES,
    EPISODES,
    NOT_LEARNT,
    QUALITIES,
    ROLLED,
    SHARES,
    STUDY,
    TRAINING_SHARE,
    TRANSFER,
    anchors,
    cell_returns,
    family_label,
    method_label,
    place,
    returns,
    tasks,
    unseen,
)


def dataset_metrics(family: str) -> dict[str, Any]:
    """Return DATASET_METRICS: an optimum above the expert on Point-Robot, medium half-way, mixed in between."""
    indices = [int(record["index"]) for record in tasks(family)]
    shares = {
        quality: value + 0.01 * place(family) * (quality in ("medium", "mixed")) for quality, value in QUALITIES.items()
    }
    return {
        "family": family,
        **family_label(family),
        "source": "generated",
        "least_gain": 0.3,
        "tasks_left_out": [],
        "tasks": tasks(family),
        "returns": {
            quality: {str(task): returns(family, value, task) for task in indices} for quality, value in shares.items()
        },
        "anchors": {str(task): dict(zip(("random", "expert"), anchors(family, task), strict=True)) for task in indices},
        "transfer": {
            given: {str(task): returns(family, value + 0.01 * (task % 5), task, 2) for task in indices}
            for given, value in TRANSFER.items()
            if (family, given) != ("cheetah_vel", "mean")
        },
        "optimum": {str(task): -2.0 - 0.01 * task for task in indices} if family == "point_robot" else {},
        "episodes": 4 * EPISODES * len(indices),
        "transitions": 80 * EPISODES * len(indices),
    }


def context_metrics(family: str, seed: int) -> dict[str, Any]:
    """Return CONTEXT_METRICS: z is the task's parameters, blurred as the context's quality falls."""
    generator = np.random.default_rng(seed)
    points = []
    for record in tasks(family):
        vector = [value for values in record["parameters"].values() for value in values]
        for quality, blur in (("expert", 0.03), ("medium", 0.08), ("random", 0.2)):
            base = np.array(vector if len(vector) == 2 else [vector[0], (vector[0] - 1.5) ** 2 / 3])
            xy = (base + blur * generator.standard_normal(2)).tolist()
            points.append(
                {
                    "task": record["index"],
                    "split": record["split"],
                    "quality": quality,
                    "parameters": vector,
                    "z": xy,
                    "xy": xy,
                }
            )
    shift = 0.01 * place(family) + 0.002 * seed
    return {
        "family": family,
        "representation": "generalised",
        "seed": seed,
        "probe": {"train_r2": 0.98 - shift, "test_r2": 0.95 - shift},
        "probe_identifiable": {"parameters": 2 + place(family), "train_r2": 0.99 - shift, "test_r2": 0.97 - shift},
        "probe_by_quality": {
            "expert": {"train_r2": 0.96 - shift, "test_r2": 0.94 - shift},
            "medium": {"train_r2": 0.93 - shift, "test_r2": 0.9 - shift},
            "random": {"train_r2": 0.8 - shift, "test_r2": 0.6 + 10 * shift},
        },
        "rollout_errors": {
            split: {
                str(steps): {"reward": 0.1 * steps * factor + shift, "state": 0.02 * steps * factor + 2 * shift}
                for steps in ROLLED
            }
            for split, factor in (("train", 0.5), ("test", 1.0))
        },
        "errors": {
            "train": {"reward": 0.05 + shift, "dynamics": 0.02 + 2 * shift},
            "test": {"reward": 0.13 + shift, "dynamics": 0.03 + 2 * shift},
        },
        "errors_by_latent": {
            split: {
                latent: {"reward": 0.1 * number + shift + extra, "dynamics": 0.2 * number + 2 * shift + extra}
                for number, latent in enumerate(("right", "wrong", "mean", "fitted"), start=1)
            }
            for split, extra in (("train", 0.0), ("test", 0.05))
        },
        "probe_parameters": {
            "names": ["near", "far"],
            "penalty": 10.0,
            "permutations": 1000,
            "r2": [0.9 - shift, 0.3 - 5 * shift],
            "null": [0.11 + shift, 0.14 + shift],
            "null_of_largest": 0.195 + 0.1 * seed,
        },
        "embeddings": points,
    }


def traces(family: str) -> list[dict[str, Any]]:
    """Return traces of an episode on each unseen task, guided and not, planned at steps 8 and 12 of 40."""
    found = []
    for task, (guide, bend) in itertools.product(unseen(family), (("dual", 0.02), ("none", 0.12))):
        time = np.linspace(0, 1, 41)
        across = 0.6 * np.sin((1.5 + 0.1 * task) * time)
        plane = (time, across, 0 * time) if family == "point_robot" else (12 * time, 0 * time, 0.7 + 0.2 * across)
        executed = np.stack(plane, axis=1)
        for step in (8, 12):
            planned = executed[step : step + 8] + bend * np.linspace(0, 1, 8)[:, None] * [0.5, 1.0, 0.3]
            found.append(
                {
                    "method": "metadiffuser",
                    "guide": guide,
                    "context": "expert",
                    "task": task,
                    "step": step,
                    "planned": planned.tolist(),
                    "executed": executed.tolist(),
                }
            )
    return found


def planner_metrics(family: str, seed: int) -> dict[str, Any]:
    """Return PLANNER_METRICS with the cells of ``SHARES``."""
    cells = []
    for number, ((method, guide, context), base) in enumerate(SHARES.items()):
        planned = method == "metadiffuser"
        errors = task_errors(family, number, seed)
        means = {ahead: float(np.mean(list(by_task.values()))) for ahead, by_task in errors.items()}
        promise = {"predicted": -10.0 - number - 20 * place(family) - 0.5 * seed, "received": -12.0 - 1.5 * number}
        promise["received"] -= 30 * place(family) + 0.25 * seed
        cells.append(
            {
                "method": method,
                "guide": guide,
                "context": context,
                "returns": cell_returns(family, base, seed, unseen(family)),
                "plan_error": means if planned else None,
                "plan_error_by_task": errors if planned else None,
                "predicted_return": promise if context != "none" else None,
            }
        )
    model = {"family": family, **family_label(family), "representation": "generalised", "seed": seed, "horizon": 16}
    model |= {"parameters": 4000 + place(family), "context_parameters": 500}
    study = [
        {"sampler": sampler, "steps": steps, "returns": cell_returns(family, base, seed, [0, 1], 2)}
        for (sampler, steps), base in STUDY.items()
    ]
    own = training_tasks(family, "metadiffuser", "dual", TRAINING_SHARE, seed)
    return {**model, "cells": cells, "training_tasks": own, "sampler_study": study, "traces": traces(family)}


def training_tasks(family: str, method: str, guide: str, base: float, seed: int) -> list[dict[str, Any]]:
    """Return the cell that is played on training tasks."""
    found = cell_returns(family, base, seed, [0, 1], 2)
    return [{"method": method, "guide": guide, "context": "expert", "returns": found}]


def task_errors(family: str, number: int, seed: int) -> dict[str, dict[str, float]]:
    """Return plan errors by steps ahead and task; they grow with all of them."""
    factor = (number + 1) * (1 + 0.1 * place(family)) * (1 + 0.05 * seed)
    return {
        str(ahead): {str(task): factor * (base + 0.001 * (order - 2)) for order, task in enumerate(unseen(family))}
        for ahead, base in ((1, 0.01), (5, 0.03), (15, 0.07))
    }


def baseline_metrics(family: str, method: str, seed: int, number: int = 0) -> dict[str, Any]:
    """Return BASELINE_METRICS with the cells of ``BASELINE_SHARES``, lower with the method's number."""
    title, colour = method_label(method)
    cells = [
        {
            "method": method,
            "guide": "none",
            "context": context,
            "returns": cell_returns(family, base - 0.017 * number, seed, unseen(family)),
            "plan_error": None,
        }
        for context, base in BASELINE_SHARES.items()
    ]
    model = {"family": family, "representation": "generalised", "seed": seed, "parameters": 1000 + number}
    model |= {**family_label(family), "method_title": title, "method_colour": colour, "qualities": ["expert"]}
    if method == "bc":
        model["context_parameters"] = 500
    base = 0.5 if (family, method) == NOT_LEARNT else 0.98 - 0.005 * number
    return {**model, "cells": cells, "training_tasks": training_tasks(family, method, "none", base, seed)}


def calibration(family: str, seed: int, method: str = "", number: int = 0) -> dict[str, Any]:
    """Return a calibration file: two settings of the planner, the second chosen; one of ``bc``, which has no key."""
    title, colour = method_label(method)
    named = {"method": method, "method_title": title, "method_colour": colour}
    score = 60.0 + 3 * place(family) - 0.7 * number + 2 * seed
    settings = [{"scale": 0.1}, {"scale": 3.0 + seed}] if method != "bc" else [{}]
    return {
        "family": family,
        **family_label(family),
        **(named if method else {"representation": "generalised"}),
        "seed": seed,
        "judged_by": "simulator",
        "tasks": [0, 1],
        "episodes": 2,
        "contexts": ["expert"],
        "settings": [
            {"values": values, "score": score + 10 * order, "scores": {"0": score + 10 * order - 1, "1": None}}
            for order, values in enumerate(settings)
        ],
        "chosen": settings[-1],
    }
