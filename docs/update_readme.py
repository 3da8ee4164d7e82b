"""Copy the quick preset's main table into README.md, between its markers; ``--check`` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path("results/quick/tables/table1_few_shot.md")
BEGIN = "<!-- results:begin -->\n"
END = "<!-- results:end -->"


def filled(readme: str, table: str) -> str:
    """Return ``readme`` with ``table`` between the markers."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table.strip()}\n\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write README.md, or with ``--check`` return 1 if it lags behind the table."""
    path = ROOT / "README.md"
    if not (ROOT / TABLE).is_file():
        sys.stderr.write(f"{TABLE}: missing; run 'make reproduce' with the quick preset\n")
        return 1
    readme = path.read_text(encoding="utf-8")
    wanted = filled(readme, (ROOT / TABLE).read_text(encoding="utf-8"))
    if arguments == ["--check"]:
        if readme != wanted:
            sys.stderr.write(f"README.md differs from {TABLE}; run 'make readme'\n")
        return int(readme != wanted)
    path.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
