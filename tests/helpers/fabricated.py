"""Metrics, curves, videos and timings of a preset, made up with numbers that can be checked by hand.

No two numbers that a mix-up could exchange are equal: every family, method, guide, context, seed, task, split, quality
and number of steps has values of its own. On a task the random policy's and the expert's return are those of
``anchors``; a cell reaches ``share`` of the way between the two, its episodes alternately above and below.
"""

from __future__ import annotations

import importlib
import itertools
import zlib
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from PIL import Image

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.run import Run
from metadiffuser.tracking import write_curve
from tests.conftest import ROOT

ANCHORS = {"point_robot": (-18.0, -3.0), "cheetah_vel": (-300.0, -50.0), "cheetah_dir": (-20.0, 1300.0)}
LABELS = {  # display name and colour that the metrics carry; no other file says them
    "point_robot": ("Robot of points", "#111111"),
    "cheetah_vel": ("Cheetah at speeds", "#222222"),
    "cheetah_dir": ("Cheetah both ways", "#333333"),
}
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
    ("one_call", "none", "expert"): 0.77,
    ("with_value", "dual", "expert"): 0.93,
    ("with_value", "dual", "zero_shot"): 0.52,
}
BASELINE_SHARES = {"expert": 0.7, "medium": 0.65, "random": 0.55, "zero_shot": 0.4, "wrong_task": -0.1}
TRAINING_SHARE = 0.97  # of MetaDiffuser on training tasks
STUDY = {("ddpm", 10): 0.9, ("ddpm", 2): 0.5, ("ddim", 2): 0.7}  # shares of the sampler study
QUALITIES = {"expert": 1.0, "medium": 0.5, "random": 0.0, "mixed": 0.4}
TRANSFER = {"own": 0.99, "wrong": 0.45, "mean": 0.7}  # shares of experts by the parameters that they are given
EPISODES = 4
ROLLED = (1, 4, 8, 16)
TRAIN, TEST = 12, 6
NO_UNSEEN = "cheetah_dir"  # the family whose two test tasks are its two training tasks
NOT_LEARNT = ("cheetah_vel", "macaw")  # reaches half of the way on its training tasks
TITLE = "<script>alert('title')</script> & reproduced"


def method_label(name: str) -> tuple[str, str]:
    """Return the display name and colour that a baseline's metrics carry."""
    return f"The {name.upper()} method".replace("_", " "), f"#{zlib.crc32(name.encode()) & 0xFFFFFF:06x}"


def place(family: str) -> int:
    """Return a family's number, which its values are shifted by."""
    return list(ANCHORS).index(family)


def anchors(family: str, task: int) -> tuple[float, float]:
    """Return the random policy's and the expert's mean return on a task."""
    low, high = ANCHORS[family]
    span = high - low
    return low - 0.04 * span * (task % 3), high + 0.03 * span * (task % 4)


def share(base: float, family: str, seed: int, task: int) -> float:
    """Return how far a cell gets from random to expert, of a base that is the cell's own."""
    noise = 0.05 * np.sin(100 * base + 3 * task + 5 * seed)  # the cell's own, so that differences of cells vary
    return float(base - 0.03 * place(family) + 0.012 * seed - 0.004 * (3 * task % 7) + noise)


def parameters(seeds: tuple[int, ...] = (0,)) -> Params:
    """Return the smoke preset with the families of ``ANCHORS``, a hostile title and ``seeds``."""
    params = load(ROOT / "presets" / "smoke.yaml")
    report = params.report.model_copy(update={"title": TITLE, "digits": 1, "bootstrap_samples": 200})
    update = {"families": list(ANCHORS), "seeds": list(seeds), "representations": ["generalised"], "report": report}
    update["overrides"] = dict.fromkeys(ANCHORS, params.overrides.get("point_robot", {}))
    return params.model_copy(update=update)


def tasks(family: str) -> list[dict[str, Any]]:
    """Return the task records of a family: goals on a spiral, speeds evenly spaced, or two directions, twice."""
    if family == NO_UNSEEN:
        return [
            {
                "index": index,
                "split": "train" if index < 2 else "test",
                "parameters": {"direction": [1.0 - 2 * (index % 2)]},
            }
            for index in range(4)
        ]
    records = []
    for index in range(TRAIN + TEST):
        angle, radius = 2.4 * index, 0.2 + 0.8 * index / (TRAIN + TEST)
        goal = {"goal": [radius * np.cos(angle), radius * np.sin(angle)]}
        named = goal if family == "point_robot" else {"speed": [0.1 + 2.9 * ((7 * index) % 19) / 19]}
        records.append({"index": index, "split": "train" if index < TRAIN else "test", "parameters": named})
    return records


def unseen(family: str) -> list[int]:
    """Return the indices of the test tasks."""
    return [record["index"] for record in tasks(family) if record["split"] == "test"]


def returns(family: str, reached: float, task: int, count: int = EPISODES) -> list[float]:
    """Return episode returns: ``reached`` of the way from random to expert, then above, below, above, ..."""
    low, high = anchors(family, task)
    step = 0.06 * (high - low) * (1 + 0.1 * (task % 3))
    return [low + reached * (high - low) + (-1) ** episode * step * (1 + episode // 2) for episode in range(count)]


def cell_returns(
    family: str, base: float, seed: int, indices: list[int], count: int = EPISODES
) -> dict[str, list[float]]:
    """Return {task: episode returns} of a cell."""
    return {str(task): returns(family, share(base, family, seed, task), task, count) for task in indices}


def family_label(family: str) -> dict[str, str]:
    """Return the fields of the metrics that say how a family appears."""
    return {"family_title": LABELS[family][0], "family_colour": LABELS[family][1]}


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
            write_json(Path(paths.CALIBRATION.format(**model)), calibration(family, model["seed"]))
            for number, method in enumerate(params.baselines):
                path = paths.BASELINE_METRICS.format(**model, method=method)
                write_json(Path(path), baseline_metrics(family, method, model["seed"], number))
                path = paths.BASELINE_CALIBRATION.format(**model, method=method)
                write_json(Path(path), calibration(family, model["seed"], method, number + 1))


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
        write_video(folder / f"task{unseen(family)[0]}-dual.mp4")
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
