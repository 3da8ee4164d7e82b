"""Tables and figures by name: each is one function with a decorator.

Write a module in ``reporting/tables`` or ``reporting/figures``; every module there is found::

    @table("lengths", title="Episode lengths", section="What the scores rest on")
    def lengths(evidence: Evidence) -> Table | None:
        ...

The function gets the ``Evidence`` and returns a ``Table`` or ``Drawing``, or None where there is nothing to show. The
decorators ``timed_table`` and ``timed_figure`` are for what is made from timing records: those functions get
``Timings`` and run with the report, because times differ from run to run and results do not.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar

from matplotlib.figure import Figure

from metadiffuser.reporting.evidence import Evidence
from metadiffuser.reporting.layout import Table
from metadiffuser.reporting.style import styled
from metadiffuser.reporting.timings import Timings

SECTIONS = (  # of the report, in order; a section that is not named here comes after these
    "The paper's claims",
    "Main result",
    "Warm-start data",
    "Guide",
    "Task representation",
    "What the scores rest on",
    "Training",
    "Cost",
)
LAST = 100  # the place in its section of an entry that names none
TABLE, FIGURE, TIMED_TABLE, TIMED_FIGURE = "table", "figure", "timed table", "timed figure"

Source = TypeVar("Source", Evidence, Timings)


@dataclass(frozen=True)
class Drawing:
    """A figure with its caption."""

    figure: Figure
    caption: str


@dataclass(frozen=True)
class Entry:
    """A registered table or figure.

    Attributes:
        kind: ``TABLE``, ``FIGURE``, ``TIMED_TABLE`` or ``TIMED_FIGURE``.
        name: stem of its files.
        title: heading in the report.
        section: section of the report.
        place: entries of a section are sorted by it, then by name.
        make: the decorated function.
    """

    kind: str
    name: str
    title: str
    section: str
    place: int
    make: Callable[[Any], Any]

    @property
    def key(self) -> tuple[int, str, int, str]:
        """What entries are sorted by."""
        rank = SECTIONS.index(self.section) if self.section in SECTIONS else len(SECTIONS)
        return rank, self.section, self.place, self.name


_ENTRIES: dict[str, Entry] = {}


def _register(kind: str, name: str, title: str, section: str, place: int, make: Callable[[Any], Any]) -> None:
    known = _ENTRIES.get(name)
    if known is not None and known.make.__module__ != make.__module__:
        raise ValueError(
            f"expected one table or figure named '{name}', got those of {known.make.__module__} and {make.__module__}"
        )
    _ENTRIES[name] = Entry(kind, name, title, section, place, make)


def _table_decorator(kind: str, name: str, title: str, section: str, place: int) -> Callable[[Any], Any]:
    def decorate(function: Callable[[Any], Table | None]) -> Callable[[Any], Table | None]:
        @wraps(function)
        def make(source: Any) -> Table | None:
            found = function(source)
            return None if found is None else replace(found, name=name, title=title)

        _register(kind, name, title, section, place, make)
        return make

    return decorate


def _figure_decorator(kind: str, name: str, title: str, section: str, place: int) -> Callable[[Any], Any]:
    def decorate(function: Callable[[Any], Drawing | None]) -> Callable[[Any], Drawing | None]:
        make = styled()(function)
        _register(kind, name, title, section, place, make)
        return make

    return decorate


TableFunction = Callable[[Source], Table | None]
FigureFunction = Callable[[Source], Drawing | None]


def table(
    name: str, *, title: str, section: str, place: int = LAST
) -> Callable[[TableFunction[Evidence]], TableFunction[Evidence]]:
    """Register a table that is made from the metrics."""
    return _table_decorator(TABLE, name, title, section, place)


def timed_table(
    name: str, *, title: str, section: str, place: int = LAST
) -> Callable[[TableFunction[Timings]], TableFunction[Timings]]:
    """Register a table that is made from timing records."""
    return _table_decorator(TIMED_TABLE, name, title, section, place)


def figure(
    name: str, *, title: str, section: str, place: int = LAST
) -> Callable[[FigureFunction[Evidence]], FigureFunction[Evidence]]:
    """Register a figure that is made from the metrics; it is drawn in the project's style."""
    return _figure_decorator(FIGURE, name, title, section, place)


def timed_figure(
    name: str, *, title: str, section: str, place: int = LAST
) -> Callable[[FigureFunction[Timings]], FigureFunction[Timings]]:
    """Register a figure that is made from timing records; it is drawn in the project's style."""
    return _figure_decorator(TIMED_FIGURE, name, title, section, place)


def entries(*kinds: str) -> list[Entry]:
    """Return the registered entries of ``kinds`` in the order of the report, all modules being found first."""
    for package in ("tables", "figures"):
        folder = importlib.import_module(f"metadiffuser.reporting.{package}")
        for module in pkgutil.iter_modules(folder.__path__):
            importlib.import_module(f"{folder.__name__}.{module.name}")
    return sorted((entry for entry in _ENTRIES.values() if entry.kind in kinds), key=lambda entry: entry.key)
