"""Parameters, tasks, anchors and returns of the fabricated results."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
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
