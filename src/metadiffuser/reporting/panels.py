"""Panels that several figures share: one a family, bars with intervals, a legend for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metadiffuser.evaluation.statistics import Array
from metadiffuser.reporting import style
from metadiffuser.reporting.summary import Estimate

PANEL = (3.7, 2.9)  # inches
COLUMNS = 3  # most panels in a row
DASHES: tuple[Any, ...] = ((0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1.2, 1)), (0, (7, 2)), "-")  # of baselines, in turn


@dataclass(frozen=True)
class Bar:
    """One bar: its label, colour, value and the means of the tasks behind it."""

    label: str
    colour: str
    value: Estimate
    tasks: Array


def titled_panels(titles: Sequence[str], panel: tuple[float, float] = PANEL) -> tuple[Figure, list[Axes]]:
    """Return a figure with one titled panel for each of ``titles``, and the panels."""
    columns = max(1, min(len(titles), COLUMNS))
    figure, axes = style.grid(max(1, -(-len(titles) // columns)), columns, panel)
    for rest in axes.flat[len(titles) :]:
        rest.set_axis_off()
    panels = list(axes.flat[: len(titles)])
    for axis, title in zip(panels, titles, strict=True):
        axis.set_title(title)
    return figure, panels


def shared_legend(figure: Figure, panels: Sequence[Axes], columns: int) -> None:
    """Draw one legend for all panels below them."""
    handles: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)


def whiskers(value: Estimate) -> Array | None:
    """Return the lengths (2, 1) of the interval below and above the value, or None without an interval."""
    if np.isnan(value.low):
        return None
    return np.maximum([[value.value - value.low], [value.high - value.value]], 0)


def score_bars(panels: Mapping[str, Sequence[Bar]]) -> Figure:
    """Draw normalised scores as bars with intervals, the tasks' own means as dots; one panel a key."""
    figure, axes = titled_panels(list(panels))
    for panel, items in zip(axes, panels.values(), strict=True):
        for position, bar in enumerate(items):
            panel.bar(position, bar.value.value, color=bar.colour, width=0.68, zorder=2)
            spread = np.linspace(-0.2, 0.2, len(bar.tasks)) if len(bar.tasks) > 1 else np.zeros(len(bar.tasks))
            panel.scatter(
                position + spread, bar.tasks, s=11, color="white", edgecolors=style.INK, linewidths=0.6, zorder=3
            )
            ends = whiskers(bar.value)
            if ends is not None:
                panel.errorbar(position, bar.value.value, ends, color=style.INK, capsize=4, lw=1.5, zorder=4)
        for level in (0, 100):
            panel.axhline(level, color=style.MUTED, lw=0.9, ls=(0, (4, 3)), zorder=1)
        panel.set_xticks(range(len(items)), [bar.label for bar in items])
        panel.tick_params(axis="x", length=0)
        panel.grid(axis="x", visible=False)
        panel.set_ylabel("normalised score")
    return figure
