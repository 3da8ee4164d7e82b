"""What several captions say: scores, intervals, sample sizes, anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metadiffuser.reporting.labels import Labels
from metadiffuser.reporting.sizes import Size

NORMALISED = "Normalised score = 100 (R - R_random) / (R_expert - R_random), anchors measured on the same task."
ALL_FAMILIES = "All families"
NO_UNSEEN_TASK = "no unseen task"
ONE_RUN = "one training run: the interval leaves training out"
UNTRAINED = ("random",)  # methods that are not trained


def coverage(method: str, seeds: int) -> str:
    """Return what a row's interval covers, as the row itself says it."""
    if method in UNTRAINED:
        return "tasks and episodes; nothing is trained"
    return ONE_RUN if seeds == 1 else f"{seeds} training runs, tasks, episodes"


def intervals(confidence: float, samples: int, apart: Sequence[str], labels: Labels) -> str:
    """Return what an interval covers and how it is made."""
    text = (
        f"Brackets: {confidence:.0%} hierarchical bootstrap interval over training seeds, tasks and episodes ({samples}"
        " resamples; each draws seeds, then tasks, then episodes, with replacement). With one training seed it covers "
        "tasks and episodes only: how much a second training would differ is not in it."
    )
    if apart:
        names = ", ".join(map(labels.family, apart))
        text += f" The tasks of {names} are all there are and stay fixed."
    return text


def averages(families: Sequence[str], apart: Sequence[str], labels: Labels) -> str:
    """Return what an average over families is."""
    text = (
        f"{ALL_FAMILIES}: mean of the scores of {', '.join(map(labels.family, families))}, each counting the same; no "
        "value where a family is missing. Its interval keeps the families fixed."
    )
    if apart:
        names = ", ".join(map(labels.family, apart))
        text += f" {names} stands apart: each of its test tasks is a training task, so it has {NO_UNSEEN_TASK}."
    return text


def anchors(imported: Mapping[str, str], labels: Labels) -> str:
    """Return what captions say of the anchors of families with imported data; nothing if there are none.

    Args:
        imported: {family: how its episodes got their labels, ``given`` or ``ranked``}.
        labels: display names.
    """
    parts = []
    for family, how in imported.items():
        means = "its episodes labelled random and expert"
        if how == "ranked":
            means = "the worst and the best third of its episodes on the task, ranked by return"
        parts.append(f"{labels.family(family)}: imported data; R_random and R_expert are the means of {means}.")
    return " ".join(parts)


def sample_sizes(found: Sequence[Size], labels: Labels) -> str:
    """Return the sample sizes in words: tasks x episodes x seeds, families of one size together."""
    families: dict[str, list[str]] = {}
    for size in found:
        seeds = f"{size.seeds} training seed" + ("s" if size.seeds != 1 else "")
        kind = "unseen tasks" if size.unseen else "tasks, none of them unseen,"
        text = f"{size.tasks} {kind} × {size.episodes} episodes × {seeds}"
        if size.unscored:
            text += f" ({size.unscored} of the tasks without a normalised score: their expert is no better than random)"
        families.setdefault(text, []).append(labels.family(size.family))
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in families.items())


def join(*parts: str) -> str:
    """Return the sentences of a caption as one text, empty parts left out."""
    return " ".join(part.strip() for part in parts if part.strip())
