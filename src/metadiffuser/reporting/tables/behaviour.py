"""The data's policies: returns by family, split and quality, against the exact optimum where there is one."""

from __future__ import annotations

from metadiffuser.reporting import captions, style
from metadiffuser.reporting.captions import join
from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.layout import Cell, Column, Table
from metadiffuser.reporting.registry import table
from metadiffuser.reporting.scores import read_optimum
from metadiffuser.reporting.summary import Cells


@table("behaviour", title="Behaviour policies", section="What the scores rest on", place=2)
def behaviour_policies(evidence: Evidence) -> Table:
    """One row a family, split and quality."""
    optima = read_optimum(evidence.dataset)
    rows: list[tuple[Cell, ...]] = []
    counts = []
    for (family, split), group in evidence.behaviour.groupby(["family", "split"], sort=False):
        optimum = optima[(optima["family"] == family) & (optima["split"] == split)]
        best = float(optimum["optimum"].mean()) if len(optimum) else None
        title = evidence.labels.family(str(family))
        cells = Cells(
            group.assign(seed=0),
            evidence.bootstrap,
            keys=("quality",),
            fixed=evidence.apart,
            stream=("behaviour", str(split)),
        )
        for quality in style.ordered(group["quality"], style.QUALITIES):
            mean, score = (cells.mean(str(family), (quality,), column) for column in ("return", "normalised"))
            gap = 100 * (best - mean.value) / abs(best) if best and mean else None
            rows.append((title, style.SPLITS[str(split)], quality, mean, score, best, gap))
        tasks = group["task"].nunique()
        episodes = len(group) // tasks // group["quality"].nunique()
        counts.append(f"{title}, {style.SPLITS[str(split)]}: {tasks} tasks × {episodes} episodes")
    caption = join(
        "Behaviour policies that the data comes from, by split and quality: mean episode return over tasks, normalised "
        "score, and where the exact optimum is known how far they stay below it, relative to it.",
        f"Brackets: {evidence.bootstrap.confidence:.0%} hierarchical bootstrap interval over tasks and episodes; the "
        "policies are kept as they are, so how much another training of them would differ is not in it.",
        f"{'; '.join(counts)} per quality.",
        captions.anchors(evidence.imported, evidence.labels),
    )
    names = (Column("Family", words=True), Column("Tasks", words=True), Column("Policy", words=True))
    columns = (*names, *map(Column, ("return", "score", "optimum", "gap to optimum (%)")))
    return Table(columns, rows, caption, evidence.digits)
