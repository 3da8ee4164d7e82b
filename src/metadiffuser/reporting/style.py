"""One look for all tables and figures: names, colours, and files that are the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib.figure import Figure  # after the backend is chosen

PLANNED = "#E8743B"
EXECUTED = "#2B6CB0"
INK = "#1F2933"
MUTED = "#7B8794"
GRID = "#E4E7EB"

OWN_METHODS = {  # display name and colour of MetaDiffuser and of the rows that no baseline's file describes
    "metadiffuser": ("MetaDiffuser", PLANNED),
    "with_value": ("MetaDiffuser with a value, best of 8", "#9C4221"),
    "unconditional": ("Unconditional diffusion planner", "#8E9AAF"),
    "one_call": ("MetaDiffuser in one network call", "#D8A48F"),
    "random": ("Random planner", "#C5CBD3"),
    "expert": ("Behaviour expert (oracle)", "#2F855A"),
}
GUIDE_NAMES = {"none": "none", "return": "return", "dynamics": "dynamics", "dual": "dual"}
GUIDE_COLOURS = {"dual": PLANNED, "return": "#D69E2E", "dynamics": "#805AD5", "none": "#8E9AAF"}
CONTEXT_NAMES = {
    "expert": "expert",
    "medium": "medium",
    "random": "random",
    "zero_shot": "zero-shot",
    "wrong_task": "wrong task",
    "oracle": "oracle",
    "none": "none",
}
CONTEXT_COLOURS = {
    "expert": PLANNED,
    "medium": "#EFA37C",
    "random": "#F5CDB6",
    "zero_shot": "#4299C9",
    "wrong_task": "#8E9AAF",
    "oracle": "#2F855A",
    "none": "#C5CBD3",
}
SAMPLER_NAMES = {"ddpm": "DDPM", "ddim": "DDIM", "dpm_solver": "DPM-Solver++"}
SAMPLER_COLOURS = {"ddpm": PLANNED, "ddim": "#2B6CB0", "dpm_solver": "#2F855A"}
REPRESENTATION_NAMES = {
    "generalised": "MetaDiffuser's (reward and dynamics models)",
    "focal": "FOCAL (distance metric)",
    "corro": "CORRO (contrastive)",
    "true_task": "true task parameters",
}
QUALITIES = ("expert", "medium", "random", "mixed")  # of data and contexts, in the order in which they are shown
SPLITS = {"train": "training", "test": "unseen"}
PALETTE = (  # for what has no colour of its own
    "#2B6CB0",
    "#C53078",
    "#0D9488",
    "#6B46C1",
    "#B7791F",
    "#63B3ED",
    "#B794F4",
    "#276749",
    "#9B2C2C",
    "#5A67D8",
)

PANEL = (3.3, 2.5)  # inches, width and height of one panel

_RC: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.dpi": 160,
    "svg.fonttype": "path",
    "svg.hashsalt": "metadiffuser",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}


def family_words(name: str) -> str:
    """Return a family's key in words: ``cheetah_vel`` is ``Cheetah-Vel``."""
    return name.replace("_", "-").title()


def method_words(name: str) -> str:
    """Return a method's key in words: ``my_method`` is ``My Method``."""
    return name.replace("_", " ").title()


def guide_name(name: str) -> str:
    """Return a guide's name in tables."""
    return GUIDE_NAMES.get(name, name.replace("_", " "))


def context_name(name: str) -> str:
    """Return the name in tables of where a context came from."""
    return CONTEXT_NAMES.get(name, name.replace("_", " "))


def sampler_name(name: str) -> str:
    """Return a sampler's name in figures."""
    return SAMPLER_NAMES.get(name, name.replace("_", " "))


def representation_name(name: str) -> str:
    """Return a task representation's name in tables."""
    return REPRESENTATION_NAMES.get(name, name.replace("_", " "))


def colour(name: str, fixed: dict[str, str]) -> str:
    """Return the colour of ``name``: its fixed one, else one of ``PALETTE`` that depends on the name alone."""
    return fixed.get(name, PALETTE[sum(map(ord, name)) % len(PALETTE)])


def ordered(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the distinct ``names``: those of ``known`` in its order, then the others by name."""
    present = set(names)
    first = [name for name in known if name in present]
    return first + sorted(present.difference(first))


@contextmanager
def styled() -> Iterator[None]:
    """Draw with the project's style."""
    with mpl.rc_context(_RC):  # type: ignore[arg-type]  # keys are literals in matplotlib's types
        yield


def grid(rows: int, columns: int, panel: tuple[float, float] = PANEL, **options: Any) -> tuple[Figure, Any]:
    """Return a figure and its axes (rows, columns), each of the size ``panel`` in inches."""
    figure = Figure(figsize=(panel[0] * columns, panel[1] * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG, without dates or versions in it: equal figures give equal bytes."""
    stream = io.BytesIO()
    with styled():
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()
