"""Performance profiles: the share of runs above each score."""

from __future__ import annotations

import numpy as np

from metadiffuser.reporting.captions import join, sample_sizes
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.labels import OWN
from metadiffuser.reporting.panels import COLUMNS, DASHES, shared_legend, titled_panels
from metadiffuser.reporting.registry import Drawing, figure
from metadiffuser.reporting.rows import family_heading, few_shot_rows

LEGEND_COLUMNS = 4
POINTS = 131  # thresholds of a profile
LOWEST, HIGHEST = -20.0, 110.0  # scores that profiles start at, and that they reach at least
VARIANTS = ("--", ":")  # dashes of a method's second and third cell, in the order of table 1


@figure("performance_profiles", title="Performance profiles", section="Main result", place=6)
def performance_profiles(evidence: Evidence) -> Drawing:
    """Draw the share of runs above each normalised score, one line a row of table 1 and one panel a family."""
    picture, panels = titled_panels([family_heading(evidence, family) for family in evidence.shown])
    dashes = {name: DASHES[place % len(DASHES)] for place, name in enumerate(evidence.labels.baselines)}
    for family, panel in zip(evidence.shown, panels, strict=True):
        members = evidence.everything[evidence.everything["family"] == family]
        top = max(HIGHEST, float(np.nan_to_num(members["normalised"].max())) + 5.0)
        thresholds = np.linspace(LOWEST, top, POINTS)
        drawn: list[str] = []
        for row in few_shot_rows(evidence):
            found = evidence.cells.profile(family, row.cell, thresholds)
            dash = [dashes.get(row.method, "-"), *VARIANTS][min(drawn.count(row.method), len(VARIANTS))]
            drawn.append(row.method)
            if found is not None:
                colour, own = evidence.labels.method_colour(row.method), row.method == OWN
                width, above = (2.2, 3) if own else (1.3, 2)
                panel.plot(thresholds, found, color=colour, ls=dash, label=row.title, lw=width, zorder=above)
                if row.cell == evidence.own:
                    low, high = evidence.cells.band(family, row.cell, thresholds)
                    panel.fill_between(thresholds, low, high, color=colour, alpha=0.18, linewidth=0)
        panel.set(xlabel="normalised score τ", ylabel="share of runs above τ", ylim=(-0.03, 1.03))
    shared_legend(picture, panels, LEGEND_COLUMNS if len(panels) >= COLUMNS else 2)
    caption = join(
        "Share of the runs on unseen tasks whose normalised score is above τ, mean over training seeds and tasks; a "
        "line that lies above another is better at every score.",
        evidence.intervals().replace("Brackets", "Band, of MetaDiffuser alone"),
        f"{sample_sizes(evidence.sizes, evidence.labels)}.",
    )
    return Drawing(picture, caption)
