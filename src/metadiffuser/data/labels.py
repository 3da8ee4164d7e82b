"""How figures and tables show what a metrics file is of."""

from __future__ import annotations

from typing import Any, Protocol


class Labelled(Protocol):
    """A family's or a method's record."""

    @property
    def title(self) -> str:
        """Display name."""
        ...

    @property
    def colour(self) -> str:
        """Colour in figures, ``#rrggbb``."""
        ...


def labels(kind: str, name: str, record: Labelled) -> dict[str, Any]:
    """Return ``<kind>``, ``<kind>_title`` and ``<kind>_colour``, from which reporting knows how to show ``name``.

    Args:
        kind: ``family`` or ``method``.
        name: key in paths and parameters.
        record: the family's or method's record.
    """
    return {kind: name, f"{kind}_title": record.title, f"{kind}_colour": record.colour}
