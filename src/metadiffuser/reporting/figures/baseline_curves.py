"""Learning curves of the baselines."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.labels import Labels
from metadiffuser.reporting.registry import Drawing, figure

PANEL = (1.95, 1.7)  # inches
TITLE = 18  # characters in a line of a panel's title
TRAINING, VALIDATION = "loss", "validation"  # a method in parts has <part>_loss and <part>_validation


@figure("baseline_curves", title="Learning curves of the baselines", section="Training", place=2)
def baseline_curves(evidence: Evidence) -> Drawing | None:
    """Training of every baseline in every family."""
    if not evidence.baseline_curves:
        return None
    caption = (
        "Training and validation loss of every baseline's own training, one line a seed; dotted: a second part of "
        "it, such as a policy after its encoder. Losses of different methods do not compare."
    )
    return Drawing(draw(evidence.baseline_curves, evidence.labels), caption)


def draw(curves: Mapping[tuple[str, str], Sequence[pd.DataFrame]], labels: Labels) -> Figure:
    """Draw training and validation loss: families x methods, each panel on a scale of its own.

    Args:
        curves: {(method, family): tables by step, one a seed}. A part of a method has a line of its own, dotted from
            the second part on.
        labels: names, and the order of the methods.
    """
    methods = style.ordered((method for method, _ in curves), labels.methods)
    families = list(dict.fromkeys(family for _, family in curves))
    picture, axes = style.grid(len(families), len(methods), PANEL)
    for row, family in zip(axes, families, strict=True):
        for panel, method in zip(row, methods, strict=True):
            _panel(panel, curves.get((method, family), ()))
            if panel in axes[0]:
                panel.set_title(textwrap.fill(labels.method(method), TITLE), fontsize=9)
            if panel in axes[-1]:
                panel.set_xlabel("gradient steps", fontsize=8)
        row[0].set_ylabel(f"{labels.family(family)}\nloss", fontsize=9)
    handles = [
        mpl.lines.Line2D([], [], color=colour, label=label)
        for colour, label in ((style.EXECUTED, "training"), (style.PLANNED, "validation"))
    ]
    picture.legend(handles=handles, loc="outside lower center", ncols=2)
    return picture


def _panel(panel: Axes, tables: Sequence[pd.DataFrame]) -> None:
    for table in tables:
        for ending, colour, width in ((TRAINING, style.EXECUTED, 1.0), (VALIDATION, style.PLANNED, 1.4)):
            names = [name for name in table if name == ending or str(name).endswith(f"_{ending}")]
            for number, name in enumerate(names):
                values = table[name].dropna()
                dash = "-" if number == 0 else ":"
                panel.plot(values.index, values, color=colour, lw=width, ls=dash, alpha=0.9)
    positive = all((line.get_ydata() > 0).all() for line in panel.lines)  # type: ignore[operator, union-attr]
    if panel.lines and positive:
        panel.set_yscale("log")
        panel.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    panel.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))
    panel.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
    panel.tick_params(labelsize=7)
