"""The ablation of the guide by the quality of the data that the planner learned from: one table, one figure.

The quality of the data is a property of a preset, so this is made from the metrics of several presets, and not by the
registry, whose tables and figures are those of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from metadiffuser.errors import InputError
from metadiffuser.reporting import captions, style
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.labels import OWN, Label, Labels
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.panels import shared_legend, titled_panels, whiskers
from metadiffuser.reporting.registry import Drawing
from metadiffuser.reporting.rows import corrected
from metadiffuser.reporting.scores import metrics_record, read_qualities
from metadiffuser.reporting.sizes import reference_cell, sizes
from metadiffuser.reporting.summary import Cells, Difference, Estimate
from metadiffuser.reporting.tables.guide import P_DIGITS

QUALITIES = ("random", "medium", "mixed", "expert")  # of data, in the order of the axis
MARKERS = {"none": "o", "return": "^", "dynamics": "s", "dual": "D"}  # guides differ in shape as well as in colour
WITHOUT = "none"  # the guide that the others are compared with
WIDTH = 0.36  # of the guides' points at one quality; the step to the next quality is 1


@dataclass(frozen=True)
class Arm:
    """One preset of the ablation.

    Attributes:
        preset: its name.
        evidence: its metrics.
        encoder: {family: qualities of the data that the encoder and the guide's models learned from}.
    """

    preset: str
    evidence: Evidence
    encoder: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Point:
    """One planner: its family, quality of data and guide.

    Attributes:
        preset: the preset that it is from.
        encoder: the data of its encoder and of its guide's models, in words.
        seeds: training seeds.
        score: mean normalised score.
        gain: its score minus that of the planner without a guide, paired; None for the latter.
        error: RMSE of the planned against the executed state one step ahead, in normalised units, mean over seeds.
    """

    family: str
    quality: str
    guide: str
    preset: str
    encoder: str
    seeds: int
    score: Estimate
    gain: Difference | None
    error: float | None


@dataclass(frozen=True)
class Ablation:
    """All planners of several presets, family by family, then by quality, then by guide.

    Attributes:
        points: the planners.
        context: where the warm-start context of all of them came from.
        labels: display names of the families.
        apart: families without an unseen task.
        intervals: what captions say of intervals.
        samples: what captions say of sample sizes.
        digits: decimals of scores.
    """

    points: Sequence[Point]
    context: str
    labels: Labels
    apart: Sequence[str]
    intervals: str
    samples: str
    digits: int

    def title(self, family: str) -> str:
        """Return a family's heading, which says so if it has no unseen task."""
        name = self.labels.family(family)
        return f"{name} ({captions.NO_UNSEEN_TASK})" if family in self.apart else name


def ablation(arms: Sequence[Arm]) -> Ablation:
    """Return the planners of ``arms``; of two presets with one family and one quality, those of the first.

    Intervals and decimals are those of the first preset.

    Raises:
        InputError: metrics are missing or damaged, do not say what the planner learned from, or rest on other anchors
            than those of another preset; or there are no two qualities of one family.
    """
    _check_anchors(arms)
    first = arms[0].evidence
    apart = list(dict.fromkeys(family for arm in arms for family in arm.evidence.apart))
    families: dict[str, Label] = {}
    for arm in arms:
        families = {**arm.evidence.labels.families, **families}
    labels = Labels(families, {})
    scores = pd.concat(_episodes(arms), ignore_index=True)
    if scores.groupby("family")["quality"].nunique().max() < 2:
        raise InputError(
            f"{', '.join(arm.preset for arm in arms)}: no family with planners of two qualities of data; name presets "
            "that share a family and differ in diffusion.qualities"
        )
    _, context = reference_cell(scores)
    scores = scores[scores["context"] == context]
    errors = pd.concat([arm.evidence.plan_errors.assign(preset=arm.preset) for arm in arms])
    errors = errors[(errors["method"] == OWN) & (errors["context"] == context) & (errors["ahead"] == 1)]
    cells = Cells(scores, first.bootstrap, keys=("quality", "guide"), columns=("normalised",), fixed=apart)
    points = list(_points(arms, scores, errors, cells))
    order = [*(name for name in families if name not in apart), *apart]
    qualities, guides = style.ordered(scores["quality"], QUALITIES), style.ordered(scores["guide"], style.GUIDE_NAMES)
    points.sort(key=lambda each: (order.index(each.family), qualities.index(each.quality), guides.index(each.guide)))
    counted: dict[str, list[str]] = {}
    for preset, rows in scores.groupby("preset", sort=False):
        counted.setdefault(captions.sample_sizes(sizes(rows, apart), labels), []).append(str(preset))
    samples = " ".join(f"Preset {', '.join(presets)}: {text}." for text, presets in counted.items())
    intervals = captions.intervals(first.bootstrap.confidence, first.bootstrap.samples, apart, labels)
    return Ablation(points, context, labels, apart, intervals, samples, first.digits)


def _check_anchors(arms: Sequence[Arm]) -> None:
    """Raise ``InputError`` if presets scale the scores of a family by other returns, or on other tasks."""
    known: dict[str, tuple[object, object]] = {}
    for arm in arms:
        for path in arm.evidence.dataset:
            with metrics_record(path) as content:
                family, anchors = str(content["family"]), content["anchors"]
            former, expected = known.setdefault(family, (path, anchors))
            if anchors != expected:
                raise InputError(
                    f"{path}: its tasks or their anchors are not those of {former}, so the scores do not compare; name "
                    "presets that share tasks, behaviour policies and datasets"
                )


def _episodes(arms: Sequence[Arm]) -> Iterator[pd.DataFrame]:
    """Yield MetaDiffuser's episodes on unseen tasks, preset by preset, with ``preset`` and ``quality``."""
    taken: set[tuple[str, str]] = set()
    for arm in arms:
        learned = _learned_from(arm)
        kept = {family for family, quality in learned.items() if (family, quality) not in taken}
        taken.update(learned.items())
        rows = arm.evidence.scores
        rows = rows[(rows["method"] == OWN) & rows["family"].isin(kept)]
        yield rows.assign(preset=arm.preset, quality=rows["family"].map(learned))


def _learned_from(arm: Arm) -> dict[str, str]:
    """Return {family: quality of the data that a preset's planner learned from}."""
    found: dict[str, str] = {}
    for path in arm.evidence.planner:
        rows = read_qualities([path])
        remedy = f"run evaluate with the preset {arm.preset} again"
        if rows.empty:
            raise InputError(f"{path}: 'qualities' is missing, the data that the planner learned from; {remedy}")
        family, quality = str(rows["family"].iloc[0]), " + ".join(rows["quality"])
        if found.setdefault(family, quality) != quality:
            raise InputError(f"{path}: 'qualities' is {quality}, and {found[family]} at another seed; {remedy}")
    return found


def _points(arms: Sequence[Arm], scores: pd.DataFrame, errors: pd.DataFrame, cells: Cells) -> Iterator[Point]:
    encoders = {arm.preset: arm.encoder for arm in arms}
    near = errors.groupby(["preset", "family", "guide"])["error"].mean().to_dict()
    for key, rows in scores.groupby(["preset", "family", "quality", "guide"], sort=False):
        preset, family, quality, guide = map(str, key)
        score = cells.mean(family, (quality, guide), "normalised")
        if score is None:  # its expert is no better than random on every task
            continue
        gain = None
        if guide != WITHOUT:
            gain = cells.difference(family, (quality, guide), (quality, WITHOUT), "normalised")
        data, seeds = ", ".join(encoders[preset][family]), int(rows["seed"].nunique())
        yield Point(family, quality, guide, preset, data, seeds, score, gain, near.get((preset, family, guide)))


def guide_by_data_table(found: Ablation) -> Table:
    """Return the table: a row for each family, quality of data and guide."""
    adjusted = corrected([None if point.gain is None else point.gain.p for point in found.points])
    rows: list[list[Cell]] = []
    for point, p in zip(found.points, adjusted, strict=True):
        gain = point.gain
        row: list[Cell] = [found.title(point.family), point.quality, style.guide_name(point.guide), point.score]
        row += [None, None, None] if gain is None else [gain.mean, gain.p, p]
        row += [point.error, captions.coverage(OWN, point.seeds), point.preset, point.encoder]
        rows.append(row)
    caption = captions.join(
        f"Normalised score of MetaDiffuser on unseen tasks, given one {style.context_name(found.context)} episode as "
        "context, by the quality of the data that its denoiser learned from and by the terms of its guide. "
        f"{captions.NORMALISED} Gain: score minus that of the same planner without a guide, paired over training "
        "seeds, tasks and episodes; p: two-sided bootstrap p-value of no gain; p (Holm): corrected for all gains of "
        "this table. With few tasks and seeds p-values are too small rather than too large. Error at 1: RMSE of the "
        "planned against the executed state one step ahead, in normalised units, mean over seeds. Encoder: the data "
        "that the encoder and the guide's reward and dynamics models learned from; where these are the "
        "same, rows of one family differ in the denoiser's data and in the settings that calibration chose on training "
        "tasks, preset by preset: scales of the guide, guidance weight, sampler, number of plans. Where two presets "
        "have the same family and quality, the one named first is shown.",
        found.intervals,
        found.samples,
    )
    columns = [Column(title, words=True) for title in ("Family", "Data", "Guide")]
    columns += [Column("score"), Column("gain"), Column("p", digits=P_DIGITS), Column("p (Holm)", digits=P_DIGITS)]
    columns += [Column("error at 1", digits=3)]
    columns += [Column(title, words=True) for title in ("Interval", "Preset", "Encoder")]
    title = "Ablation of the guide by the quality of the data"
    return Table(columns, rows, caption, found.digits, "guide_by_data", title)


@style.styled()
def guide_by_data_figure(found: Ablation) -> Drawing:
    """Draw the scores over the quality of the data: one panel a family, one series a guide."""
    families = list(dict.fromkeys(point.family for point in found.points))
    qualities = style.ordered((point.quality for point in found.points), QUALITIES)
    guides = style.ordered((point.guide for point in found.points), style.GUIDE_NAMES)
    points = {(point.family, point.guide, point.quality): point.score for point in found.points}
    picture, panels = titled_panels([found.title(family) for family in families])
    for panel, family in zip(panels, families, strict=True):
        for place, guide in enumerate(guides):
            values = [points.get((family, guide, quality)) for quality in qualities]
            ends = [None if value is None else whiskers(value) for value in values]
            panel.errorbar(
                np.arange(len(qualities)) + WIDTH * ((place + 0.5) / len(guides) - 0.5),
                [np.nan if value is None else value.value for value in values],  # a gap where there is no planner
                np.hstack([np.zeros((2, 1)) if each is None else each for each in ends]),
                color=style.colour(guide, style.GUIDE_COLOURS),
                label=style.guide_name(guide),
                marker=MARKERS.get(guide, "v"),
                markersize=4.5,
                linewidth=1.1,
                capsize=2.5,
            )
        for level in (0, 100):
            panel.axhline(level, color=style.MUTED, lw=0.9, ls=(0, (4, 3)), zorder=1)
        panel.set_xticks(range(len(qualities)), qualities)
        panel.set_xlim(-0.5, len(qualities) - 0.5)
        panel.grid(axis="x", visible=False)
        panel.set(xlabel="data of the denoiser", ylabel="normalised score")
    shared_legend(picture, panels, len(guides))
    caption = captions.join(
        "Scores of the table by the quality of the data that the denoiser learned from; one panel a family, one series "
        "a guide. 0 is the random policy, 100 the behaviour expert.",
        found.intervals.replace("Brackets", "Whiskers"),
    )
    return Drawing(picture, caption)
