"""What the scripts that write parts of pages share: tables in Markdown, and blocks between markers."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
Blocks = Mapping[str, str]  # {name of a block: what belongs between its markers}


def table(head: Sequence[object], rows: Sequence[Sequence[object]], numbers: bool = False) -> str:
    """Return a table in Markdown; with ``numbers``, all columns but the first are to the right."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, *rows)]
    rule = f"| :-- |{' --: |' * (len(head) - 1)}" if numbers else f"|{'---|' * len(head)}"
    return "\n".join([lines[0], rule, *lines[1:]])


def filled(page: str, blocks: Blocks, name: str) -> str:
    """Return ``page`` with its blocks filled.

    Raises:
        SystemExit: ``page``, which is called ``name``, lacks a marker, or has a block that nothing fills.
    """
    if unfilled := sorted(set(re.findall(r"<!-- (\w+):begin -->", page)) - blocks.keys()):
        raise SystemExit(f"{name}: there is nothing to fill the block '{unfilled[0]}' with")
    for block, content in blocks.items():
        begin, end = f"<!-- {block}:begin -->", f"<!-- {block}:end -->"
        if (page.count(begin), page.count(end)) != (1, 1):
            raise SystemExit(f"{name}: expected the markers {begin} and {end} once")
        before, rest = page.split(begin)
        page = f"{before}{begin}\n\n{content}\n\n{end}{rest.split(end)[1]}"
    return page


def update(pages: Mapping[Path, Blocks], arguments: Sequence[str], source: str, remedy: str) -> int:
    """Write the pages, or with ``--check`` only compare them.

    Args:
        pages: {page: its blocks}.
        arguments: of the command line.
        source: what the blocks are made from, in words.
        remedy: the command that writes them.

    Returns:
        The exit code: 1 if ``--check`` finds a page that differs.
    """
    behind = []
    for path, blocks in pages.items():
        page = path.read_text(encoding="utf-8")
        wanted = filled(page, blocks, path.name)
        if wanted != page:
            behind.append(path)
            if list(arguments) != ["--check"]:
                path.write_text(wanted, encoding="utf-8")
    if list(arguments) != ["--check"]:
        return 0
    for path in behind:
        sys.stderr.write(f"{path.relative_to(ROOT)} differs from {source}; run '{remedy}'\n")
    return int(bool(behind))
