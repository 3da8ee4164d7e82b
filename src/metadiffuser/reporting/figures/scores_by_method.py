"""All methods side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metadiffuser.reporting import style
from metadiffuser.reporting.captions import ALL_FAMILIES, join
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.figures.bars import spread
from metadiffuser.reporting.panels import whiskers
from metadiffuser.reporting.registry import Drawing, figure
from metadiffuser.reporting.rows import EXPERT, NOT_LEARNT, NOT_LEARNT_CAPTION, family_heading, few_shot_rows
from metadiffuser.reporting.summary import Estimate

COLUMNS = 4  # most panels in a row
WIDTH = 2.35  # inches of a panel
LOWEST, HIGHEST = -25.0, 125.0  # scores that are drawn: one that is far off shows as an arrow at the edge


@figure("scores_by_method", title="Score by method", section="Main result", place=2)
def scores_by_method(evidence: Evidence) -> Drawing:
    """Draw the normalised score of every method with its interval; one panel a family, and one of their mean.

    Dots are training seeds or, where there is one, tasks.
    """
    rows = [row for row in few_shot_rows(evidence) if row.cell != EXPERT]  # the expert is the scale's 100
    average = [ALL_FAMILIES] if len(evidence.families) > 1 else []
    shown = [*evidence.families, *average, *(name for name in evidence.shown if name in evidence.apart)]
    seeds = evidence.cells.seeds(evidence.own) > 1
    columns = min(len(shown), COLUMNS)
    lines = -(-len(shown) // columns)
    height = 0.75 + 0.24 * len(rows)
    picture = Figure(figsize=(WIDTH * columns + 2.1, height * lines), layout="constrained")
    axes = picture.subplots(lines, columns, sharey=True, squeeze=False)
    for panel in axes.flat[len(shown) :]:
        panel.set_axis_off()
    for panel, family in zip(axes.flat, shown, strict=False):
        together = family == ALL_FAMILIES
        members = evidence.families if together else [family]
        for place, row in enumerate(rows):
            if together:
                value = evidence.cells.average(members, row.cell)
            else:
                value = evidence.cells.mean(family, row.cell, "normalised")
            if value is not None:
                if seeds:
                    dots = evidence.cells.by_seed(members, row.cell)
                else:
                    dots = {} if together else evidence.cells.by_task(family, row.cell)
                failed = (family, row.method) in evidence.not_learnt
                strength = 0.45 if row.context == "wrong_task" else 1.0
                _bar(panel, place, evidence.labels.method_colour(row.method), strength, value, dots)
                if failed:
                    panel.text(HIGHEST - 1, place, NOT_LEARNT, ha="right", va="center", fontsize=8)
        for level in (0, 100):
            panel.axvline(level, color=style.MUTED, lw=0.9, ls=(0, (4, 3)), zorder=1)
        panel.set(xlim=(LOWEST, HIGHEST), xlabel="normalised score")
        panel.set_title(family if together else family_heading(evidence, family).replace(" (", "\n("))
        panel.set_yticks(range(len(rows)), [row.title for row in rows])
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="y", visible=False)
        panel.set_xticks([0, 25, 50, 75, 100])
    axes[0, 0].set_ylim(len(rows) - 0.45, -0.55)
    _, context = evidence.reference
    caption = join(
        "Normalised score of the methods of table 1; those that take a context are given one "
        f"{style.context_name(context)} episode of the task.",
        spread(evidence, "training seeds" if seeds else "tasks"),
        "A score beyond the axis is an arrow at its edge.",
        evidence.averages(),
        NOT_LEARNT_CAPTION if evidence.not_learnt else "",
    )
    return Drawing(picture, caption)


def _bar(panel: Axes, place: int, colour: str, strength: float, value: Estimate, dots: Mapping[int, float]) -> None:
    """Draw one bar with its interval and the means of the seeds or tasks behind it."""
    inside = float(np.clip(value.value, LOWEST, HIGHEST))
    panel.barh(place, inside, color=colour, height=0.66, alpha=strength, zorder=2)
    if inside != value.value:
        marker = "<" if value.value < LOWEST else ">"
        panel.plot(inside, place, marker=marker, color=style.INK, markersize=6, clip_on=False, zorder=5)
        return
    within = [dot for dot in dots.values() if LOWEST < dot < HIGHEST]
    panel.scatter(
        within, np.full(len(within), place), s=9, color="white", edgecolors=style.INK, linewidths=0.5, zorder=3
    )
    ends = whiskers(value)
    if ends is not None:
        panel.errorbar(value.value, place, xerr=ends, color=style.INK, capsize=2.5, lw=1.3, zorder=4)
