"""``metadiffuser compare``: your run beside the committed one, cell by cell."""

from __future__ import annotations

import math
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from metadiffuser import paths
from metadiffuser.artifacts import write_json
from metadiffuser.config.loading import how_to_run
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError, one_line
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.programs import remedy
from metadiffuser.reporting.agreement import (
    KINDS,
    OUTSIDE,
    SAME,
    UNKNOWN,
    WITHIN,
    Agreement,
    agreements,
    read_run,
    read_spread,
    spread,
)
from metadiffuser.reporting.captions import UNTRAINED
from metadiffuser.reporting.labels import OWN

WORDS = {
    SAME: "the same to the last digit",
    WITHIN: "within the spread over seeds",
    OUTSIDE: "outside the spread over seeds, or in one of the runs alone",
    UNKNOWN: "differs, and no spread is known",
}

PARTLY = (
    "Another kind of processor changes every trained method. Where some cells are the same and others are not, the "
    "others are of other code or parameters, or were edited: see 'metadiffuser verify' and 'git diff -- results'."
)


def compare(params: Params, revision: str) -> int:
    """Print how the run in ``results/`` agrees with the committed one; return 1 if a cell lies outside the spread.

    Metrics that no job of the parameters writes, such as those of a seed that was taken out, count in neither.

    Args:
        params: of the preset.
        revision: git revision whose results are compared with.

    Raises:
        InputError: there is no run, or git cannot say what is committed.
    """
    preset = params.preset
    folder, counted = _metrics(preset), {Path(output) for job in dag.jobs(params) for output in job.outputs}
    if not any(path.is_relative_to(folder / "planner") and path.exists() for path in counted):
        raise InputError(f"{folder}: no metrics of an evaluation; run {how_to_run(preset)} first")
    own = read_run(folder, counted)
    for path in sorted(path for kind in KINDS for path in (folder / kind).rglob("*.json") if path not in counted):
        print(f"{path}: not counted, as no job of {preset} writes it")
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = _committed(preset, revision, Path(scratch))
        if unpacked is None:
            print(f"{revision} has no results of {preset}, so there is nothing to compare yours with.")
            return 0
        committed = read_run(unpacked, {Path(scratch) / path for path in counted})
    file = Path(paths.SPREAD.format(preset=preset))
    found = agreements(committed, own, read_spread(file) if file.exists() else {})
    for line in table(found):
        print(line)
    counts = Counter(agreement.verdict for agreement in found)
    said = "; ".join(f"{counts[verdict]} {words}" for verdict, words in WORDS.items() if counts[verdict])
    print(f"{len(found)} cells of {preset} beside those of {revision}: {said}")
    same = {agreement.verdict == SAME for agreement in found if agreement.cell[2] not in UNTRAINED}
    if len(same) > 1:
        print(PARTLY)
    return int(counts[OUTSIDE] > 0)


def table(found: Sequence[Agreement]) -> list[str]:
    """Return the lines of a table of all cells that are not the same; none if all are."""
    rows = [("family", "method", "guide", "context", "committed", "yours", "spread", "")]
    for each in found:
        if each.verdict != SAME:
            family, representation, method, guide, context = each.cell
            name = f"{method} ({representation})" if method == OWN else method
            width = "-" if math.isnan(each.width) else f"+-{each.width:.1f}"
            mark = "OUTSIDE" if each.verdict == OUTSIDE else each.verdict
            rows.append((family, name, guide, context, _score(each.committed), _score(each.own), width, mark))
    if len(rows) == 1:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _score(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def write_spread(preset: str, folders: Sequence[Path]) -> Path:
    """Write the spread file of a preset from the metrics of several runs; return its path.

    Args:
        preset: name of the preset.
        folders: ``metrics`` folders of runs with different root seeds.

    Raises:
        InputError: a folder has no metrics, or the runs do not match.
    """
    runs = [read_run(folder) for folder in folders]
    path = Path(paths.SPREAD.format(preset=preset))
    write_json(
        path, spread(runs, [folder.parent.name if folder.name == "metrics" else folder.name for folder in folders])
    )
    return path


def _metrics(preset: str) -> Path:
    return Path(paths.DATASET_METRICS.format(preset=preset, family="x")).parents[1]


def _committed(preset: str, revision: str, target: Path) -> Path | None:
    """Write the committed metrics of a preset below ``target``; return their folder, None if none are committed."""
    folder = _metrics(preset)
    names = (
        _git(revision, "ls-tree", "-r", "--name-only", "--end-of-options", revision, "--", f"{folder}/")
        .decode()
        .splitlines()
    )
    for name in names:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_git(revision, "show", "--end-of-options", f"{revision}:./{name}"))
    return target / folder if names else None


def _git(revision: str, *words: str) -> bytes:
    """Return what git prints. Raises ``InputError`` if it fails; what it failed at is a revision."""
    try:
        done = subprocess.run(("git", *words), capture_output=True, check=False)
    except FileNotFoundError:
        raise InputError("git: not found; install it, as your results are compared with those in git") from None
    if done.returncode:
        reason = one_line(done.stderr.decode(errors="replace"))
        helps = remedy(reason) or "; name a commit: --with COMMIT"
        raise InputError(f"{revision}: git cannot read it ({reason}){helps}")
    return done.stdout
