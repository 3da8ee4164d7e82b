"""Figures of lines: performance profiles over a threshold, and samplers over their number of denoising steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import families_of, few_shot_rows
from metadiffuser.reporting.rivals import COLOURS, DASHES
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.summary import Estimate, estimate, oracle, profile

PANEL = (3.7, 2.9)
COLUMNS = 3  # most panels in a row
LEGEND_COLUMNS = 4
POINTS = 151  # thresholds of a profile
LOWEST = -20.0  # score that profiles start at
HIGHEST = 110.0  # score that they reach at least
VARIANTS = ("--", ":")  # dashes of a method's second and third cell, in the order of table 1


def _panels(families: Sequence[str]) -> tuple[Figure, list[tuple[str, Axes]]]:
    """Return a figure with one titled panel a family, and (family, panel)."""
    rows = -(-len(families) // COLUMNS)
    figure, axes = style.grid(rows, min(len(families), COLUMNS), PANEL)
    for panel in axes.flat[len(families) :]:
        panel.set_axis_off()
    pairs = list(zip(families, axes.flat, strict=False))
    for family, panel in pairs:
        panel.set_title(style.family_title(family))
    return figure, pairs


def _shared_legend(figure: Figure, panels: Sequence[tuple[str, Axes]], columns: int) -> None:
    """Draw one legend for all panels below them."""
    handles: dict[str, Any] = {}
    for _, panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)


@style.styled()
def performance_profiles(scores: pd.DataFrame, behaviour: pd.DataFrame, bootstrap: Bootstrap) -> Figure:
    """Draw the share of runs above each normalised score, one line a row of table 1 and one panel a family.

    Args:
        scores: episodes of the evaluation, of one representation.
        behaviour: episodes of the dataset, for the expert.
        bootstrap: draws the bands.
    """
    everything = pd.concat([scores, oracle(behaviour)])
    figure, panels = _panels(families_of(scores))
    for family, panel in panels:
        members = everything[everything["family"] == family]
        top = max(HIGHEST, float(np.nan_to_num(members["normalised"].max())) + 5.0)
        thresholds = np.linspace(LOWEST, top, POINTS)
        drawn: list[str] = []
        for row in few_shot_rows(scores):
            cell = [row.method, row.guide, row.context]
            found = profile(
                members[(members[list(CELL)] == cell).all(axis=1)], "normalised", thresholds, bootstrap, family, *cell
            )
            dash = [DASHES.get(row.method, "-"), *VARIANTS][min(drawn.count(row.method), len(VARIANTS))]
            drawn.append(row.method)
            if found is not None:
                colour, own = style.colour(row.method, COLOURS), row.method == "metadiffuser"
                width, above = (2.2, 3) if own else (1.3, 2)
                panel.plot(thresholds, found.value, color=colour, ls=dash, label=row.title, lw=width, zorder=above)
                shade = 0.18 if own else 0.07
                panel.fill_between(thresholds, found.low, found.high, color=colour, alpha=shade, linewidth=0)
        panel.set(xlabel="normalised score τ", ylabel="share of runs above τ", ylim=(-0.03, 1.03))
    _shared_legend(figure, panels, LEGEND_COLUMNS if len(panels) >= COLUMNS else 2)
    return figure


@dataclass(frozen=True)
class _Line:
    """A quantity of one sampler by its number of steps."""

    sampler: str
    steps: list[int]
    values: list[Estimate]


def _sampler_figure(lines: Mapping[str, Sequence[_Line]], quantity: str) -> Figure:
    """Draw {family: lines} over the number of denoising steps."""
    figure, panels = _panels(list(lines))
    for family, panel in panels:
        for line in lines[family]:
            values = np.array([value.value for value in line.values])
            ends = np.array([[value.value - value.low, value.high - value.value] for value in line.values]).T
            panel.errorbar(
                line.steps,
                values,
                np.nan_to_num(np.maximum(ends, 0)),
                color=style.colour(line.sampler, style.SAMPLER_COLOURS),
                label=style.sampler_name(line.sampler),
                marker="o",
                markersize=4,
                capsize=3,
            )
        ticks = sorted({steps for line in lines[family] for steps in line.steps})
        panel.set_xscale("log")
        panel.set_xticks(ticks, [str(steps) for steps in ticks])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set(xlabel="denoising steps", ylabel=quantity)
    _shared_legend(figure, panels, len(style.SAMPLER_NAMES))
    return figure


@style.styled()
def sampler_scores(study: pd.DataFrame, bootstrap: Bootstrap) -> Figure:
    """Draw the normalised score on training tasks over denoising steps: one line a sampler, one panel a family.

    Args:
        study: episodes of the sampler study, of one representation.
        bootstrap: draws the intervals.
    """
    lines: dict[str, list[_Line]] = {}
    for (family, sampler), group in study.groupby(["family", "sampler"], sort=False):
        line = _Line(str(sampler), [], [])
        for steps, members in group.groupby("steps", sort=True):
            value = estimate(members, "normalised", bootstrap, "study", str(family), str(sampler), str(steps))
            if value is not None:
                line.steps.append(int(members["steps"].iloc[0]))
                line.values.append(value)
        lines.setdefault(str(family), []).append(line)
    return _sampler_figure(lines, "normalised score")


@style.styled()
def sampler_times(times: pd.DataFrame) -> Figure:
    """Draw milliseconds per decision over denoising steps.

    Args:
        times: rows of family, sampler, steps and milliseconds; those of one setting are averaged.
    """
    lines: dict[str, list[_Line]] = {}
    for (family, sampler), group in times.groupby(["family", "sampler"], sort=False):
        means = group.groupby("steps")["milliseconds"].mean()
        values = [Estimate(float(value)) for value in means]
        lines.setdefault(str(family), []).append(_Line(str(sampler), [int(steps) for steps in means.index], values))
    return _sampler_figure(lines, "milliseconds per decision")
