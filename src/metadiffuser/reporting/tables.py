"""The tables of the method's section 4, and those that show what its scores rest on.

A table is a function from the tidy tables of ``scores`` and ``summary`` to a ``Table``. Rows are what the
metrics hold: a new method, guide or context needs no change here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from metadiffuser.artifacts import write_json, write_text
from metadiffuser.evaluation.statistics import Bootstrap
from metadiffuser.reporting import style
from metadiffuser.reporting.layout import Cell, Column, Table, number, to_csv, to_latex, to_markdown
from metadiffuser.reporting.published import Published, Result
from metadiffuser.reporting.scores import CELL
from metadiffuser.reporting.summary import (
    Size,
    anchors_text,
    compare,
    estimate,
    oracle,
    reference_cell,
    sizes,
    sizes_text,
    summarise,
)

INDEX = "tables.json"
FORMATS: dict[str, Callable[[Table], str]] = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex}

QUALITIES = ("expert", "medium", "random", "mixed")
SPLITS = {"train": "training", "test": "unseen"}
NORMALISED = "Normalised score = 100 (R - R_random) / (R_expert - R_random), anchors measured on the same task."


@dataclass(frozen=True)
class Evidence:
    """What the tables are made of; see ``scores`` for the columns.

    Attributes:
        scores: episodes of the evaluation, of one representation.
        behaviour: episodes of the dataset.
        optimum: exact optima, where known.
        plan_errors: planned against executed states, of one representation.
        diagnostics: probes and model errors of every context encoder.
        published: the reference file.
        imported: {family: how its episodes got their labels} for families whose data were imported.
    """

    scores: pd.DataFrame
    behaviour: pd.DataFrame
    optimum: pd.DataFrame
    plan_errors: pd.DataFrame
    diagnostics: pd.DataFrame
    published: Published
    imported: Mapping[str, str]


@dataclass(frozen=True)
class _Row:
    """A row of scores: its name and the cell it shows."""

    title: str
    method: str
    guide: str
    context: str


def _families(frame: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(frame["family"]))


def _protocol(evidence: Evidence, bootstrap: Bootstrap) -> str:
    text = (
        f"Undiscounted episode return on unseen tasks; brackets: {bootstrap.confidence:.0%} stratified bootstrap "
        f"interval (strata: tasks; {bootstrap.samples} resamples of the runs within a task). {NORMALISED} "
        f"{sizes_text(sizes(evidence.scores))}. {anchors_text(evidence.imported)}"
    )
    return text.rstrip()


def _score_columns(families: Sequence[str], *titles: str) -> tuple[Column, ...]:
    return tuple(Column(title, style.family_title(family)) for family in families for title in titles)


def _cells(summary: pd.DataFrame, row: _Row, families: Sequence[str], *names: str) -> list[Cell]:
    cells: list[Cell] = []
    for family in families:
        wanted = (summary[["family", *CELL]] == [family, row.method, row.guide, row.context]).all(axis=1)
        found = summary[wanted]
        cells += [found.iloc[0][name] if len(found) else None for name in names]
    return cells


def few_shot_rows(scores: pd.DataFrame) -> list[_Row]:
    """Return the rows of table 1: MetaDiffuser, other methods, the wrong task's context, and the expert."""
    guide, context = reference_cell(scores)
    present = set(map(tuple, scores[list(CELL)].drop_duplicates().to_numpy()))
    rows = [_Row(f"MetaDiffuser ({style.guide_name(guide)} guide)", "metadiffuser", guide, context)]
    others = {cell for cell in present if cell[0] != "metadiffuser" and cell[2] in (context, "none")}
    for method in style.ordered((cell[0] for cell in others), style.METHOD_NAMES):
        variants = sorted(cell for cell in others if cell[0] == method)
        for _, variant, source in variants:
            suffix = f" ({style.guide_name(variant)} guide)" if len(variants) > 1 else ""
            rows.append(_Row(style.method_name(method) + suffix, method, variant, source))
    if ("metadiffuser", guide, "wrong_task") in present:
        rows.insert(1, _Row("MetaDiffuser, another task's context", "metadiffuser", guide, "wrong_task"))
    return [*rows, _Row(style.method_name("expert"), "expert", "none", "none")]


def few_shot(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """Table 1: few-shot return on unseen tasks."""
    families = _families(evidence.scores)
    _, context = reference_cell(evidence.scores)
    summary = summarise(pd.concat([evidence.scores, oracle(evidence.behaviour)]), bootstrap)
    rows = [
        (row.title, *_cells(summary, row, families, "return", "normalised", "iqm"))
        for row in few_shot_rows(evidence.scores)
    ]
    caption = (
        f"Table 1. Few-shot return on unseen tasks, warm-start context from one {style.context_name(context)} episode "
        f"of the task. {_protocol(evidence, bootstrap)} IQM: interquartile mean of the normalised scores of all runs. "
        "The behaviour expert, an oracle that was trained on the tasks, is the mean of its episodes in the dataset"
        f"{'; of imported data, the mean of the episodes that count as expert' if evidence.imported else ''}."
    )
    columns = (Column("Method", words=True), *_score_columns(families, "return", "score", "IQM"))
    return Table("table1_few_shot", "Few-shot return on unseen tasks", caption, columns, tuple(rows), digits)


def published_results(evidence: Evidence, digits: int) -> Table:
    """The published numbers, apart from ours: each with its protocol and source."""
    published = evidence.published
    known = list(style.FAMILY_COLOURS)
    families = style.ordered((name for entry in published.entries for name in entry.returns), known)
    rows = []
    for entry in published.entries:
        source = f"{entry.source}{', second-hand' if entry.second_hand else ''}"
        returns = (_result(entry.returns.get(family), digits) for family in families)
        rows.append((entry.method, *returns, entry.protocol, source))
    notes = " ".join(published.notes[family] for family in families if family in published.notes)
    caption = (
        "Published returns, beside table 1 for scale only: data, tasks, warm-start and seeds differ from ours and from "
        f"row to row, so no number here can be compared with one there as like with like. {notes}"
    )
    titles = (Column(style.family_title(family), "Published return") for family in families)
    columns = (
        Column("Method (published)", words=True),
        *titles,
        Column("Protocol", words=True),
        Column("Source", words=True),
    )
    return Table(
        "table1_published", "Published results, under other protocols", caption.strip(), columns, tuple(rows), digits
    )


def _result(result: Result | None, digits: int) -> str | None:
    if result is None:
        return None
    spread = "" if result.spread is None else f" ± {number(result.spread, digits)}"
    return f"{number(result.mean, digits)}{spread}"


def warm_start(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """Table 2: robustness to where the warm-start context comes from."""
    guide, _ = reference_cell(evidence.scores)
    scores = evidence.scores[(evidence.scores["method"] == "metadiffuser") & (evidence.scores["guide"] == guide)]
    families = _families(scores)
    summary = summarise(scores, bootstrap)
    contexts = style.ordered(scores["context"], style.CONTEXT_NAMES)
    rows = []
    for name in contexts:
        row = _Row(style.context_name(name), "metadiffuser", guide, name)
        rows.append((row.title, *_cells(summary, row, families, "return", "normalised", "iqm")))
    caption = (
        f"Table 2. MetaDiffuser ({style.guide_name(guide)} guide) by the warm-start data its context is made of. "
        "Expert, medium, random: one episode of that quality on the unseen task; zero-shot: nothing but what the agent "
        "has gathered itself so far in the episode; wrong task: an expert episode of another task. "
        f"{_protocol(evidence, bootstrap)}"
    )
    columns = (Column("Warm-start", words=True), *_score_columns(families, "return", "score", "IQM"))
    return Table("table2_warm_start", "Robustness to the warm-start data", caption, columns, tuple(rows), digits)


def guide_ablation(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """Table 4: ablation of the guide, with the inconsistency of planned and executed states."""
    _, context = reference_cell(evidence.scores)
    scores = evidence.scores[(evidence.scores["method"] == "metadiffuser") & (evidence.scores["context"] == context)]
    families = _families(scores)
    summary = summarise(scores, bootstrap)
    rows = []
    for guide in style.ordered(scores["guide"], style.GUIDE_NAMES):
        row = _Row(style.guide_name(guide), "metadiffuser", guide, context)
        cells: list[Cell] = []
        for family in families:
            cells += _cells(summary, row, [family], "return", "normalised")
            cells += _errors_ahead(evidence.plan_errors, row, family)
        rows.append((row.title, *cells))
    reach = "; ".join(
        f"{style.family_title(str(family))}: {group['ahead'].max()}"
        for family, group in evidence.plan_errors.groupby("family", sort=False)
    )
    caption = (
        f"Table 4. MetaDiffuser by the terms of its guide, context from one {style.context_name(context)} episode. "
        "Error at n: RMSE of the planned against the executed state n steps ahead, in normalised units, mean over seeds"
        f"; last: at the plan's end{f' ({reach})' if reach else ''}. {_protocol(evidence, bootstrap)}"
    )
    columns = [Column("Guide", words=True)]
    for family in families:
        columns += _score_columns([family], "return", "score")
        columns += [Column(f"error at {ahead}", style.family_title(family), 3) for ahead in ("1", "5", "last")]
    return Table("table4_guide", "Ablation of the guide", caption, tuple(columns), tuple(rows), digits)


def _errors_ahead(errors: pd.DataFrame, row: _Row, family: str) -> list[Cell]:
    """Return the plan error 1 and 5 steps ahead and at the plan's end, each averaged over seeds."""
    wanted = (errors[["family", *CELL]] == [family, row.method, row.guide, row.context]).all(axis=1)
    found = errors[wanted]
    parts = (found[found["ahead"] == ahead] for ahead in (1, 5, found["ahead"].max()))
    return [float(part["error"].mean()) if len(part) else None for part in parts]


def comparisons(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """MetaDiffuser's reference cell against every other cell, on the same tasks."""
    guide, context = reference_cell(evidence.scores)
    compared = compare(evidence.scores, bootstrap)
    families = _families(evidence.scores)
    rows = []
    for method, variant, source in compared[list(CELL)].drop_duplicates().itertuples(index=False, name=None):
        row = _Row(_cell_title(method, variant, source, guide, context), method, variant, source)
        rows.append((row.title, *_cells(compared, row, families, "difference", "improvement")))
    caption = (
        f"MetaDiffuser ({style.guide_name(guide)} guide, {style.context_name(context)} context) against the row: "
        "difference of mean returns (positive: MetaDiffuser is better), and the probability that one of its runs beats "
        f"one of the row's on the same task (0.5: no difference). {_protocol(evidence, bootstrap)}"
    )
    columns = [Column("Against", words=True)]
    for family in families:
        columns += [
            Column("difference", style.family_title(family)),
            Column("P(better)", style.family_title(family), 2),
        ]
    return Table("comparisons", "Pairwise comparisons", caption, tuple(columns), tuple(rows), digits)


def _cell_title(method: str, guide: str, context: str, own_guide: str, own_context: str) -> str:
    """Return a cell's name, saying only how it departs from MetaDiffuser's own."""
    if method != "metadiffuser":
        told = f", context {style.context_name(context)}" if context not in (own_context, "none") else ""
        return style.method_name(method) + told
    parts = [f"guide {style.guide_name(guide)}"] if guide != own_guide else []
    parts += [f"context {style.context_name(context)}"] if context != own_context else []
    return f"MetaDiffuser, {', '.join(parts)}"


def behaviour_policies(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> Table:
    """The data's policies: returns by family, split and quality, against the exact optimum where there is one."""
    rows: list[tuple[Cell, ...]] = []
    counts = []
    for (family, split), group in evidence.behaviour.groupby(["family", "split"], sort=False):
        optimum = evidence.optimum[(evidence.optimum["family"] == family) & (evidence.optimum["split"] == split)]
        best = float(optimum["optimum"].mean()) if len(optimum) else None
        name = f"{style.family_title(str(family))}, {SPLITS[str(split)]}"
        for quality in style.ordered(group["quality"], QUALITIES):
            part = group[group["quality"] == quality]
            stream = ("behaviour", str(family), str(split), quality)
            mean = estimate(part, "return", bootstrap, *stream)
            score = estimate(part, "normalised", bootstrap, *stream)
            gap = 100 * (best - mean.value) / abs(best) if best and mean else None
            rows.append((name, quality, mean, score, best, gap))
        tasks = group["task"].nunique()
        counts.append(f"{name} {tasks} tasks × {len(group) // tasks // group['quality'].nunique()} episodes")
    runs = "one behaviour training run each" + (", none where imported" if evidence.imported else "")
    caption = (
        "Behaviour policies that the data comes from, by split and quality: mean episode return over tasks, normalised "
        "score, and where the exact optimum is known how far they stay below it, relative to it. Brackets: "
        f"{bootstrap.confidence:.0%} stratified bootstrap interval over episodes. {'; '.join(counts)} per quality; "
        f"{runs}. {anchors_text(evidence.imported)}"
    ).rstrip()
    names = (Column("Family, tasks", words=True), Column("Policy", words=True))
    columns = (*names, *map(Column, ("return", "score", "optimum", "gap to optimum (%)")))
    return Table("behaviour", "Behaviour policies", caption, columns, tuple(rows), digits)


def context_diagnostics(evidence: Evidence) -> Table:
    """How well z carries the task, and how well the models predict with it."""
    rows: list[tuple[Cell, ...]] = []
    names = list(evidence.diagnostics.columns[3:])
    counts = []
    for (family, representation), group in evidence.diagnostics.groupby(["family", "representation"], sort=False):
        title = style.family_title(str(family))
        rows.append((title, str(representation), *(float(group[name].mean()) for name in names)))
        counts.append(f"{title} {len(group)} seed{'s' if len(group) != 1 else ''}")
    caption = (
        "Context encoder and its models. Probe R²: share of the variance of the task's parameters that a linear probe "
        "reads from z, fitted on training tasks. Reward and dynamics: RMSE of one step's prediction in normalised "
        f"units. Mean over training seeds ({', '.join(dict.fromkeys(counts))})."
    )
    columns = [Column("Family", words=True), Column("Representation", words=True)]
    for group_title in ("Probe R²", "Reward RMSE", "Dynamics RMSE"):
        columns += [Column("training tasks", group_title), Column("unseen tasks", group_title)]
    return Table("context", "Task representation", caption, tuple(columns), tuple(rows), 3)


def all_tables(evidence: Evidence, bootstrap: Bootstrap, digits: int) -> list[Table]:
    """Return every table, in the order of the report."""
    return [
        few_shot(evidence, bootstrap, digits),
        published_results(evidence, 1),
        warm_start(evidence, bootstrap, digits),
        guide_ablation(evidence, bootstrap, digits),
        comparisons(evidence, bootstrap, digits),
        behaviour_policies(evidence, bootstrap, digits),
        context_diagnostics(evidence),
    ]


def write_tables(folder: Path, tables: Sequence[Table], found: Sequence[Size], confidence: float) -> None:
    """Write each table as CSV, Markdown and LaTeX, and the index that the report is made from."""
    for table in tables:
        for suffix, render in FORMATS.items():
            write_text(folder / f"{table.name}{suffix}", render(table))
    index = {
        "tables": [table.to_json() for table in tables],
        "sizes": [size.to_json() for size in found],
        "confidence": confidence,
    }
    write_json(folder / INDEX, index)
