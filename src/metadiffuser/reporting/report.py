"""The report: one HTML page that holds all it shows and needs no network."""

from __future__ import annotations

import base64
import logging
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from metadiffuser.artifacts import read_json
from metadiffuser.errors import InputError
from metadiffuser.reporting import figures, profiles, style, tables
from metadiffuser.reporting.cost import cost_table

TEMPLATE = "report.html.j2"
SIZE_LIMIT = 25_000_000  # bytes: pages beyond it load slowly and are refused by many mail systems
PACKAGES = (
    "metadiffuser",
    "torch",
    "mujoco",
    "gymnasium",
    "minari",
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "snakemake",
    "dvc",
)
RECORD = {"job", "finished", "wall_seconds", "cpu_seconds", "peak_memory_mb", "threads", "device", "cores", "machine"}
TIMES_CAPTION = (
    "Below: wall time of one decision, measured while the study was played, all of its episodes of a setting as one "
    "batch. It depends on the machine and on what else ran there."
)
FEW_TASKS = 20  # unseen tasks below which the page warns that they are a small sample of the family
FEW_RUNS = 10  # runs a task below which the page warns that the bootstrap is coarse

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contents:
    """What goes into the page.

    Attributes:
        title: heading.
        parameters: params.yaml in force, as a nested mapping.
        tables: folder written by ``make_tables``.
        figures: folder written by ``make_figures``.
        videos: {family: folder written by ``render_rollouts``}.
        timings: timing records of all jobs.
        root: the checkout that the commit is read from.
    """

    title: str
    parameters: dict[str, Any]
    tables: Path
    figures: Path
    videos: dict[str, Path]
    timings: Sequence[Path]
    root: Path


def data_uri(path: Path, media: str) -> str:
    """Return a file as a data URI. Raises ``InputError`` if it is missing."""
    try:
        content = base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run the stage that makes it again") from None
    return f"data:{media};base64,{content}"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the results."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def commit(root: Path) -> str:
    """Return the commit of the checkout at ``root`` and whether code or parameters differ from it, else ``unknown``."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return "unknown"
        changed = git("status", "--porcelain", "--", "src", "params.yaml")
        return git("rev-parse", "HEAD") + (" with local changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def read_timings(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Read timing records; what a stage added beyond the clock's own entries is gathered under ``notes``."""
    records = []
    for path in files:
        content = read_json(path)
        if not isinstance(content, dict) or not content.keys() >= RECORD:
            raise InputError(f"{path}: not a timing record; run the stage that writes it again")
        notes = {name: value for name, value in sorted(content.items()) if name not in RECORD}
        records.append({name: content[name] for name in RECORD} | {"notes": notes})
    return records


def stage_times(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the sums of the timing records stage by stage, in the order of the records."""
    sums: dict[str, dict[str, Any]] = {}
    for record in records:
        name = record["job"].split("@")[0]
        total = sums.setdefault(name, {"stage": name, "jobs": 0, "wall": 0.0, "cpu": 0.0, "memory": 0})
        total["jobs"] += 1
        total["wall"] += record["wall_seconds"]
        total["cpu"] += record["cpu_seconds"]
        total["memory"] = max(total["memory"], record["peak_memory_mb"])
    return list(sums.values())


def sampler_times(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return the times of the sampler study: rows of family, sampler, steps, milliseconds (per decision).

    Args:
        records: timing records of ``read_timings``.
    """
    rows = []
    for record in records:
        stage, _, fields = record["job"].partition("@")
        for name, value in record["notes"].items():
            setting = re.fullmatch(r"milliseconds_per_decision_([a-z_]+)_(\d+)", name)
            if stage == "evaluate" and setting:
                rows.append((fields.split("-")[1], setting[1], int(setting[2]), float(value)))
    return pd.DataFrame(rows, columns=["family", "sampler", "steps", "milliseconds"])


def _figures(folder: Path, entries: Sequence[dict[str, Any]], times: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the figures to show; beside that of the sampler study, what its settings cost."""
    shown = []
    for entry in entries:
        figure = entry | {"uris": [data_uri(folder / f"{entry['name']}.svg", "image/svg+xml")]}
        if entry["name"] == figures.SAMPLER_STUDY and len(times):
            content = base64.b64encode(style.svg(profiles.sampler_times(times))).decode("ascii")
            figure["uris"].append(f"data:image/svg+xml;base64,{content}")
            figure["caption"] += f" {TIMES_CAPTION}"
        shown.append(figure)
    return shown


def trust(sizes: Sequence[dict[str, Any]], confidence: float) -> list[str]:
    """Return what the sample sizes allow to be said, one paragraph each."""
    paragraphs = []
    for size in sizes:
        runs = size["episodes"] * size["seeds"]
        text = (
            f"{style.family_title(size['family'])}: a score averages {size['tasks']} unseen tasks × {size['episodes']} "
            f"episodes × {size['seeds']} training seed{'s' if size['seeds'] != 1 else ''}, {size['tasks'] * runs} "
            "episodes in all."
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
            "One training seed says nothing about how much a second training would differ: the intervals then hold the "
            "variation from episode to episode only, and differences of a few points between methods are not "
            "established."
        )
    if any(size["tasks"] < FEW_TASKS for size in sizes):
        paragraphs.append(
            f"The {confidence:.0%} intervals keep the unseen tasks fixed. So few tasks are a small sample of their "
            "family: other tasks drawn from it may score differently, by more than the intervals show."
        )
    paragraphs.append(
        "A normalised score of 100 is the return of this project's own behaviour expert on the same task, not an "
        "optimum, and 0 is uniform random action. Where the expert is weak, a high score means little: read the "
        "behaviour table first. Both anchors are means of the dataset's episodes; their own uncertainty is not in the "
        "intervals."
    )
    paragraphs.append(
        "Published numbers come from other data, tasks, warm-start and seeds. They give the scale, and no ranking "
        "follows from setting them beside the measured ones."
    )
    return paragraphs


def _index(folder: Path, name: str, stage: str) -> dict[str, Any]:
    content = read_json(folder / name)
    if not isinstance(content, dict):
        raise InputError(f"{folder / name}: not an index of results; run {stage} again")
    return content


def _videos(folders: dict[str, Path], played: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the films and film strips of each family; ``played`` tells what the filmed episodes came to."""
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
        shown.append({"family": family, "title": style.family_title(family), "films": films, "strips": strips})
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


def _highlights(listed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return MetaDiffuser's return and score in each family: the first row of table 1."""
    first = next((table for table in listed if table["name"].startswith("table1") and table["rows"]), None)
    if first is None:
        return []
    titles = [group["title"] for group in first["groups"] for _ in range(group["span"])]
    cells: dict[str, dict[str, Any]] = {}
    for family, column, cell in zip(titles[1:], first["columns"][1:], first["rows"][0][1:], strict=True):
        cells.setdefault(family, {"family": family, "row": first["rows"][0][0]["value"]})[column] = cell
    return [card for card in cells.values() if "return" in card]  # the mean over families has a score alone


def render(contents: Contents) -> str:
    """Return the page as HTML.

    Raises:
        InputError: a table, figure, video folder or timing record is missing or damaged.
    """
    table_index = _index(contents.tables, tables.INDEX, "make_tables")
    figure_index = _index(contents.figures, figures.INDEX, "make_figures")
    records = read_timings(contents.timings)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    try:
        own = contents.parameters["representations"][0]
        listed = [*table_index["tables"], cost_table(records, table_index["parameters"], own).to_json()]
        page = environment.get_template(TEMPLATE).render(
            title=contents.title,
            preset=contents.parameters["preset"],
            highlights=_highlights(listed),
            tables=listed,
            figures=_figures(contents.figures, figure_index["figures"], sampler_times(records)),
            videos=_videos(contents.videos, table_index["films"]),
            trust=trust(table_index["sizes"], table_index["confidence"]),
            parameters=yaml.safe_dump(contents.parameters, sort_keys=False, default_flow_style=None, width=110),
            versions=versions(),
            commit=commit(contents.root),
            stages=stage_times(records),
            jobs=records,
            machines=sorted({f"{job['machine']}, {job['cores']} cores, {job['device']}" for job in records}),
            finished=max((job["finished"] for job in records), default="unknown"),
        )
    except (KeyError, TypeError) as error:
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
