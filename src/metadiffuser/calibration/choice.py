"""The values that a calibration chose, as evaluation and viewer take them over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from metadiffuser.artifacts import read_json
from metadiffuser.config.schema import Section
from metadiffuser.errors import InputError

Values = TypeVar("Values", bound=Section)


BEYOND = "beyond"  # what a calibration file says of the planner with a value, as ``calibration.planner`` chooses it


def read_chosen(path: Path) -> dict[str, Any]:
    """Return the chosen values of a calibration file. Raises ``InputError`` if it is missing or damaged."""
    return _chosen(path, read_json(path))


def read_beyond(path: Path) -> dict[str, Any] | None:
    """Return those of the planner with a value, None if there are none. Raises ``InputError`` as ``read_chosen``."""
    record = read_json(path)
    if not isinstance(record, dict) or BEYOND not in record:
        return None
    return _chosen(path, record[BEYOND])


def _chosen(path: Path, record: Any) -> dict[str, Any]:
    chosen = record.get("chosen") if isinstance(record, dict) else None
    if not isinstance(chosen, dict):
        raise InputError(f"{path}: holds no chosen values; delete it and run the pipeline again, or 'dvc pull'")
    return chosen


def with_values(section: Values, values: Mapping[str, Any]) -> Values:
    """Return a section with other values of some keys.

    Raises:
        InputError: a value is none that the section can have.
    """
    try:
        return type(section).model_validate({**section.model_dump(), **values})
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise InputError(f"calibrated settings: '{key}' does not fit its section; run the calibration again") from None
