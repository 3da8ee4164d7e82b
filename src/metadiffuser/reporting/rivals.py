"""The figure that sets all methods side by side, and the look that a method has in every figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import ALL_FAMILIES, Row, families_of, few_shot_rows
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.summary import Estimate, estimate, family_average

COLUMNS = 4  # most panels in a row
WIDTH = 2.35  # inches of a panel
LOWEST, HIGHEST = -25.0, 125.0  # scores that are drawn: one that is far off shows as an arrow at the edge
COLOURS = {  # told apart in print and by colour-blind readers together with the dash of a line
    **style.METHOD_COLOURS,
    "focal": "#2B6CB0",
    "corro": "#63B3ED",
    "macaw": "#B7791F",
    "cvae_planner": "#C53078",
    "bc": "#0D9488",
    "prompt_dt": "#6B46C1",
    "meta_dt": "#B794F4",
}
DASHES = {
    "focal": (0, (5, 1.5)),
    "corro": (0, (5, 1.5)),
    "prompt_dt": (0, (3, 1, 1, 1)),
    "meta_dt": (0, (3, 1, 1, 1)),
    "macaw": (0, (1.2, 1)),
    "cvae_planner": (0, (7, 2)),
}


def method_rows(scores: pd.DataFrame) -> list[Row]:
    """Return the rows of table 1 that are methods: the expert is the scale's 100."""
    return [row for row in few_shot_rows(scores) if row.method != "expert"]


@style.styled()
def method_scores(scores: pd.DataFrame, bootstrap: Bootstrap) -> Figure:
    """Draw the normalised score of every method with its interval; one panel a family, and one of their mean.

    Args:
        scores: episodes of the evaluation, of one representation.
        bootstrap: draws the intervals.
    """
    rows, families = method_rows(scores), families_of(scores)
    average = {row: family_average(scores, (row.method, row.guide, row.context), bootstrap) for row in rows}
    shown = [*families, *([ALL_FAMILIES] if len(families) > 1 else [])]
    columns = min(len(shown), COLUMNS)
    lines = -(-len(shown) // columns)
    height = 0.75 + 0.24 * len(rows)
    figure = Figure(figsize=(WIDTH * columns + 2.1, height * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for panel in axes.flat[len(shown) :]:
        panel.set_axis_off()
    for panel, name in zip(axes.flat, shown, strict=False):
        members = scores[scores["family"] == name]
        for place, row in enumerate(rows):
            cell = [row.method, row.guide, row.context]
            found = members[(members[list(CELL)] == cell).all(axis=1)]
            value = average[row] if name == ALL_FAMILIES else estimate(found, "normalised", bootstrap, str(name), *cell)
            if value is not None:
                _bar(panel, place, row, value, found.groupby("task")["normalised"].mean().dropna().to_numpy(float))
        for level in (0, 100):
            panel.axvline(level, color=style.MUTED, lw=0.9, ls=(0, (4, 3)), zorder=1)
        panel.set(xlim=(LOWEST, HIGHEST), xlabel="normalised score")
        panel.set_title(name if name == ALL_FAMILIES else style.family_title(name))
        panel.set_yticks(range(len(rows)), [row.title for row in rows])
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="y", visible=False)
        panel.set_xticks([0, 25, 50, 75, 100])
    axes[0, 0].set_ylim(len(rows) - 0.45, -0.55)
    return figure


def _bar(panel: Axes, place: int, row: Row, value: Estimate, tasks: Sequence[float] | np.ndarray) -> None:
    """Draw one bar with its interval and the means of the tasks behind it."""
    colour = style.colour(row.method, COLOURS)
    inside = float(np.clip(value.value, LOWEST, HIGHEST))
    strength = 0.45 if row.context == "wrong_task" else 1.0
    panel.barh(place, inside, color=colour, height=0.66, alpha=strength, zorder=2)
    if inside != value.value:
        marker = "<" if value.value < LOWEST else ">"
        panel.plot(inside, place, marker=marker, color=style.INK, markersize=6, clip_on=False, zorder=5)
        return
    within = np.asarray(tasks, float)
    within = within[(within > LOWEST) & (within < HIGHEST)]
    panel.scatter(
        within, np.full(len(within), place), s=9, color="white", edgecolors=style.INK, linewidths=0.5, zorder=3
    )
    if not np.isnan(value.low):
        ends = np.maximum([[value.value - value.low], [value.high - value.value]], 0)
        panel.errorbar(value.value, place, xerr=ends, color=style.INK, capsize=2.5, lw=1.3, zorder=4)
