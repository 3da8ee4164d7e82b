"""Fabricated files, below the working directory where the DAG expects them, and stages that read them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from PIL import Image

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.config.params import Params
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.run import Run
from metadiffuser.tracking import write_curve
from tests.helpers.fabricated.metrics import (
    baseline_metrics,
    calibration,
    context_metrics,
    dataset_metrics,
    planner_metrics,
)
from tests.helpers.fabricated.values import ANCHORS, STUDY, unseen


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
    """Write the timing record of every job below the working directory: 10 s of wall time, 9 s of CPU time.

    The second one finished last.
    """
    for number, job in enumerate(dag.jobs(params, timed_only=True)):
        record = {
            "job": job.name,
            "finished": f"2026-01-02T03:04:0{5 if number == 1 else 4}+00:00",
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
