"""Copy the results' main tables into README.md, between their markers; ``--check`` only compares.

The quick preset's table 1 is copied as it is; of the laptop preset's, which has six families, the scores alone.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCORE = " score"


def whole(path: Path) -> str:
    """Return a table's Markdown."""
    return path.read_text(encoding="utf-8").strip()


def scores(path: Path) -> str:
    """Return the scores of a table's CSV as Markdown: a row for each method, a column for each family."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = [name for name in rows[0] if name.endswith(SCORE)]
    lines = [
        ["Method", *(name.removesuffix(SCORE) for name in columns)],
        [":--", *("--:" for _ in columns)],
        *([row["Method"], *(interval(row, name) for name in columns)] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def interval(row: dict[str, str], name: str) -> str:
    """Return a score with its bounds."""
    values = [row[key] for key in (name, f"{name} low", f"{name} high")]
    if not all(values):
        return "–"
    mean, low, high = (f"{float(value):.1f}" for value in values)
    return f"{mean} [{low}, {high}]"


BLOCKS: dict[str, tuple[Path, Callable[[Path], str]]] = {
    "results": (Path("results/quick/tables/table1_few_shot.md"), whole),
    "laptop": (Path("results/laptop/tables/table1_few_shot.csv"), scores),
}


def filled(readme: str, name: str, table: str) -> str:
    """Return ``readme`` with ``table`` between the markers of block ``name``."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    before, rest = readme.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{table}\n\n{end}{after}"


def main(arguments: list[str]) -> int:
    """Write README.md, or with ``--check`` return 1 if it lags behind a table."""
    path = ROOT / "README.md"
    readme = wanted = path.read_text(encoding="utf-8")
    for name, (table, shown) in BLOCKS.items():
        if not (ROOT / table).is_file():
            sys.stderr.write(f"{table}: missing; run the pipeline with that preset, or 'git checkout -- results'\n")
            return 1
        wanted = filled(wanted, name, shown(ROOT / table))
    if arguments == ["--check"]:
        if readme != wanted:
            sys.stderr.write("README.md differs from the results' tables; run 'make readme'\n")
        return int(readme != wanted)
    path.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
