"""Outputs that no job has made, in dvc.lock as if one had, and damage to them."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml

from metadiffuser.artifacts import write_json, write_tensors
from metadiffuser.pipeline import dag, dvc_lock


def fill(job: dag.Job) -> None:
    """Write readable outputs of a job."""
    for name in job.outputs:
        path = Path(name)
        if path.suffix == ".safetensors":
            write_tensors(path, {"weight": torch.arange(100.0)}, {"of": name})
        elif path.suffix:
            write_json(path, {"of": name})
        else:
            write_json(path / "part" / "data.json", {"of": name})
            write_json(path / "index.json", [1, 2, 3])


def lock(jobs: list[dag.Job]) -> None:
    """Write dvc.lock for jobs as they are on disk."""
    stages = {
        job.name: {
            "deps": [{"path": path, "md5": dvc_lock.path_hash(Path(path))[0]} for path in job.inputs],
            "params": {"params.yaml": dict(job.params)},
            "outs": [{"path": path, "md5": dvc_lock.path_hash(Path(path))[0]} for path in job.outputs],
        }
        for job in jobs
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
