"""The task representation z in two dimensions."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metadiffuser.evaluation.statistics import Array
from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.labels import Labels
from metadiffuser.reporting.registry import Drawing, figure
from metadiffuser.reporting.scores import read_embeddings

ROLES = {"train": ("training task", "o", 20, 0.75), "test": ("unseen task", "*", 90, 1.0)}


@figure("embedding", title="Task representation", section="Task representation", place=4)
def embedding(evidence: Evidence) -> Drawing:
    """Contexts embedded by the encoder of one training seed."""
    found = evidence.frame(read_embeddings, evidence.context)
    caption = (
        "Representation z of contexts of different quality in its first two principal components, coloured by the "
        "task's parameters. Unseen tasks should lie among training tasks of their colour. One training seed."
    )
    return Drawing(draw(found[found["seed"] == evidence.seed], evidence.labels), caption)


def draw(embeddings: pd.DataFrame, labels: Labels) -> Figure:
    """Draw z in its two principal components, coloured by the task's parameters: families x context qualities."""
    families = list(dict.fromkeys(embeddings["family"]))
    qualities = style.ordered(embeddings["quality"], style.QUALITIES)
    widths = [1.0] * len(qualities) + [0.32]
    picture, axes = style.grid(len(families), len(widths), (2.8, 2.7), width_ratios=widths)
    for row, family in zip(axes, families, strict=True):
        points = embeddings[embeddings["family"] == family].reset_index(drop=True)
        colours, key = task_colours(np.array(points["parameters"].tolist(), float))
        margin = 0.06 * np.ptp(points[["x", "y"]].to_numpy(), axis=0) + 1e-9
        for panel, quality in zip(row[:-1], qualities, strict=True):
            for split, (_, marker, size, alpha) in ROLES.items():
                chosen = points[(points["split"] == split) & (points["quality"] == quality)]
                edge = {"edgecolors": style.INK, "linewidths": 0.7} if split == "test" else {"linewidths": 0}
                inside = colours[chosen.index]
                panel.scatter(chosen["x"], chosen["y"], s=size, c=inside, marker=marker, alpha=alpha, **edge)
            panel.set(title=f"{labels.family(family)}: {quality} context", xlabel="first component of z")
            panel.set_xlim(points["x"].min() - margin[0], points["x"].max() + margin[0])
            panel.set_ylim(points["y"].min() - margin[1], points["y"].max() + margin[1])
        row[0].set_ylabel("second component of z")
        row[-1].set_axis_off()
        key(picture, row[-1])
    handles = [
        Line2D([], [], ls="", marker=marker, color=style.MUTED, markersize=5 if split == "train" else 9, label=label)
        for split, (label, marker, _, _) in ROLES.items()
    ]
    picture.legend(handles=handles, loc="outside lower center", ncols=2)
    return picture


def task_colours(parameters: Array) -> tuple[Array, Callable[[Figure, Axes], None]]:
    """Return one colour a row of parameters (N, F), as (N, 3 or 4), and a function that draws their key into axes.

    One parameter: a colour map. Two: hue by angle around the middle, strength by distance from it. More: a
    colour map over their first principal component.
    """
    if parameters.shape[1] == 2:
        middle = (parameters.min(axis=0) + parameters.max(axis=0)) / 2
        reach = np.maximum(np.abs(parameters - middle).max(axis=0), 1e-9)
        return _wheel((parameters - middle) / reach), lambda _, place: _wheel_key(place, middle, reach)
    centred = parameters - parameters.mean(axis=0)
    if parameters.shape[1] == 1:
        values, label = parameters[:, 0], "task parameter"
    else:
        values = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
        label = "task parameters, first component"
    scale = mpl.cm.ScalarMappable(Normalize(values.min(), values.max()), "viridis")
    colours: Array = np.asarray(scale.to_rgba(values))

    def key(picture: Figure, place: Axes) -> None:
        picture.colorbar(scale, cax=place.inset_axes((0.0, 0.0, 0.16, 1.0)), label=label)

    return colours, key


def _wheel(points: Array) -> Array:
    """Return colours (N, 3) of points (N, 2) in [-1, 1]^2."""
    hue = (np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi)) % 1.0
    strength = np.clip(np.linalg.norm(points, axis=1), 0.0, 1.0)
    return np.asarray(hsv_to_rgb(np.stack([hue, 0.15 + 0.75 * strength, 0.92 - 0.22 * strength], axis=1)))


def _wheel_key(place: Axes, middle: Array, reach: Array) -> None:
    size = 48
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size)), axis=-1).reshape(-1, 2)
    key = place.inset_axes((0.0, 0.55, 1.0, 0.45), anchor="NW")
    low, high = middle - reach, middle + reach
    key.imshow(_wheel(grid).reshape(size, size, 3), origin="lower", extent=(low[0], high[0], low[1], high[1]))
    key.grid(False)
    key.set_xlabel("task parameters", fontsize=8)
    key.tick_params(labelsize=7)
    key.set_xticks([low[0], high[0]], [f"{value:.1f}" for value in (low[0], high[0])])
    key.set_yticks([low[1], high[1]], [f"{value:.1f}" for value in (low[1], high[1])])
