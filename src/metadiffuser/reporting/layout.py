"""A table and its renderings: CSV, Markdown, LaTeX, and the record that the report is made from."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metadiffuser.reporting.summary import Estimate

Cell = str | float | Estimate | None

EMPTY = "–"
CSV_DIGITS = 6

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "²": r"$^2$",
    "–": "--",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "†": r"$^\dagger$",
}


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: heading.
        group: heading that neighbouring columns share, such as a family; empty for none.
        digits: decimals of its numbers; None for the table's.
        words: whether it holds words, set flush left, and not numbers.
    """

    title: str
    group: str = ""
    digits: int | None = None
    words: bool = False


@dataclass(frozen=True)
class Table:
    """A table, ready to be written.

    Attributes:
        columns: headings, the first column being the row's name.
        rows: one cell a column.
        caption: what is shown, under which protocol, on how many samples.
        digits: decimals of numbers.
        name: stem of its files; the decorator fills it in.
        title: heading in the report; the decorator fills it in.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str
    digits: int
    name: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"expected {len(self.columns)} cells, got {len(row)} in table {self.name}")

    def texts(self) -> list[list[tuple[str, str]]]:
        """Return (value, interval) of every cell as text."""
        return [
            [_texts(cell, self.digits if column.digits is None else column.digits) for cell, column in self._pairs(row)]
            for row in self.rows
        ]

    def _pairs(self, row: Sequence[Cell]) -> list[tuple[Cell, Column]]:
        return list(zip(row, self.columns, strict=True))

    def groups(self) -> list[tuple[str, int]]:
        """Return (heading, number of columns) of the upper row of headings."""
        return [(name, len(list(run))) for name, run in itertools.groupby(column.group for column in self.columns)]

    def to_json(self) -> dict[str, Any]:
        """Return the record that the report renders."""
        return {
            "name": self.name,
            "title": self.title,
            "caption": self.caption,
            "groups": [{"title": title, "span": span} for title, span in self.groups()],
            "columns": [column.title for column in self.columns],
            "words": [column.words for column in self.columns],
            "rows": [[{"value": value, "interval": interval} for value, interval in row] for row in self.texts()],
        }


def number(value: float, digits: int) -> str:
    """Return ``value`` with ``digits`` decimals, never ``-0``."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _texts(cell: Cell, digits: int) -> tuple[str, str]:
    if isinstance(cell, str):
        return cell, ""
    if isinstance(cell, Estimate):
        value = number(cell.value, digits) + cell.mark
        if math.isnan(cell.low):
            return value, ""
        return value, f"[{number(cell.low, digits)}, {number(cell.high, digits)}]"
    if cell is None or math.isnan(cell):
        return EMPTY, ""
    return number(cell, digits), ""


def _joined(column: Column) -> str:
    return f"{column.group} {column.title}".strip()


def to_csv(table: Table) -> str:
    """Return the table as CSV; an estimate takes three columns: value, low, high, and a fourth if one has a mark."""
    width = [max((_csv_width(row[place]) for row in table.rows), default=1) for place in range(len(table.columns))]
    header: list[str] = []
    for column, columns in zip(table.columns, width, strict=True):
        name = _joined(column)
        header += [name, f"{name} low", f"{name} high", f"{name} mark"][:columns]
    lines = [header]
    for row in table.rows:
        line: list[str] = []
        for cell, columns in zip(row, width, strict=True):
            line += [_csv_value(value) for value in _csv_values(cell)[:columns]]
        lines.append(line)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def _csv_width(cell: Cell) -> int:
    return 1 if not isinstance(cell, Estimate) else 4 if cell.mark else 3


def _csv_values(cell: Cell) -> tuple[str | float | None, ...]:
    return (cell.value, cell.low, cell.high, cell.mark) if isinstance(cell, Estimate) else (cell, None, None, None)


def _csv_value(value: str | float | None) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or math.isnan(value) else number(value, CSV_DIGITS)


def _markdown(text: str) -> str:
    return re.sub(r"([\\|<*_`])", r"\\\1", text.replace("\n", " "))


def to_markdown(table: Table) -> str:
    """Return the table in Markdown, its caption below."""
    lines = [
        [_markdown(_joined(column)) for column in table.columns],
        [":--" if column.words else "--:" for column in table.columns],
        *([_markdown(f"{value} {interval}".strip()) for value, interval in row] for row in table.texts()),
    ]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"### {_markdown(table.title)}\n\n{body}\n\n{_markdown(table.caption)}\n"


def latex_escape(text: str) -> str:
    """Return ``text`` for LaTeX's text mode."""
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_cell(value: str, interval: str) -> str:
    def signed(text: str) -> str:
        return re.sub(r"(?<![\w.])-(?=\d)", "$-$", latex_escape(text))

    return f"{signed(value)} {{\\footnotesize {signed(interval)}}}" if interval else signed(value)


def to_latex(table: Table) -> str:
    r"""Return a ``table`` environment (packages booktabs and graphicx), scaled to the width of the text."""
    groups = table.groups()
    lines = []
    if any(title for title, _ in groups):
        titles = [rf"\multicolumn{{{span}}}{{c}}{{{latex_escape(title)}}}" for title, span in groups]
        lines.append(" & ".join(titles) + r" \\")
        edges = list(itertools.accumulate((span for _, span in groups), initial=1))
        lines += [
            rf"\cmidrule(lr){{{first}-{end - 1}}}"
            for (title, _), (first, end) in zip(groups, itertools.pairwise(edges), strict=True)
            if title
        ]
    lines.append(" & ".join(latex_escape(column.title) for column in table.columns) + r" \\")
    body = [" & ".join(_latex_cell(*texts) for texts in row) + r" \\" for row in table.texts()]
    alignment = "".join("l" if column.words else "r" for column in table.columns)
    content = "\n".join([r"\toprule", *lines, r"\midrule", *body, r"\bottomrule"])
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{latex_escape(table.caption)}}}\n\\label{{tab:{table.name.replace('_', '-')}}}\n"
        "\\resizebox{\\textwidth}{!}{%\n"
        f"\\begin{{tabular}}{{{alignment}}}\n{content}\n\\end{{tabular}}}}\n"
        "\\end{table}\n"
    )
