"""The reference file of published results (metadiffuser.md, "Published results"), read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metadiffuser.errors import InputError

REFERENCE = Path(__file__).with_name("published.yaml")

Text = Annotated[str, Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Result(_Record):
    """A published mean return, with the spread that its source gives, if any."""

    mean: Number
    spread: Number | None = None


class Entry(_Record):
    """One method under one protocol.

    Attributes:
        method: as its source calls it.
        protocol: data, warm-start and seeds.
        source: work and table that holds the numbers.
        second_hand: whether they were quoted from a work other than the source.
        returns: {family key: result}.
    """

    method: Text
    protocol: Text
    source: Text
    second_hand: bool
    returns: Annotated[dict[str, Result], Field(min_length=1)]


class Published(_Record):
    """All published results, and what helps to read those of a family."""

    notes: dict[str, Text]
    entries: list[Entry]


def read_published(path: Path = REFERENCE) -> Published:
    """Read the reference file. Raises ``InputError`` that names the file and the entry at fault."""
    try:
        return Published.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{path}: missing; restore it from version control") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not readable as YAML ({reason}); the comment at its top shows the layout") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{path}: {key}: {first['msg']}; the comment at its top shows the layout") from None
