"""``tuning.csv``, the record of all trials, and its page for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metadiffuser.artifacts import write_text
from metadiffuser.errors import InputError
from metadiffuser.evaluation.statistics import Bootstrap, mean_over_tasks
from metadiffuser.seeding import numpy_generator
from metadiffuser.tuning.settings import Overrides, Trial
from metadiffuser.tuning.trial import Score

PRESET = "the preset's own"
COLUMNS = (
    "method",
    "family",
    "setting",
    "values",
    "score",
    "low",
    "high",
    "by_context",
    "tasks",
    "episodes",
    "training_seconds",
    "chosen",
)
Row = dict[str, str]


def text(values: Overrides) -> str:
    """Return values by dotted key as ``key=value; key=value``."""
    return "; ".join(f"{key}={value}" for key, value in values.items())


@dataclass(frozen=True)
class Judged:
    """A trial with its score."""

    trial: Trial
    score: Score

    @property
    def mean(self) -> float:
        """Normalised score: mean over contexts and tasks of the mean over episodes; NaN has no claim to be best."""
        return float(mean_over_tasks(self._strata()))

    def _strata(self) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
        return [scores for by_task in self.score.normalised.values() for scores in by_task.values()]

    def row(self, bootstrap: Bootstrap, root: int, chosen: bool) -> Row:
        """Return the trial's row of the record; the interval's strata are the held-out tasks by context."""
        strata = self._strata()
        generator = numpy_generator(root, "tune", self.trial.method, self.trial.family, text(self.trial.overrides))
        low, high = bootstrap.interval(mean_over_tasks, strata, generator=generator)
        means = {
            context: round(float(mean_over_tasks(list(by_task.values()))), 2)
            for context, by_task in self.score.normalised.items()
        }
        by_task = next(iter(self.score.normalised.values()))
        cells = (
            self.trial.method,
            self.trial.family,
            text(self.trial.overrides) or PRESET,
            text(self.trial.values),
            *(f"{value:.2f}" for value in (self.mean, low, high)),
            text(means),
            str(len(by_task)),
            str(len(next(iter(by_task.values())))),
            f"{self.score.seconds:.0f}",
            "yes" if chosen else "no",
        )
        return dict(zip(COLUMNS, cells, strict=True))


def judge(judged: Sequence[Judged], bootstrap: Bootstrap, root: int) -> list[Row]:
    """Return the rows of all trials of a method in a family; the best is chosen, of equals the first."""
    means = [-np.inf if np.isnan(entry.mean) else entry.mean for entry in judged]
    best = int(np.argmax(means))
    return [entry.row(bootstrap, root, index == best) for index, entry in enumerate(judged)]


def read_record(path: Path) -> list[Row]:
    """Return the rows of a record, none if there is no file. Raises ``InputError`` if it is another kind of file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
    if tuple(reader.fieldnames or ()) != COLUMNS or any(None in row or None in row.values() for row in rows):
        raise InputError(f"{path}: not a record of 'metadiffuser tune'; delete it and run that again")
    return rows


def merged(former: Sequence[Row], rows: Sequence[Row], methods: Sequence[str], families: Sequence[str]) -> list[Row]:
    """Return ``former`` with the rows of the same method and family replaced, in the order of both lists."""
    fresh = {(row["method"], row["family"]) for row in rows}
    kept = [row for row in former if (row["method"], row["family"]) not in fresh]

    def place(row: Row) -> tuple[int, int]:
        method, family = row["method"], row["family"]
        return (
            list(methods).index(method) if method in methods else len(methods),
            list(families).index(family) if family in families else len(families),
        )

    return sorted([*kept, *rows], key=place)


def write_record(path: Path, rows: Sequence[Row]) -> None:
    """Write the record as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())


def write_page(
    path: Path, rows: Sequence[Row], methods: Mapping[str, str], families: Mapping[str, str], confidence: float
) -> None:
    """Write the record in Markdown.

    Args:
        path: the page.
        rows: the record.
        methods: {method: its title}.
        families: {family: its title}.
        confidence: coverage of the intervals.
    """
    head = ("Method", "Family", "Setting", "Score", "By context", "Training (CPU s)", "Chosen")
    lines = [f"| {' | '.join(head)} |", "|:--|:--|:--|--:|:--|--:|:--|"]
    for row in rows:
        setting = PRESET if row["setting"] == PRESET else f"`{row['setting']}`"
        interval = "" if row["low"] == "nan" else f" [{row['low']}, {row['high']}]"
        names = methods.get(row["method"], row["method"]), families.get(row["family"], row["family"])
        cells = (*names, setting, row["score"] + interval, row["by_context"], row["training_seconds"], row["chosen"])
        lines.append(f"| {' | '.join(cells)} |")
    count = ", ".join(f"{methods.get(name, name)} {number}" for name, number in distinct(rows).items())
    text = (
        "# Settings tried\n\n"
        "Every setting was trained on the training tasks without the held-out ones and judged on those; unseen tasks "
        "had no part in it. Score: 100 (R - R_random) / (R_expert - R_random), mean over held-out tasks, episodes and "
        f"contexts; brackets: {confidence:.0%} bootstrap interval, stratified by task and context. Settings tried per "
        f"family: {count}. One training run each; the times are those of the machine it ran on. {PRESET.capitalize()} "
        "is what it was then: all values stand in `tuning.csv`. Made by `metadiffuser tune`.\n\n"
    )
    write_text(path, text + "\n".join(lines) + "\n")


def distinct(rows: Sequence[Row]) -> dict[str, str]:
    """Return {method: how many different settings were tried in a family}, ``3 to 4`` where families differ."""
    found: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        found.setdefault(row["method"], {}).setdefault(row["family"], set()).add(row["values"])
    counts = {method: sorted({len(values) for values in by.values()}) for method, by in found.items()}
    return {method: str(c[0]) if len(c) == 1 else f"{c[0]} to {c[-1]}" for method, c in counts.items()}
