"""What tables and figures are made of: the metrics of a preset, each part read when it is first asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import captions, scores
from metadiffuser.reporting.labels import OWN, Labels, read_labels
from metadiffuser.reporting.published import Published, read_published
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.sizes import Size, oracle, reference_cell, sizes
from metadiffuser.reporting.summary import Cells, Estimate

Curves = Mapping[tuple[str, str], Sequence[pd.DataFrame]]

LEARNT = 0.8  # share of its data's best quality that a method reaches on its training tasks if it has learnt


@dataclass
class Evidence:
    """The metrics of a preset, as tidy tables (see ``scores`` for their columns) and as resampled cells.

    Every property raises ``InputError`` if a file that it needs is missing or damaged; the message names the file.

    Attributes:
        planner: PLANNER_METRICS of all families, representations and seeds, in the order of the parameters.
        baselines: BASELINE_METRICS of all families, methods and seeds, in the order of the parameters.
        dataset: DATASET_METRICS of all families, in the order of the parameters.
        context: CONTEXT_METRICS of all families, representations and seeds.
        representation: MetaDiffuser's own representation.
        seed: the training seed that single-seed figures and videos show.
        bootstrap: draws the intervals.
        digits: decimals of scores in tables.
        calibration: CALIBRATION and BASELINE_CALIBRATION of all families, representations, methods and seeds.
        curves: {(stage, family): learning curves by step, one a shard or seed}.
        baseline_curves: {(method, family): learning curves by step, one a seed}.
    """

    planner: Sequence[Path]
    baselines: Sequence[Path]
    dataset: Sequence[Path]
    context: Sequence[Path]
    representation: str
    seed: int
    bootstrap: Bootstrap
    digits: int
    calibration: Sequence[Path] = ()
    curves: Curves = field(default_factory=dict)
    baseline_curves: Curves = field(default_factory=dict)

    def _own(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["representation"] == self.representation]

    @cached_property
    def labels(self) -> Labels:
        """Display names and colours."""
        return read_labels(self.dataset, self.baselines)

    @cached_property
    def representations(self) -> pd.DataFrame:
        """Episodes of the evaluation, of every representation."""
        return scores.read_scores([*self.planner, *self.baselines], self.dataset)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Episodes of the evaluation, of MetaDiffuser's own representation."""
        return self._own(self.representations)

    @cached_property
    def training(self) -> pd.DataFrame:
        """Episodes on training tasks."""
        return self._own(scores.read_training_tasks([*self.planner, *self.baselines], self.dataset))

    @cached_property
    def behaviour(self) -> pd.DataFrame:
        """Episodes of the dataset."""
        return scores.read_behaviour(self.dataset)

    @cached_property
    def transfer(self) -> pd.DataFrame:
        """Episodes of the behaviour experts, given their own task's parameters and others."""
        return scores.read_transfer(self.dataset)

    @cached_property
    def imported(self) -> dict[str, str]:
        """{family: how its episodes got their labels} for families with imported data."""
        return scores.read_imported(self.dataset)

    @cached_property
    def published(self) -> Published:
        """The reference file of published results."""
        return read_published()

    @cached_property
    def tasks(self) -> pd.DataFrame:
        """Tasks of every family with their split and parameters."""
        return scores.read_tasks(self.dataset)

    @cached_property
    def apart(self) -> list[str]:
        """The families without an unseen task: the parameters of each test task are those of a training task."""
        found = []
        for family, group in self.tasks.groupby("family", sort=False):
            known = set(group[group["split"] == "train"]["parameters"])
            if known.issuperset(group[group["split"] == "test"]["parameters"]):
                found.append(str(family))
        return found

    @cached_property
    def families(self) -> list[str]:
        """The families with unseen tasks, which averages are over, in the order of the parameters."""
        return [name for name in dict.fromkeys(self.scores["family"]) if name not in self.apart]

    @cached_property
    def shown(self) -> list[str]:
        """All families, in the order in which they are shown: those without an unseen task come last."""
        return [*self.families, *(name for name in dict.fromkeys(self.scores["family"]) if name in self.apart)]

    @cached_property
    def reference(self) -> tuple[str, str]:
        """MetaDiffuser's own guide and context."""
        return reference_cell(self.scores)

    @property
    def own(self) -> tuple[str, str, str]:
        """MetaDiffuser's own cell."""
        return (OWN, *self.reference)

    @cached_property
    def everything(self) -> pd.DataFrame:
        """Episodes of the evaluation and, as those of a method, of the behaviour expert on unseen tasks."""
        expert = oracle(self.behaviour)
        return pd.concat([self.scores, expert[expert["family"].isin(self.scores["family"].unique())]])

    @cached_property
    def cells(self) -> Cells:
        """The cells of the evaluation and the expert."""
        return Cells(self.everything, self.bootstrap, fixed=self.apart)

    @cached_property
    def training_cells(self) -> Cells:
        """The cells that were played on training tasks."""
        return Cells(self.training, self.bootstrap, fixed=self.apart, stream=("training",))

    @cached_property
    def sizes(self) -> list[Size]:
        """How many tasks, episodes and seeds each family's scores rest on."""
        return sizes(self.scores, self.apart)

    def frame(self, read: Any, files: Sequence[Path]) -> pd.DataFrame:
        """Return a tidy table of MetaDiffuser's own representation, such as ``frame(read_traces, self.planner)``."""
        return self._own(read(files))

    @cached_property
    def plan_errors(self) -> pd.DataFrame:
        """Planned against executed states."""
        return self._own(scores.read_plan_errors(self.planner))

    @cached_property
    def task_errors(self) -> pd.DataFrame:
        """Planned against executed states, task by task."""
        return self._own(scores.read_task_errors(self.planner))

    @cached_property
    def promises(self) -> pd.DataFrame:
        """Predicted and received returns of plans."""
        return self._own(scores.read_promises(self.planner))

    @cached_property
    def methods(self) -> list[str]:
        """The methods of the evaluation in the order in which they are shown."""
        present = set(self.scores["method"])
        return [name for name in self.labels.methods if name in present]

    @cached_property
    def not_learnt(self) -> set[tuple[str, str]]:
        """The (family, method) that reach less than ``LEARNT`` of their data's best quality on training tasks.

        Both are normalised scores on the same training tasks. The best quality is that of the qualities which the
        method's metrics name, and of all of the dataset's where they name none.
        """
        trained = scores.read_qualities([*self.planner, *self.baselines])
        found = set()
        for (family, method), group in self.training.groupby(["family", "method"], sort=False):
            named = trained[(trained["family"] == family) & (trained["method"] == method)]["quality"]
            data = self.behaviour
            data = data[(data["family"] == family) & data["task"].isin(group["task"].unique())]
            data = data[data["quality"].isin(named)] if len(named) else data
            if data["normalised"].isna().all():
                continue
            best = _mean(data, ["quality", "task"]).groupby("quality").mean().max()
            if _mean(group, ["task"]).mean() < LEARNT * best:
                found.add((str(family), str(method)))
        return found

    def protocol(self) -> str:
        """Return what captions say of scores, intervals and sample sizes."""
        return captions.join(
            "Undiscounted episode return on unseen tasks.",
            self.intervals(),
            captions.NORMALISED,
            f"{captions.sample_sizes(self.sizes, self.labels)}.",
            captions.anchors(self.imported, self.labels),
        )

    def intervals(self) -> str:
        """Return what captions say of intervals."""
        return captions.intervals(self.bootstrap.confidence, self.bootstrap.samples, self.apart, self.labels)

    def averages(self) -> str:
        """Return what captions say of averages over families."""
        return captions.averages(self.families, self.apart, self.labels)


def _mean(rows: pd.DataFrame, by: list[str]) -> pd.Series:
    return rows.dropna(subset=["normalised"]).groupby(by)["normalised"].mean()


def _own_average(evidence: Evidence, method: str, context: str) -> Estimate | None:
    """Return a method's mean few-shot score over families, without a guide if it is not MetaDiffuser."""
    cells = [evidence.own] if method == OWN else [(method, "none", context), (method, "none", "none")]
    found = [evidence.cells.average(evidence.families, cell) for cell in cells]
    return next((value for value in found if value is not None), None)


def notes(evidence: Evidence) -> dict[str, Any]:
    """Return what the report shows beside times and videos.

    Returns:
        ``parameters``: rows of family, method and parameters; ``scores``: {method: mean few-shot score over families}
        of the methods that all families have; ``uses_context``: methods that act on the shared context model's z;
        ``films``: return and normalised score (None without one) of the first episode of each unseen task, which is the
        one that is filmed, by family, task and guide; ``labels``: display names and colours.
    """
    sizes_of = scores.read_parameters([*evidence.planner, *evidence.baselines])
    counts = sizes_of[sizes_of["representation"] == evidence.representation]
    _, context = evidence.reference
    own = evidence.scores[(evidence.scores["method"] == OWN) & (evidence.scores["context"] == context)]
    films: dict[str, dict[str, dict[str, Any]]] = {}
    for row in own[(own["seed"] == evidence.seed) & (own["episode"] == 0)].to_dict("records"):
        score = None if pd.isna(row["normalised"]) else round(float(row["normalised"]), 3)
        shown = {"return": round(float(row["return"]), 3), "score": score}
        films.setdefault(row["family"], {}).setdefault(str(row["task"]), {})[row["guide"]] = shown
    averages = {name: _own_average(evidence, name, context) for name in evidence.methods}
    return {
        "parameters": counts[["family", "method", "parameters"]].to_dict("records"),
        "scores": {name: value.value for name, value in averages.items() if value is not None},
        "uses_context": sorted(scores.read_context_users([*evidence.planner, *evidence.baselines])),
        "films": films,
        "labels": evidence.labels.to_json(),
    }


__all__ = ["CELL", "Curves", "Evidence", "notes"]
