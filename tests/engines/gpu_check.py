"""The smoke preset on a GPU beside the CPU (``make gpu-check``). Exit code 2 where there is no CUDA device.

Three scratch copies of the project:

1. ``cpu`` and ``cuda`` run the whole DAG with that device. Behaviour training draws its noise on the device, so data
   and returns differ; compared is what the files hold (the same keys, finite numbers) and which device each job says
   it had.
2. ``same data`` is the first copy with ``device: cuda``, in which the denoiser is trained and evaluated again: both
   devices get the same data, weights and random numbers. Their learning curves and returns are held to the tolerances
   below.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from metadiffuser import paths
from metadiffuser.config.loading import load
from metadiffuser.pipeline import dag
from metadiffuser.tracking import read_curve
from tests.conftest import Project, copy_project, put_in_force

DEVICES = ("cpu", "cuda")
REPEATED = ("train_diffusion", "evaluate")  # on the same data
USES_DEVICE = ("train_behaviour", "collect_dataset", *REPEATED)
CURVE = 1e-2  # relative, of the losses of the smoke preset's 40 gradient steps
# Of mean returns, as a share of their size and in units of reward: in 200 steps of physics a last digit grows.
RETURN, REWARD = {"point_robot": 0.01, "cheetah_vel": 0.1}, 0.1


def numbers(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of a JSON value with its place."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from numbers(part, f"{place}.{key}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from numbers(part, f"{place}[{index}]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place, float(value)


def keys(value: Any) -> Any:
    """Return a JSON value's keys, without its numbers and the length of its lists."""
    if isinstance(value, dict):
        return {key: keys(part) for key, part in value.items()}
    return [keys(value[0])] if isinstance(value, list) and value else type(value).__name__


def whole_files(here: Project, there: Project, preset: str) -> Iterator[str]:
    """Yield what is wrong with the metrics and timing records of two whole runs."""
    folder = Path("results") / preset / "metrics"
    names = {path.relative_to(here.root) for path in (here.root / folder).rglob("*.json")}
    if {path.relative_to(there.root) for path in (there.root / folder).rglob("*.json")} != names:
        yield f"{folder}: the two runs have not the same files"
        return
    for name in sorted(names):
        ours, theirs = (json.loads((project.root / name).read_text()) for project in (here, there))
        if "planner" in name.parts and keys(ours) != keys(theirs):
            yield f"{name}: other keys with cuda"
        yield from (f"{name}: {place} is {found}" for place, found in numbers(theirs) if not math.isfinite(found))


def devices(project: Project, wanted: str) -> Iterator[str]:
    """Yield the jobs whose timing record names another device than ``wanted``, or than the CPU where none is used."""
    for job in dag.jobs(load(project.root / "params.yaml"), timed_only=True):
        path = project.root / dag.timing_path(job.name, job.wildcards["preset"])
        expected = wanted if job.stage.name in USES_DEVICE else "cpu"
        found = json.loads(path.read_text())["device"]
        if found != expected:
            yield f"{job.name}: ran on {found}, expected {expected}"


def same_data(here: Project, there: Project, preset: str) -> Iterator[str]:
    """Yield what differs between the denoiser's training and evaluation on the same data by more than is tolerated."""
    params = load(here.root / "params.yaml")
    for family in params.families:
        place = {"preset": preset, "family": family, "representation": params.representations[0], "seed": "0"}
        ours, theirs = (read_curve(project.root / paths.DIFFUSION_CURVE.format(**place)) for project in (here, there))
        off = float(((theirs - ours).abs() / ours.abs()).to_numpy().max())
        print(f"{family}: learning curves differ by up to {off:.2g}, relative (tolerated: {CURVE:g})")
        if not off <= CURVE:
            yield f"{family}: learning curves differ by {off:.3g}"
        cells = [
            json.loads((project.root / paths.PLANNER_METRICS.format(**place)).read_text())["cells"]
            for project in (here, there)
        ]
        for own, other in zip(*cells, strict=True):
            means = [sum(value for _, value in found) / len(found) for found in map(_returns, (own, other))]
            allowed = REWARD + RETURN[family] * abs(means[0])
            if not abs(means[1] - means[0]) <= allowed:
                named = ", ".join(own[name] for name in ("method", "guide", "context"))
                yield f"{family}, {named}: {means[1]:.4g} on cuda, {means[0]:.4g} on the CPU, tolerated {allowed:.2g}"


def _returns(cell: dict[str, Any]) -> list[tuple[str, float]]:
    return list(numbers(cell["returns"]))


def with_device(project: Project, device: str) -> None:
    """Write the device into a copy's parameters."""
    path = project.root / "params.yaml"
    text, count = re.subn(r"^device: .*$", f"device: {device}", path.read_text(), flags=re.MULTILINE)
    assert count == 1
    path.write_text(text)


def again(project: Project) -> None:
    """Train and evaluate the denoiser of every family again."""
    for job in dag.jobs(load(project.root / "params.yaml")):
        if job.stage.name in REPEATED:
            project.run(*job.command.split())


def main() -> int:
    """Run all three, print what differs; return 1 if something does."""
    if not torch.cuda.is_available():
        print(
            "gpu-check: torch finds no CUDA device here; run it where there is one, with a CUDA build of torch",
            file=sys.stderr,
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        runs = {}
        for device in DEVICES:
            runs[device] = copy_project(Path(folder) / device)
            put_in_force(runs[device].root)
            with_device(runs[device], device)
            print(f"the smoke preset with device {device}", flush=True)
            runs[device].run("snakemake", "--cores", "all", "all")
        preset = load(runs["cpu"].root / "params.yaml").preset
        wrong = [*devices(runs["cpu"], "cpu"), *devices(runs["cuda"], "cuda")]
        wrong += whole_files(runs["cpu"], runs["cuda"], preset)
        shutil.copytree(runs["cpu"].root, Path(folder) / "same", symlinks=True)
        same = Project(Path(folder) / "same")
        with_device(same, "cuda")
        print("the denoiser again, with device cuda on the CPU's data", flush=True)
        again(same)
        wrong += same_data(runs["cpu"], same, preset)
    for sentence in wrong:
        print(sentence)
    print("gpu-check: " + (f"{len(wrong)} differences" if wrong else "CUDA and CPU agree within the tolerances"))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
