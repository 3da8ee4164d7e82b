"""MetaDiffuser's score by warm-start data and by guide, as bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from metadiffuser.reporting import style
from metadiffuser.reporting.captions import anchors, join, sample_sizes
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.labels import OWN
from metadiffuser.reporting.panels import Bar, score_bars
from metadiffuser.reporting.registry import Drawing, figure
from metadiffuser.reporting.rows import family_heading


@figure("scores_by_warm_start", title="Score by warm-start data", section="Warm-start data", place=2)
def scores_by_warm_start(evidence: Evidence) -> Drawing:
    """MetaDiffuser's own guide, every context."""
    guide, _ = evidence.reference
    own = evidence.scores[(evidence.scores["method"] == OWN) & (evidence.scores["guide"] == guide)]
    contexts = style.ordered(own["context"], style.CONTEXT_NAMES)
    cells = {context: (OWN, guide, context) for context in contexts}
    caption = f"Normalised score of MetaDiffuser ({style.guide_name(guide)} guide) by the context's origin."
    panels = _panels(evidence, cells, style.context_name, style.CONTEXT_COLOURS)
    return Drawing(score_bars(panels), join(caption, spread(evidence)))


@figure("scores_by_guide", title="Score by guide", section="Guide", place=3)
def scores_by_guide(evidence: Evidence) -> Drawing:
    """MetaDiffuser's own context, every guide."""
    _, context = evidence.reference
    own = evidence.scores[(evidence.scores["method"] == OWN) & (evidence.scores["context"] == context)]
    cells = {guide: (OWN, guide, context) for guide in style.ordered(own["guide"], style.GUIDE_NAMES)}
    caption = f"Normalised score of MetaDiffuser ({style.context_name(context)} context) by the guide's terms."
    panels = _panels(evidence, cells, style.guide_name, style.GUIDE_COLOURS)
    return Drawing(score_bars(panels), join(caption, spread(evidence)))


def spread(evidence: Evidence, dots: str = "tasks") -> str:
    """Return what captions of bars say of intervals, dots and sizes."""
    return join(
        f"Bars: mean over unseen tasks; dots: {dots}; 0 is the random policy, 100 the behaviour expert.",
        evidence.intervals().replace("Brackets", "Whiskers"),
        f"{sample_sizes(evidence.sizes, evidence.labels)}.",
        anchors(evidence.imported, evidence.labels),
    )


def _panels(
    evidence: Evidence,
    cells: Mapping[str, tuple[str, str, str]],
    name: Callable[[str], str],
    colours: dict[str, str],
) -> dict[str, list[Bar]]:
    panels: dict[str, list[Bar]] = {}
    for family in evidence.shown:
        bars = panels.setdefault(family_heading(evidence, family), [])
        for key, cell in cells.items():
            value = evidence.cells.mean(family, cell, "normalised")
            if value is not None:
                tasks = np.array(list(evidence.cells.by_task(family, cell).values()))
                bars.append(Bar(name(key).replace(" ", "\n"), style.colour(key, colours), value, tasks))
    return panels
