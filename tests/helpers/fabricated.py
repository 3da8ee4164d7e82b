"""Metrics, curves, videos and timings of a preset, made up with numbers that can be checked by hand.

On every task the random policy's return is that of ``ANCHORS`` and the expert's as well. A cell reaches
``SHARES`` of the way between the two, its episodes alternately one point of return above and below.
"""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from PIL import Image

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.config.loading import load
from metadiffuser.config.schema import Params
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.run import Run
from metadiffuser.tracking import write_curve
from tests.conftest import ROOT

BASELINE_SHARES = {"expert": 0.7, "medium": 0.65, "random": 0.55, "zero_shot": 0.4, "wrong_task": -0.1}
ANCHORS = {"point_robot": (-18.0, -3.0), "cheetah_vel": (-300.0, -50.0)}
SHARES = {
    ("metadiffuser", "dual", "expert"): 0.9,
    ("metadiffuser", "dual", "medium"): 0.8,
    ("metadiffuser", "dual", "random"): 0.6,
    ("metadiffuser", "dual", "zero_shot"): 0.5,
    ("metadiffuser", "dual", "wrong_task"): -0.2,
    ("metadiffuser", "none", "expert"): 0.85,
    ("metadiffuser", "return", "expert"): 0.88,
    ("metadiffuser", "dynamics", "expert"): 0.86,
    ("unconditional", "none", "none"): 0.3,
    ("random", "none", "none"): 0.0,
    ("metadiffuser", "dual", "oracle"): 0.95,
    ("unconditional", "return", "expert"): 0.35,
}
TRAINING_SHARE = 0.95  # of every method on training tasks
STUDY = {("ddpm", 10): 0.9, ("ddpm", 2): 0.5, ("ddim", 2): 0.7}  # shares of the sampler study
EPISODES = 4
ROLLED = (1, 4, 8, 16)
TRAIN, TEST = 12, 5
TITLE = "<script>alert('title')</script> & reproduced"


def parameters(seeds: tuple[int, ...] = (0,)) -> Params:
    """Return the smoke preset with the two families of ``ANCHORS``, a hostile title and ``seeds``."""
    params = load(ROOT / "presets" / "smoke.yaml")
    report = params.report.model_copy(update={"title": TITLE, "digits": 1, "bootstrap_samples": 200})
    update = {"families": list(ANCHORS), "seeds": list(seeds), "representations": ["generalised"], "report": report}
    return params.model_copy(update=update)


def tasks(family: str) -> list[dict[str, Any]]:
    """Return the task records of a family: goals on a spiral, or speeds evenly spaced."""
    records = []
    for index in range(TRAIN + TEST):
        angle, radius = 2.4 * index, 0.2 + 0.8 * index / (TRAIN + TEST)
        goal = {"goal": [radius * np.cos(angle), radius * np.sin(angle)]}
        named = goal if family == "point_robot" else {"speed": [0.1 + 2.9 * ((7 * index) % 17) / 17]}
        records.append({"index": index, "split": "train" if index < TRAIN else "test", "parameters": named})
    return records


def returns(family: str, share: float, count: int = EPISODES) -> list[float]:
    """Return episode returns: ``share`` of the way from random to expert, then +1, -1, +1, ..."""
    low, high = ANCHORS[family]
    return [low + share * (high - low) + (-1) ** episode for episode in range(count)]


def dataset_metrics(family: str) -> dict[str, Any]:
    """Return DATASET_METRICS: an optimum of -2.5 on Point-Robot, medium half-way, mixed in between."""
    names = [str(record["index"]) for record in tasks(family)]
    low, high = ANCHORS[family]
    shares = {"expert": 1.0, "medium": 0.5, "random": 0.0, "mixed": 0.4}
    return {
        "family": family,
        "source": "generated",
        "least_gain": 0.3,
        "tasks_left_out": [],
        "tasks": tasks(family),
        "returns": {quality: {name: returns(family, share) for name in names} for quality, share in shares.items()},
        "anchors": {name: {"random": low, "expert": high} for name in names},
        "optimum": dict.fromkeys(names, -2.5) if family == "point_robot" else {},
        "episodes": 4 * EPISODES * len(names),
        "transitions": 80 * EPISODES * len(names),
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
    return {
        "family": family,
        "representation": "generalised",
        "seed": seed,
        "probe": {"train_r2": 0.98, "test_r2": 0.95},
        "probe_identifiable": {"parameters": 2, "train_r2": 0.99, "test_r2": 0.97},
        "probe_by_quality": {
            "expert": {"train_r2": 0.98, "test_r2": 0.95},
            "medium": {"train_r2": 0.96, "test_r2": 0.9},
            "random": {"train_r2": 0.8, "test_r2": 0.6 + 0.1 * seed},
        },
        "rollout_errors": {
            split: {str(steps): {"reward": 0.1 * steps * factor, "state": 0.02 * steps * factor} for steps in ROLLED}
            for split, factor in (("train", 0.5), ("test", 1.0))
        },
        "errors": {"train": {"reward": 0.05, "dynamics": 0.02}, "test": {"reward": 0.13, "dynamics": 0.03}},
        "embeddings": points,
    }


def traces(family: str) -> list[dict[str, Any]]:
    """Return traces of an episode on each unseen task, guided and not, planned at steps 8 and 12 of 40."""
    found = []
    for task, (guide, bend) in itertools.product(range(TRAIN, TRAIN + TEST), (("dual", 0.02), ("none", 0.12))):
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
    names = [str(record["index"]) for record in tasks(family) if record["split"] == "test"]
    cells = []
    for number, ((method, guide, context), share) in enumerate(SHARES.items()):
        planned = method == "metadiffuser"
        cells.append(
            {
                "method": method,
                "guide": guide,
                "context": context,
                "returns": {name: returns(family, share) for name in names},
                "plan_error": {"1": 0.01 * (number + 1), "5": 0.25, "15": 0.5 + seed} if planned else None,
                "plan_error_by_task": task_errors(number, seed, names) if planned else None,
                "predicted_return": {"predicted": -10.0 - number, "received": -12.0} if context != "none" else None,
            }
        )
    model = {"family": family, "representation": "generalised", "seed": seed, "horizon": 16}
    model |= {"parameters": 4000, "context_parameters": 500}
    study = [
        {
            "sampler": sampler,
            "steps": steps,
            "returns": {str(task): returns(family, share, 2) for task in range(2)},
        }
        for (sampler, steps), share in STUDY.items()
    ]
    own = training_tasks(family, "metadiffuser", "dual")
    return {**model, "cells": cells, "training_tasks": own, "sampler_study": study, "traces": traces(family)}


def training_tasks(family: str, method: str, guide: str) -> list[dict[str, Any]]:
    """Return the cell that is played on training tasks."""
    found = {str(task): returns(family, TRAINING_SHARE, 2) for task in range(2)}
    return [{"method": method, "guide": guide, "context": "expert", "returns": found}]


def task_errors(number: int, seed: int, names: list[str]) -> dict[str, dict[str, float]]:
    """Return plan errors by task: one step ahead they differ from task to task, the more so in later cells."""
    near = {name: (number + 1) * (0.01 + 0.001 * (place - 2)) for place, name in enumerate(names)}
    return {"1": near, "5": dict.fromkeys(names, 0.25), "15": dict.fromkeys(names, 0.5 + seed)}


def baseline_metrics(family: str, method: str, seed: int) -> dict[str, Any]:
    """Return BASELINE_METRICS with the cells of ``BASELINE_SHARES``."""
    names = [str(record["index"]) for record in tasks(family) if record["split"] == "test"]
    cells = [
        {
            "method": method,
            "guide": "none",
            "context": context,
            "returns": {name: returns(family, share) for name in names},
            "plan_error": None,
        }
        for context, share in BASELINE_SHARES.items()
    ]
    model = {"family": family, "representation": "generalised", "seed": seed, "parameters": 1000}
    return {**model, "cells": cells, "training_tasks": training_tasks(family, method, "none")}


def curve(last: float, first: float, *names: str) -> list[dict[str, float]]:
    """Return records that run from ``first`` to ``last``, exponentially levelling off."""
    steps = np.arange(0, 3000, 100)
    values = last + (first - last) * np.exp(-steps / 700)
    return [
        {"step": float(step), **{name: float(value) * (1 + 0.3 * number) for number, name in enumerate(names)}}
        for step, value in zip(steps, values, strict=True)
    ]


def write_video(path: Path, size: int = 64) -> None:
    """Write an H.264 film of two seconds whose frames go from black to white."""
    writer = imageio_ffmpeg.write_frames(str(path), (size, size), fps=10, codec="libx264", quality=6)
    writer.send(None)
    for shade in np.linspace(0, 255, 20).astype(np.uint8):
        writer.send(np.full((size, size, 3), shade, np.uint8).tobytes())
    writer.close()


def _models(params: Params, family: str) -> list[dict[str, Any]]:
    named = {"preset": params.preset, "family": family, "representation": "generalised"}
    return [{**named, "seed": seed} for seed in params.seeds]


def write_metrics(params: Params) -> None:
    """Write all metrics below the working directory, where the DAG expects them."""
    for family in params.families:
        path = paths.DATASET_METRICS.format(preset=params.preset, family=family)
        write_json(Path(path), dataset_metrics(family))
        for model in _models(params, family):
            write_json(Path(paths.CONTEXT_METRICS.format(**model)), context_metrics(family, model["seed"]))
            write_json(Path(paths.PLANNER_METRICS.format(**model)), planner_metrics(family, model["seed"]))
            for method in params.baselines:
                path = paths.BASELINE_METRICS.format(**model, method=method)
                write_json(Path(path), baseline_metrics(family, method, model["seed"]))


def write_curves(params: Params) -> None:
    """Write all learning curves below the working directory."""
    for family in params.families:
        low, high = ANCHORS[family]
        for shard in params.shards:
            folder = paths.BEHAVIOUR_CURVE.format(preset=params.preset, family=family, shard=shard)
            write_curve(Path(folder), curve(high, low, "return", "return_min"))
        for model in _models(params, family):
            names = ("loss", "reward_loss", "dynamics_loss", "validation")
            write_curve(Path(paths.CONTEXT_CURVE.format(**model)), curve(0.02, 1.0, *names))
            write_curve(Path(paths.DIFFUSION_CURVE.format(**model)), curve(0.05, 0.9, "loss", "validation"))
            for method in params.baselines:
                parts = ("encoder_", "policy_") if method in ("focal", "corro") else ("",)
                columns = tuple(f"{part}{name}" for part in parts for name in ("loss", "validation"))
                write_curve(Path(paths.BASELINE_CURVE.format(**model, method=method)), curve(0.1, 2.0, *columns))


def write_videos(params: Params) -> None:
    """Write a film and a film strip of each family below the working directory."""
    for family in params.families:
        folder = Path(paths.VIDEOS.format(preset=params.preset, family=family))
        folder.mkdir(parents=True)
        write_video(folder / f"task{TRAIN}-dual.mp4")
        Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (64, 2))).save(folder / "strip.png")


def write_timings(params: Params) -> None:
    """Write the timing record of every job below the working directory: 10 s of wall time, 9 s of CPU time."""
    for job in dag.jobs(params, timed_only=True):
        record = {
            "job": job.name,
            "finished": "2026-01-02T03:04:05+00:00",
            "wall_seconds": 10.0,
            "cpu_seconds": 9.0,
            "peak_memory_mb": 300,
            "threads": 1,
            "device": "cpu",
            "cores": 2,
            "machine": "Linux x86_64",
        }
        if job.stage.name == "evaluate":
            record["seconds_per_decision"] = 0.012
            times = {f"milliseconds_per_decision_{name}_{steps}": 0.5 * steps for name, steps in STUDY}
            record |= times | {"milliseconds_per_decision": 12.5}
        if job.stage.name == "evaluate_baseline":
            record["milliseconds_per_decision"] = 0.25
        write_json(Path(dag.timing_path(job.name, params.preset)), record)


def run_stage(name: str, params: Params) -> None:
    """Run a stage that is one job a preset, in the working directory."""
    job = dag.make_job(dag.STAGES[name], {}, params)
    importlib.import_module(f"metadiffuser.stages.{name}").run(Run(job, Path(".work"), "cpu", {}, params))
