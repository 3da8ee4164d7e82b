"""The report: one HTML page that holds all it shows and needs no network."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from metadiffuser.artifacts import read_json
from metadiffuser.errors import InputError
from metadiffuser.reporting import provenance, registry, style
from metadiffuser.reporting.captions import ALL_FAMILIES
from metadiffuser.reporting.labels import OWN, Labels
from metadiffuser.reporting.timings import Timings, duration, read_timings, stage_times
from metadiffuser.reporting.writing import FIGURES, TABLES

TEMPLATE = "report.html.j2"
SIZE_LIMIT = 25_000_000  # bytes: pages beyond it load slowly and are refused by many mail systems
FEW_TASKS = 20  # unseen tasks below which the page warns that they are a small sample of the family
FEW_RUNS = 10  # runs a task below which the page warns that the bootstrap is coarse

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contents:
    """What goes into the page.

    Attributes:
        parameters: the preset's parameters, as a nested mapping; ``report.title`` is the heading.
        tables: folder written by ``make_tables``.
        figures: folder written by ``make_figures``.
        videos: {family: folder written by ``render_rollouts``}.
        timings: timing records of all jobs.
        root: the checkout that the commit is read from.
        remark: shown above the parameters; empty if they are those that the results were made with.
    """

    parameters: Mapping[str, Any]
    tables: Path
    figures: Path
    videos: Mapping[str, Path]
    timings: Sequence[Path]
    root: Path
    remark: str = ""


def data_uri(path: Path, media: str) -> str:
    """Return a file as a data URI. Raises ``InputError`` if it is missing."""
    try:
        return _uri(path.read_bytes(), media)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run the stage that makes it again") from None


def _uri(content: bytes, media: str) -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode('ascii')}"


def _sections(
    index: Mapping[str, Any], pictures: Mapping[str, Any], folder: Path, timings: Timings
) -> list[dict[str, Any]]:
    """Return the tables and figures section by section, in the order of the registry."""
    known = registry.entries(registry.TABLE, registry.FIGURE, registry.TIMED_TABLE, registry.TIMED_FIGURE)
    shown = {table["name"]: {"table": table} for table in index["tables"]}
    for entry in pictures["figures"]:
        shown[entry["name"]] = {"figure": entry | {"uri": data_uri(folder / f"{entry['name']}.svg", "image/svg+xml")}}
    for entry in known:
        if entry.kind == registry.TIMED_TABLE and (table := entry.make(timings)) is not None:
            shown[entry.name] = {"table": table.to_json()}
        if entry.kind == registry.TIMED_FIGURE and (drawing := entry.make(timings)) is not None:
            named = {"name": entry.name, "title": entry.title, "caption": drawing.caption}
            shown[entry.name] = {"figure": named | {"uri": _uri(style.svg(drawing.figure), "image/svg+xml")}}
    sections: dict[str, list[dict[str, Any]]] = {}
    for entry in known:
        if entry.name in shown:
            sections.setdefault(entry.section, []).append(shown.pop(entry.name))
    if shown:  # written by a version that had other tables
        sections["Others"] = list(shown.values())
    return [
        {"title": title, "id": re.sub(r"\W+", "-", title.lower()), "items": items} for title, items in sections.items()
    ]


def trust(sizes: Sequence[Mapping[str, Any]], confidence: float, labels: Labels) -> list[str]:
    """Return what the sample sizes allow to be said, one paragraph each."""
    paragraphs = []
    for size in sizes:
        runs, unseen = size["episodes"] * size["seeds"], size.get("unseen", True)
        text = (
            f"{labels.family(size['family'])}: a score averages {size['tasks']} {'unseen ' if unseen else ''}tasks × "
            f"{size['episodes']} episodes × {size['seeds']} training seed{'s' if size['seeds'] != 1 else ''}, "
            f"{size['tasks'] * runs} episodes in all."
        )
        if not unseen:
            text += (
                " Each of its tasks is a training task, so it shows how well training tasks are recognised, and not "
                f"how a method generalises; it has no part in the average ({ALL_FAMILIES})."
            )
        if runs < FEW_RUNS:
            text += f" With {runs} runs a task the bootstrap is coarse, and its intervals tend to be too narrow."
        if size["unscored"]:
            text += (
                f" {size['unscored']} of the tasks have no normalised score, because their expert is no better than "
                "random; returns count all tasks, scores only the others."
            )
        paragraphs.append(text)
    if any(size["seeds"] == 1 for size in sizes):
        paragraphs.append(
            "One training run says nothing about how much a second training would differ: the intervals then hold "
            "the variation between tasks and between episodes only, and differences of a few points between methods "
            "are not established."
        )
    if any(size["tasks"] < FEW_TASKS and size.get("unseen", True) for size in sizes):
        paragraphs.append(
            f"The {confidence:.0%} intervals also resample tasks. A bootstrap over a few tasks or seeds gives "
            "intervals that tend to be too narrow, and p-values that tend to be too small."
        )
    paragraphs.append(
        "A normalised score of 100 is the return of this project's own behaviour expert on the same task, not an "
        "optimum, and 0 is uniform random action. Where the expert is weak, a high score means little: read the "
        "behaviour table first. Both anchors are means over a number of episodes; their own uncertainty is not in the "
        "intervals."
    )
    paragraphs.append(
        "Published numbers come from other data, tasks, warm-start and seeds. They show the scale; they cannot be "
        "ranked with the measured ones."
    )
    return paragraphs


def _index(folder: Path, name: str, stage: str) -> dict[str, Any]:
    content = read_json(folder / name)
    if not isinstance(content, dict):
        raise InputError(f"{folder / name}: not an index of results; run {stage} again")
    return content


def _videos(folders: Mapping[str, Path], played: Mapping[str, Any], labels: Labels) -> list[dict[str, Any]]:
    """Return the films and film strips of each family; ``played`` has the returns of the filmed episodes."""
    shown = []
    for family, folder in folders.items():
        if not folder.is_dir():
            raise InputError(f"{folder}: missing; run render_rollouts for {family}")
        ends = played.get(family, {})
        films = [
            {"title": film_title(path.stem, ends), "uri": data_uri(path, "video/mp4")} for path in folder.glob("*.mp4")
        ]
        strips = [data_uri(path, "image/png") for path in sorted(folder.glob("*.png"))]
        films.sort(key=lambda film: film["title"])
        shown.append({"family": family, "title": labels.family(family), "films": films, "strips": strips})
    return shown


def film_title(stem: str, ends: Mapping[str, Any]) -> str:
    """Return a film's file name in words, with what its episodes came to where that is known.

    ``task45-dual-vs-none`` is ``Task 45: dual (return -8.1, score 93) vs none (return -9.0, score 87)``.

    Args:
        stem: the file's name without suffix.
        ends: {task: {guide: {"return": R, "score": normalised score or None}}}.
    """
    task, _, rest = stem.partition("-")
    words = re.sub(r"(?<=[a-z])(?=\d)", " ", task).capitalize()
    by_guide = ends.get(task.removeprefix("task"), {})
    parts = []
    for part in rest.split("-vs-") if rest else []:
        said = part.replace("-", " ").replace("_", " ")
        if part in by_guide:
            end = by_guide[part]
            score = "" if end["score"] is None else f", score {end['score']:.0f}"
            said += f" (return {end['return']:.1f}{score})"
        parts.append(said)
    return f"{words}: {' vs '.join(parts)}" if parts else words


def _highlights(listed: Sequence[Mapping[str, Any]], labels: Labels) -> list[dict[str, Any]]:
    """Return MetaDiffuser's score, and its return in each family: the first row of table 1."""
    first = next((table for table in listed if table["name"].startswith("table1") and table["rows"]), None)
    if first is None:
        return []
    colours = {label.title: label.colour for label in labels.families.values()}
    titles = [group["title"] for group in first["groups"] for _ in range(group["span"])]
    cards: dict[str, dict[str, Any]] = {}
    for family, column, cell in zip(titles[1:], first["columns"][1:], first["rows"][0][1:], strict=True):
        if column in ("score", "return"):
            card = {"family": family, "row": first["rows"][0][0]["value"], "return": None}
            card["colour"] = colours.get(family.split(" (")[0], style.PLANNED)
            cards.setdefault(family, card)[column] = cell
    return sorted(cards.values(), key=lambda card: card["family"] != ALL_FAMILIES)


def render(contents: Contents) -> str:
    """Return the page as HTML.

    Raises:
        InputError: a table, figure, video folder or timing record is missing or damaged.
    """
    tables, pictures = _index(contents.tables, TABLES, "make_tables"), _index(contents.figures, FIGURES, "make_figures")
    records = read_timings(contents.timings)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    parameters = contents.parameters
    try:
        labels = Labels.from_json(tables.get("labels", {}), parameters["families"], parameters["baselines"])
        own = parameters["representations"][0]
        timings = Timings(
            records, tables["parameters"], own, labels, tables.get("uses_context", [OWN]), tables.get("scores", {})
        )
        page = environment.get_template(TEMPLATE).render(
            title=parameters["report"]["title"],
            preset=parameters["preset"],
            highlights=_highlights(tables["tables"], labels),
            sections=_sections(tables, pictures, contents.figures, timings),
            videos=_videos(contents.videos, tables["films"], labels),
            trust=trust(tables["sizes"], tables["confidence"], labels),
            parameters=yaml.safe_dump(dict(parameters), sort_keys=False, default_flow_style=None, width=110),
            remark=contents.remark,
            versions=provenance.versions(),
            commit=provenance.commit(contents.root),
            stages=stage_times(records),
            jobs=records,
            machines=sorted({f"{job['machine']}, {job['cores']} cores, {job['device']}" for job in records}),
            finished=max((job["finished"] for job in records), default="unknown"),
        )
    except (LookupError, TypeError, ValueError, AttributeError, TemplateError) as error:
        folders = f"{contents.tables} or {contents.figures}"
        raise InputError(f"{folders}: damaged index ({error}); run make_tables and make_figures again") from None
    size = len(page.encode())
    if size > SIZE_LIMIT:
        _log.warning(
            "report: %.0f MB, more than %.0f; set rendering.tasks, rendering.width or rendering.frames lower",
            size / 1e6,
            SIZE_LIMIT / 1e6,
        )
    return page
