"""Copy what the results' tables say into README.md and docs, between markers; ``--check`` only compares.

README.md has the scores of the quick preset's table 1. docs/results.md has that table as it is, scores and verdicts of
the pilot preset, and scores of the laptop preset. The page of a method has the method's numbers in both of these.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from blocks import ROOT, table, update

QUICK = Path("results/quick/tables")
PILOT = Path("results/pilot/tables")
LAPTOP = Path("results/laptop/tables")
SCORE, RETURN = " score", " return"
Row = dict[str, str]


def rows(path: Path) -> list[Row]:
    """Return the rows of a table's CSV."""
    with (ROOT / path).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def interval(row: Row, name: str, mark: str = "") -> str:
    """Return a value with its mark, if it has one, and its bounds."""
    values = [row[key] for key in (name, f"{name} low", f"{name} high")]
    if not all(values):
        return "–"
    mean, low, high = (f"{float(value):z.1f}" for value in values)  # z: no minus before a zero
    return f"{mean}{mark} [{low}, {high}]"


def scores(path: Path) -> str:
    """Return the scores of a table: a row for each method, a column for each family."""
    found = rows(path)
    columns = [name for name in found[0] if name.endswith(SCORE)]
    body = [[row["Method"], *(interval(row, name, row.get(f"{name} mark", "")) for name in columns)] for row in found]
    return table(["Method", *(name.removesuffix(SCORE) for name in columns)], body, numbers=True)


def verdicts(path: Path) -> str:
    """Return the claims of the paper with their verdicts."""
    body = []
    for row in rows(path):
        p = f"{float(row['p (Holm)']):.4f}" if row["p (Holm)"] else "–"
        body.append([row["Claim"], row["Verdict"], interval(row, "Effect"), row["Holds if"], p])
    return table(["Claim", "Verdict", "Effect", "Holds if", "p (Holm)"], body, numbers=True)


def title_of(page: Path) -> str:
    """Return the heading of a method's page, which is the method's display name."""
    return page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def method(title: str, tables: Path) -> str | None:
    """Return a method's results, family by family: on unseen tasks by its warm-start data, and on training tasks.

    Args:
        title: the method's display name.
        tables: folder of a preset's tables.

    Returns:
        None if the preset has no such method.
    """
    unseen = [row for row in rows(tables / "table2_warm_start.csv") if row["Method"] == title]
    trained = [row for row in rows(tables / "training_tasks.csv") if row["Method"] == title]
    if not unseen or not trained:
        return None
    families = [key.removesuffix(RETURN) for key in unseen[0] if key.endswith(RETURN)]
    first = unseen[0]
    body = [[f"return, {first['Warm-start']} context", *(interval(first, f + RETURN) for f in families)]]
    body += [[f"score, {row['Warm-start']} context", *(interval(row, f + SCORE) for f in families)] for row in unseen]
    known = [family.split(" (")[0] for family in families]  # a family without an unseen task says so in its heading
    body += [["score on training tasks", *(interval(row, f + SCORE) for f in known)] for row in trained]
    return table(["", *families], body, numbers=True)


def blocks_of(page: Path) -> dict[str, str]:
    """Return {block: what belongs into it} of a method's page: its results in each preset that has the method."""
    found = {name: method(title_of(page), tables) for name, tables in (("pilot", PILOT), ("laptop", LAPTOP))}
    return {name: content for name, content in found.items() if content is not None}


def wanted() -> dict[Path, dict[str, str]]:
    """Return {page: {block: what belongs into it}}."""
    results = {
        "results": (ROOT / QUICK / "table1_few_shot.md").read_text(encoding="utf-8").strip(),
        "pilot": scores(PILOT / "table1_few_shot.csv"),
        "verdicts": verdicts(PILOT / "verdicts.csv"),
        "laptop": scores(LAPTOP / "table1_few_shot.csv"),
    }
    pages = {ROOT / "README.md": {"summary": scores(QUICK / "table1_few_shot.csv")}, ROOT / "docs/results.md": results}
    methods = sorted((ROOT / "docs" / "methods").glob("*.md"))
    return pages | {page: blocks_of(page) for page in methods}


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` return 1 if one lags behind a table."""
    try:
        pages = wanted()
    except FileNotFoundError as error:
        sys.stderr.write(
            f"{error.filename}: missing; run the pipeline with that preset, or 'git checkout -- results'\n"
        )
        return 1
    return update(pages, arguments, "the results' tables", "make readme")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
