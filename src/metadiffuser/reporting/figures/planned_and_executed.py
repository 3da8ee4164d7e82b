"""Plans over the path that was then executed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metadiffuser.evaluation.statistics import Array
from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.labels import Labels
from metadiffuser.reporting.registry import Drawing, figure
from metadiffuser.reporting.scores import read_traces

ELONGATED = 4.0  # ratio of extents from which a path's axes have scales of their own
TRACED_TASKS = 2  # unseen tasks shown per family


@figure("planned_and_executed", title="Planned against executed", section="Guide", place=4)
def planned_and_executed(evidence: Evidence) -> Drawing | None:
    """Plans of one training seed on the first unseen tasks."""
    traces = evidence.frame(read_traces, evidence.planner)
    traces = traces[traces["seed"] == evidence.seed]
    if traces.empty:
        return None
    caption = (
        "Plans over the path that was then executed, on the first unseen tasks, with and without the guide. The path "
        "is shown around the plans only. One training seed."
    )
    return Drawing(draw(traces, evidence.labels), caption)


def draw(traces: pd.DataFrame, labels: Labels) -> Figure:
    """Draw plans over the path executed around them: families x (unseen tasks x guides)."""
    families = list(dict.fromkeys(traces["family"]))
    guides = style.ordered(traces["guide"], style.GUIDE_NAMES)
    shown = min(TRACED_TASKS, min(group["task"].nunique() for _, group in traces.groupby("family")))
    picture, axes = style.grid(len(families), shown * len(guides), (2.8, 2.9))
    for row, family in zip(axes, families, strict=True):
        members = traces[traces["family"] == family]
        for position, task in enumerate(sorted(members["task"].unique())[:shown]):
            panels = row[position * len(guides) : (position + 1) * len(guides)]
            _trace_panels(panels, members[members["task"] == task], guides, labels)
    handles = [
        Line2D([], [], color=style.EXECUTED, label="executed"),
        Line2D([], [], color=style.PLANNED, marker=".", label="planned"),
        Line2D([], [], color=style.INK, marker="o", ls="", markersize=5, label="where the plan was made"),
    ]
    picture.legend(handles=handles, loc="outside lower center", ncols=3)
    return picture


def _trace_panels(panels: Sequence[Axes], traces: pd.DataFrame, guides: Sequence[str], labels: Labels) -> None:
    """Draw the traces of one task, a panel a guide, all over the same range."""
    windows = {guide: _window(traces[traces["guide"] == guide]) for guide in guides}
    paths = [path for path in windows.values() if len(path)]
    across = _flat_axes(np.concatenate(paths))
    limits, even = _limits(np.concatenate([*paths, *traces["planned"]])[:, across])
    family, task = traces.iloc[0]["family"], traces.iloc[0]["task"]
    for panel, guide in zip(panels, guides, strict=True):
        panel.plot(*windows[guide][:, across].T, color=style.EXECUTED, lw=2.2, zorder=2)
        for planned in traces[traces["guide"] == guide].sort_values("step")["planned"]:
            panel.plot(*planned[:, across].T, color=style.PLANNED, marker=".", markersize=3.5, lw=1.1, zorder=3)
            panel.plot(*planned[0, across], color=style.INK, marker="o", markersize=4.5, zorder=4)
        panel.set_title(f"{labels.family(family)}, task {task}\nguide {style.guide_name(guide)}")
        panel.set(xlabel=f"{'xyz'[across[0]]} (m)", ylabel=f"{'xyz'[across[1]]} (m)", xlim=limits[0], ylim=limits[1])
        panel.set_aspect("equal" if even else "auto")


def _window(traces: pd.DataFrame) -> Array:
    """Return the part of the executed path that plans speak of, and half a plan before and after it."""
    if traces.empty:
        return np.empty((0, 3))
    reach = max(len(planned) for planned in traces["planned"])
    first, last = traces["step"].min() - reach // 2, traces["step"].max() + reach + reach // 2
    return np.asarray(traces.iloc[0]["executed"][max(first, 0) : last])


def _flat_axes(points: Array) -> list[int]:
    """Return the two coordinates to draw: x, and the one of y and z that points (N, 3) vary in more."""
    extent = np.ptp(points, axis=0)
    return [0, 1 if extent[1] >= extent[2] else 2]


def _limits(points: Array) -> tuple[Array, bool]:
    """Return the (low, high) to draw of points (N, 2), as (2, 2), and whether both axes have one scale.

    They have where one extends less than ELONGATED times the other; the shorter one is then widened.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    half = 0.58 * np.maximum(high - low, 1e-2)
    even = bool(half.max() < ELONGATED * half.min())
    half = np.full(2, half.max()) if even else half
    middle = (low + high) / 2
    return np.stack([middle - half, middle + half], axis=1), even
