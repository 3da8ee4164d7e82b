"""The figures: each a function from tidy tables to a figure (method section 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metadiffuser.artifacts import write_json
from metadiffuser.evaluation.statistics import Array, Bootstrap
from metadiffuser.reporting import style
from metadiffuser.reporting.evidence import AVERAGE
from metadiffuser.reporting.profiles import performance_profiles, sampler_scores
from metadiffuser.reporting.rival_curves import baseline_curves
from metadiffuser.reporting.rivals import method_scores
from metadiffuser.reporting.summary import Estimate, anchors_text, reference_cell, sizes, sizes_text, summarise

INDEX = "figures.json"
SAMPLER_STUDY = "sampler_study"  # the figure that the report sets times beside

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
QUALITIES = ("expert", "medium", "random", "mixed")
ELONGATED = 4.0  # ratio of extents from which a path's axes have scales of their own
TRACED_TASKS = 2  # unseen tasks shown per family
ROLES = {"train": ("training task", "o", 20, 0.75), "test": ("unseen task", "*", 90, 1.0)}


@dataclass(frozen=True)
class Drawing:
    """A figure ready to be written.

    Attributes:
        name: stem of its files.
        title: heading in the report.
        caption: what is shown.
        figure: the figure.
    """

    name: str
    title: str
    caption: str
    figure: Figure


@style.styled()
def learning_curves(curves: Mapping[tuple[str, str], Sequence[pd.DataFrame]]) -> Figure:
    """Draw the learning curves.

    Args:
        curves: {(stage, family): tables by step, one a shard or seed}; see ``CURVES`` for the columns drawn.
    """
    families = list(dict.fromkeys(family for _, family in curves))
    figure, axes = style.grid(len(families), len(STAGES))
    for row, family in zip(axes, families, strict=True):
        for panel, (stage, (title, step, quantity)) in zip(row, STAGES.items(), strict=True):
            tables = curves.get((stage, family), ())
            _curve_panel(panel, tables, logarithmic=quantity == "loss")
            if tables and all(table.empty for table in tables):
                panel.text(0.5, 0.5, "imported data:\nnothing to train", ha="center", transform=panel.transAxes)
                panel.set(xticks=[], yticks=[])
            panel.set(title=f"{style.family_title(family)}: {title.lower()}", xlabel=step, ylabel=quantity)
    return figure


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


def _task_colours(parameters: Array) -> tuple[Array, Callable[[Figure, Axes], None]]:
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

    def key(figure: Figure, place: Axes) -> None:
        figure.colorbar(scale, cax=place.inset_axes((0.0, 0.0, 0.16, 1.0)), label=label)

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


@style.styled()
def embedding(embeddings: pd.DataFrame) -> Figure:
    """Draw z in its two principal components, coloured by the task's parameters: families x context qualities."""
    families = list(dict.fromkeys(embeddings["family"]))
    qualities = style.ordered(embeddings["quality"], QUALITIES)
    widths = [1.0] * len(qualities) + [0.32]
    figure, axes = style.grid(len(families), len(widths), (2.8, 2.7), width_ratios=widths)
    for row, family in zip(axes, families, strict=True):
        points = embeddings[embeddings["family"] == family].reset_index(drop=True)
        colours, key = _task_colours(np.array(points["parameters"].tolist(), float))
        margin = 0.06 * np.ptp(points[["x", "y"]].to_numpy(), axis=0) + 1e-9
        for panel, quality in zip(row[:-1], qualities, strict=True):
            for split, (_, marker, size, alpha) in ROLES.items():
                chosen = points[(points["split"] == split) & (points["quality"] == quality)]
                edge = {"edgecolors": style.INK, "linewidths": 0.7} if split == "test" else {"linewidths": 0}
                inside = colours[chosen.index]
                panel.scatter(chosen["x"], chosen["y"], s=size, c=inside, marker=marker, alpha=alpha, **edge)
            panel.set(title=f"{style.family_title(family)}: {quality} context", xlabel="first component of z")
            panel.set_xlim(points["x"].min() - margin[0], points["x"].max() + margin[0])
            panel.set_ylim(points["y"].min() - margin[1], points["y"].max() + margin[1])
        row[0].set_ylabel("second component of z")
        row[-1].set_axis_off()
        key(figure, row[-1])
    handles = [
        Line2D([], [], ls="", marker=marker, color=style.MUTED, markersize=5 if split == "train" else 9, label=label)
        for split, (label, marker, _, _) in ROLES.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@style.styled()
def planned_and_executed(traces: pd.DataFrame) -> Figure:
    """Draw plans over the path executed around them: families x (unseen tasks x guides)."""
    families = list(dict.fromkeys(traces["family"]))
    guides = style.ordered(traces["guide"], style.GUIDE_NAMES)
    shown = min(TRACED_TASKS, min(group["task"].nunique() for _, group in traces.groupby("family")))
    figure, axes = style.grid(len(families), shown * len(guides), (2.8, 2.9))
    for row, family in zip(axes, families, strict=True):
        members = traces[traces["family"] == family]
        for position, task in enumerate(sorted(members["task"].unique())[:shown]):
            panels = row[position * len(guides) : (position + 1) * len(guides)]
            _trace_panels(panels, members[members["task"] == task], guides)
    handles = [
        Line2D([], [], color=style.EXECUTED, label="executed"),
        Line2D([], [], color=style.PLANNED, marker=".", label="planned"),
        Line2D([], [], color=style.INK, marker="o", ls="", markersize=5, label="where the plan was made"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _trace_panels(panels: Sequence[Axes], traces: pd.DataFrame, guides: Sequence[str]) -> None:
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
        panel.set_title(f"{style.family_title(family)}, task {task}\nguide {style.guide_name(guide)}")
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


@dataclass(frozen=True)
class Bar:
    """One bar: its label, colour, value and the means of the tasks behind it."""

    label: str
    colour: str
    value: Estimate
    tasks: Array


@style.styled()
def bars(panels: Mapping[str, Sequence[Bar]]) -> Figure:
    """Draw normalised scores as bars with intervals, the tasks' own means as dots; one panel a key."""
    columns = min(len(panels), 3)
    rows = -(-len(panels) // max(columns, 1))
    figure, axes = style.grid(rows, columns, (3.7, 2.9))
    for panel in axes.flat[len(panels) :]:
        panel.set_axis_off()
    for panel, (title, items) in zip(axes.flat, panels.items(), strict=False):
        for position, bar in enumerate(items):
            panel.bar(position, bar.value.value, color=bar.colour, width=0.68, zorder=2)
            spread = np.linspace(-0.2, 0.2, len(bar.tasks)) if len(bar.tasks) > 1 else np.zeros(1)
            panel.scatter(
                position + spread, bar.tasks, s=11, color="white", edgecolors=style.INK, linewidths=0.6, zorder=3
            )
            if not np.isnan(bar.value.low):
                ends = np.maximum([[bar.value.value - bar.value.low], [bar.value.high - bar.value.value]], 0)
                panel.errorbar(position, bar.value.value, ends, color=style.INK, capsize=4, lw=1.5, zorder=4)
        for level in (0, 100):
            panel.axhline(level, color=style.MUTED, lw=0.9, ls=(0, (4, 3)), zorder=1)
        panel.set_xticks(range(len(items)), [bar.label for bar in items])
        panel.tick_params(axis="x", length=0)
        panel.grid(axis="x", visible=False)
        panel.set(title=title, ylabel="normalised score")
    return figure


def score_bars(scores: pd.DataFrame, by: str, bootstrap: Bootstrap) -> Figure:
    """Draw MetaDiffuser's normalised score by ``context`` or ``guide``, the other held at the reference."""
    guide, context = reference_cell(scores)
    held = {"context": ("guide", guide), "guide": ("context", context)}[by]
    chosen = scores[(scores["method"] == "metadiffuser") & (scores[held[0]] == held[1])]
    name, names, colours = {
        "context": (style.context_name, style.CONTEXT_NAMES, style.CONTEXT_COLOURS),
        "guide": (style.guide_name, style.GUIDE_NAMES, style.GUIDE_COLOURS),
    }[by]
    panels: dict[str, list[Bar]] = {}
    for family, group in chosen.groupby("family", sort=False):
        summary = summarise(group, bootstrap).set_index(by)["normalised"]
        items = panels.setdefault(style.family_title(str(family)), [])
        for key in style.ordered(group[by], names):
            if summary[key] is not None:
                tasks = group[group[by] == key].groupby("task")["normalised"].mean().dropna().to_numpy(float)
                items.append(Bar(name(key).replace(" ", "\n"), style.colour(key, colours), summary[key], tasks))
    return bars(panels)


def all_figures(
    scores: pd.DataFrame,
    behaviour: pd.DataFrame,
    study: pd.DataFrame,
    embeddings: pd.DataFrame,
    traces: pd.DataFrame,
    curves: Mapping[tuple[str, str], Sequence[pd.DataFrame]],
    bootstrap: Bootstrap,
    imported: Mapping[str, str],
    rivals: Mapping[tuple[str, str], Sequence[pd.DataFrame]],
) -> list[Drawing]:
    """Return every figure, in the order of the report.

    Args:
        scores: episodes of the evaluation.
        behaviour: episodes of the dataset.
        study: episodes of the sampler study; there is no figure of it if nothing was studied.
        embeddings: contexts embedded.
        traces: plans traced against execution.
        curves: see ``learning_curves``.
        bootstrap: draws the intervals.
        imported: {family: how its episodes got their labels} for families whose data were imported.
        rivals: see ``baseline_curves``.
    """
    guide, context = reference_cell(scores)
    spread = (
        f"Bars: mean over unseen tasks, with {bootstrap.confidence:.0%} stratified bootstrap interval; dots: tasks; "
        f"0 is the random policy, 100 the behaviour expert. {sizes_text(sizes(scores))}. {anchors_text(imported)}"
    ).rstrip()
    drawings = [
        Drawing(
            "scores_by_method",
            "Score by method",
            f"Normalised score of the methods of table 1, told by one {style.context_name(context)} episode of the "
            f"task where they are told anything. {spread} A score beyond the axis is an arrow at its edge. {AVERAGE}",
            method_scores(scores, bootstrap),
        ),
        Drawing(
            "scores_by_warm_start",
            "Score by warm-start data",
            f"Normalised score of MetaDiffuser ({style.guide_name(guide)} guide) by the context's origin. {spread}",
            score_bars(scores, "context", bootstrap),
        ),
        Drawing(
            "scores_by_guide",
            "Score by guide",
            f"Normalised score of MetaDiffuser ({style.context_name(context)} context) by the guide's terms. {spread}",
            score_bars(scores, "guide", bootstrap),
        ),
        Drawing(
            "performance_profiles",
            "Performance profiles",
            "Share of the runs on unseen tasks whose normalised score is above τ, mean over tasks; a line that lies "
            f"above another is better at every score. Bands: {bootstrap.confidence:.0%} stratified bootstrap interval. "
            f"{sizes_text(sizes(scores))}. {anchors_text(imported)}".rstrip(),
            performance_profiles(scores, behaviour, bootstrap),
        ),
        Drawing(
            "planned_and_executed",
            "Planned against executed",
            "Plans over the path then executed, on the first unseen tasks: with the guide and without. The path "
            "is shown around the plans only.",
            planned_and_executed(traces),
        ),
        Drawing(
            "embedding",
            "Task representation",
            "Representation z of contexts of different quality in its first two principal components, coloured by the "
            "task's parameters. Unseen tasks should lie among training tasks of their colour.",
            embedding(embeddings),
        ),
        Drawing(
            "learning_curves",
            "Learning curves",
            "Training of the behaviour policies (deterministic return over training and unseen tasks), of the context "
            "encoder with its models, and of the diffusion model; one line a shard or seed.",
            learning_curves(curves),
        ),
        Drawing(
            "baseline_curves",
            "Learning curves of the other methods",
            "Training and validation loss of every method's own training, one line a seed; dotted: a second part of "
            "it, such as a policy after its encoder. Losses of different methods do not compare.",
            baseline_curves(rivals),
        ),
    ]
    if len(study):
        drawings.insert(4, _sampler_drawing(study, bootstrap))
    return drawings


def _sampler_drawing(study: pd.DataFrame, bootstrap: Bootstrap) -> Drawing:
    """Return the figure of the sampler study, with what it may be used for in the caption."""
    counts = []
    for family, group in study.groupby("family", sort=False):
        runs = len(group) // len(group[["sampler", "steps", "task"]].drop_duplicates())
        counts.append(f"{style.family_title(str(family))}: {group['task'].nunique()} training tasks × {runs} runs")
    caption = (
        "Normalised score by sampler and number of denoising steps, with the first guide and expert contexts, on tasks "
        "that the models were trained on: the default is chosen from it, and unseen tasks have no part in that. Bars: "
        f"{bootstrap.confidence:.0%} stratified bootstrap interval. {'; '.join(counts)}."
    )
    return Drawing(SAMPLER_STUDY, "Samplers and denoising steps", caption, sampler_scores(study, bootstrap))


def write_figures(folder: Path, drawings: Sequence[Drawing]) -> None:
    """Write each figure as PNG and SVG, and the index that the report is made from."""
    for drawing in drawings:
        style.save(drawing.figure, folder, drawing.name)
    index = [{"name": d.name, "title": d.title, "caption": d.caption} for d in drawings]
    write_json(folder / INDEX, {"figures": index})
