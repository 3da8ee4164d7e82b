"""Learning curves of the behaviour policies, the context encoder and the diffusion model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.labels import Labels
from metadiffuser.reporting.registry import Drawing, figure

STAGES = {
    "behaviour": ("Behaviour policies", "environment steps", "return"),
    "context": ("Context encoder", "gradient steps", "loss"),
    "diffusion": ("Diffusion model", "gradient steps", "loss"),
}
CURVES = {
    "return": ("mean over tasks", style.EXECUTED, "-"),
    "return_min": ("worst task", "#90B4D8", "-"),
    "loss": ("training", style.EXECUTED, "-"),
    "validation": ("validation", style.PLANNED, "-"),
    "reward_loss": ("reward part", "#D69E2E", ":"),
    "dynamics_loss": ("dynamics part", "#805AD5", ":"),
}


@figure("learning_curves", title="Learning curves", section="Training", place=1)
def learning_curves(evidence: Evidence) -> Drawing | None:
    """Training of all parts of MetaDiffuser."""
    if not evidence.curves:
        return None
    caption = (
        "Training of the behaviour policies (deterministic return over training and unseen tasks), of the context "
        "encoder with its models, and of the diffusion model; one line a shard or seed."
    )
    return Drawing(draw(evidence.curves, evidence.labels), caption)


def draw(curves: Mapping[tuple[str, str], Sequence[pd.DataFrame]], labels: Labels) -> Figure:
    """Draw the learning curves.

    Args:
        labels: names of the families.
        curves: {(stage, family): tables by step, one a shard or seed}; see ``CURVES`` for the columns drawn.
    """
    families = list(dict.fromkeys(family for _, family in curves))
    picture, axes = style.grid(len(families), len(STAGES))
    for row, family in zip(axes, families, strict=True):
        for panel, (stage, (title, step, quantity)) in zip(row, STAGES.items(), strict=True):
            tables = curves.get((stage, family), ())
            _curve_panel(panel, tables, logarithmic=quantity == "loss")
            if tables and all(table.empty for table in tables):
                panel.text(0.5, 0.5, "imported data:\nnothing to train", ha="center", transform=panel.transAxes)
                panel.set(xticks=[], yticks=[])
            panel.set(title=f"{labels.family(family)}: {title.lower()}", xlabel=step, ylabel=quantity)
    return picture


def _curve_panel(panel: Axes, tables: Sequence[pd.DataFrame], logarithmic: bool) -> None:
    for name, (label, colour, dash) in CURVES.items():
        for number, table in enumerate(table for table in tables if name in table):
            values = table[name].dropna()
            marker = "o" if len(values) < 3 else ""
            named = label if number == 0 else None
            panel.plot(values.index, values, color=colour, ls=dash, label=named, marker=marker, alpha=0.9)
    positive = all((line.get_ydata() > 0).all() for line in panel.lines)  # type: ignore[operator, union-attr]
    if logarithmic and panel.lines and positive:
        panel.set_yscale("log")
        low, high = np.log10(panel.get_ylim())
        panel.set_ylim(top=10 ** (high + 0.25 * (high - low)))
    panel.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))
    if panel.lines:
        panel.legend(loc="upper right" if logarithmic else "lower right", ncols=2 if logarithmic else 1)
