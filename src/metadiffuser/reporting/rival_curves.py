"""The learning curves of the methods that MetaDiffuser is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metadiffuser.reporting import style

PANEL = (1.95, 1.7)  # inches
TRAINING, VALIDATION = "loss", "validation"  # a method in parts has <part>_loss and <part>_validation


@style.styled()
def baseline_curves(curves: Mapping[tuple[str, str], Sequence[pd.DataFrame]]) -> Figure:
    """Draw training and validation loss: families x methods, each panel on a scale of its own.

    Args:
        curves: {(method, family): tables by step, one a seed}. A part of a method has a line of its own, dotted from
            the second part on.
    """
    methods = style.ordered((method for method, _ in curves), style.METHOD_NAMES)
    families = list(dict.fromkeys(family for _, family in curves))
    figure, axes = style.grid(len(families), len(methods), PANEL)
    for row, family in zip(axes, families, strict=True):
        for panel, method in zip(row, methods, strict=True):
            _panel(panel, curves.get((method, family), ()))
            if panel in axes[0]:
                panel.set_title(style.method_name(method).replace("Behaviour cloning", "Cloning"), fontsize=9)
            if panel in axes[-1]:
                panel.set_xlabel("gradient steps", fontsize=8)
        row[0].set_ylabel(f"{style.family_title(family)}\nloss", fontsize=9)
    handles = [
        mpl.lines.Line2D([], [], color=colour, label=label)
        for colour, label in ((style.EXECUTED, "training"), (style.PLANNED, "validation"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


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
