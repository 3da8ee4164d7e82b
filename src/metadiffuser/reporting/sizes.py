"""What a preset's scores rest on: MetaDiffuser's own cell, the expert's episodes, tasks, episodes and seeds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Size:
    """How many tasks, episodes (per task and seed) and training seeds a family's scores rest on.

    ``unscored`` counts tasks without a normalised score: their expert is no better than random. ``unseen`` is false
    for a family whose test tasks are all training tasks.
    """

    family: str
    tasks: int
    episodes: int
    seeds: int
    unscored: int
    unseen: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable record."""
        return asdict(self)


def reference_cell(scores: pd.DataFrame) -> tuple[str, str]:
    """Return MetaDiffuser's own (guide, context): those that the most other cells vary around."""
    own = scores[scores["method"] == "metadiffuser"]
    guides = own.groupby("guide", sort=False)["context"].nunique()
    contexts = own.groupby("context", sort=False)["guide"].nunique()
    if own.empty:
        return "dual", "expert"
    return str(guides.idxmax()), str(contexts.idxmax())


def oracle(behaviour: pd.DataFrame) -> pd.DataFrame:
    """Return the expert's episodes on the unseen tasks in the columns of the score table."""
    rows = behaviour[(behaviour["quality"] == "expert") & (behaviour["split"] == "test")]
    named = rows.assign(method="expert", guide="none", context="none", seed=0)
    return named.drop(columns=["quality", "split"])


def sizes(scores: pd.DataFrame, apart: Collection[str] = ()) -> list[Size]:
    """Return the sample sizes of each family's reference cell; ``apart`` are the families without an unseen task."""
    guide, context = reference_cell(scores)
    rows = scores[(scores["method"] == "metadiffuser") & (scores["guide"] == guide) & (scores["context"] == context)]
    found = []
    for family, group in rows.groupby("family", sort=False):
        runs = group.groupby(["task", "seed"]).size()
        unscored = int(group.groupby("task")["normalised"].apply(lambda values: values.isna().all()).sum())
        tasks, seeds = group["task"].nunique(), group["seed"].nunique()
        found.append(Size(str(family), tasks, int(np.median(runs)), seeds, unscored, family not in apart))
    return found
