"""The sampler study: scores on training tasks and time per decision, over the number of denoising steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from metadiffuser.reporting import style
from metadiffuser.reporting.captions import join
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.panels import shared_legend, titled_panels
from metadiffuser.reporting.registry import Drawing, figure, timed_figure
from metadiffuser.reporting.scores import SETTING, read_sampler_study
from metadiffuser.reporting.summary import Cells, Estimate
from metadiffuser.reporting.timings import Timings, sampler_times


@dataclass(frozen=True)
class Line:
    """A quantity of one sampler by its number of steps."""

    sampler: str
    steps: Sequence[int]
    values: Sequence[Estimate]


@figure("sampler_study", title="Samplers and denoising steps", section="Cost", place=2)
def sampler_study(evidence: Evidence) -> Drawing | None:
    """The normalised score on training tasks over denoising steps: one line a sampler, one panel a family."""
    study = evidence.frame(lambda files: read_sampler_study(files, evidence.dataset), evidence.planner)
    if study.empty:
        return None
    cells = Cells(
        study, evidence.bootstrap, keys=SETTING, columns=("normalised",), fixed=evidence.apart, stream=("study",)
    )
    lines: dict[str, list[Line]] = {}
    counts = []
    for family, members in study.groupby("family", sort=False):
        for sampler, group in members.groupby("sampler", sort=False):
            steps = sorted(group["steps"].unique())
            values = {step: cells.mean(str(family), (sampler, step), "normalised") for step in steps}
            found = {int(step): value for step, value in values.items() if value is not None}
            lines.setdefault(str(family), []).append(Line(str(sampler), list(found), list(found.values())))
        runs = len(members) // len(members[[*SETTING, "task"]].drop_duplicates())
        counts.append(
            f"{evidence.labels.family(str(family))}: {members['task'].nunique()} training tasks × {runs} runs"
        )
    titles = {family: evidence.labels.family(family) for family in lines}
    caption = join(
        "Normalised score by sampler and number of denoising steps, with the first guide and expert contexts, on tasks "
        "that the models were trained on. A comparison: the planner's sampler is chosen by the calibration.",
        evidence.intervals().replace("Brackets", "Whiskers"),
        f"{'; '.join(counts)}.",
    )
    return Drawing(draw(lines, titles, "normalised score"), caption)


@timed_figure("sampler_times", title="Time per decision by sampler", section="Cost", place=3)
def times(timings: Timings) -> Drawing | None:
    """Milliseconds per decision over denoising steps; those of one setting are averaged over training seeds."""
    found = sampler_times(timings.records, timings.representation)
    if found.empty:
        return None
    lines: dict[str, list[Line]] = {}
    for (family, sampler), group in found.groupby(["family", "sampler"], sort=False):
        means = group.groupby("steps")["milliseconds"].mean()
        values = [Estimate(float(value)) for value in means]
        lines.setdefault(str(family), []).append(Line(str(sampler), [int(steps) for steps in means.index], values))
    titles = {family: timings.labels.family(family) for family in lines}
    caption = (
        "Wall time of one decision, measured while the sampler study was played, all episodes of a setting as one "
        "batch. It depends on the machine and on what else ran there."
    )
    return Drawing(draw(lines, titles, "milliseconds per decision"), caption)


def draw(lines: Mapping[str, Sequence[Line]], titles: Mapping[str, str], quantity: str) -> Figure:
    """Draw {family: lines} over the number of denoising steps."""
    picture, panels = titled_panels([titles[family] for family in lines])
    for family, panel in zip(lines, panels, strict=True):
        for line in lines[family]:
            ends = np.array([[value.value - value.low, value.high - value.value] for value in line.values]).reshape(
                -1, 2
            )
            panel.errorbar(
                line.steps,
                [value.value for value in line.values],
                np.nan_to_num(np.maximum(ends.T, 0)),
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
    shared_legend(picture, panels, len(style.SAMPLER_NAMES))
    return picture
