"""What methods cost beside what they earn."""

from __future__ import annotations

from matplotlib.ticker import LogFormatter

from metadiffuser.reporting.panels import shared_legend, titled_panels
from metadiffuser.reporting.registry import Drawing, timed_figure
from metadiffuser.reporting.tables.cost import costs
from metadiffuser.reporting.timings import Timings

LEGEND_COLUMNS = 4
PANELS = {  # quantity of ``costs``: title of the panel, label of its axis, size of the axis' unit
    "seconds": ("Training", "CPU minutes", 60.0),
    "milliseconds": ("Acting", "milliseconds per decision", 1.0),
}


@timed_figure("cost_and_score", title="Cost and score", section="Cost", place=4)
def cost_and_score(timings: Timings) -> Drawing | None:
    """Draw each method's mean score over its mean cost: one panel for training, one for acting."""
    found = costs(timings)
    families = found["family"].nunique()
    if not families:
        return None
    means = found.groupby("method", sort=False)[list(PANELS)].sum(min_count=families) / families
    shown = [name for name in means.index[means["seconds"].notna()] if name in timings.scores]
    if not shown:
        return None
    picture, panels = titled_panels([title for title, _, _ in PANELS.values()])
    for panel, (quantity, (_, label, unit)) in zip(panels, PANELS.items(), strict=True):
        for method in shown:
            cost = float(means.loc[method, quantity]) / unit
            name, colour = timings.labels.method(method), timings.labels.method_colour(method)
            panel.plot(cost, timings.scores[method], "o", color=colour, markersize=7, label=name)
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1, 0.5)))
        panel.margins(0.12)
        panel.set(xlabel=label, ylabel="normalised score")
    shared_legend(picture, panels, LEGEND_COLUMNS)
    caption = (
        "Mean few-shot score on unseen tasks over what the method costs, means over families and training seeds. Upper "
        "left is better. Training counts the context model for the methods that act on its z. A decision is one action "
        "of one episode in a large batch. Methods that not all families have are left out. Times depend on the machine "
        "and on what else ran there."
    )
    return Drawing(picture, caption)
