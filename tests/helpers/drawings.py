"""What is read of a drawn figure."""

from __future__ import annotations

from matplotlib.figure import Figure

from metadiffuser.reporting.registry import Drawing


def drawn(drawing: Drawing | None) -> Figure:
    assert drawing is not None
    return drawing.figure


def titles(figure: Figure) -> list[str]:
    """The titles of the panels that have one."""
    return [text for panel in figure.axes if (text := panel.get_title(loc="left"))]
