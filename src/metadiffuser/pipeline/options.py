"""Options of the command line: the numbers that one accepts, and what ``metadiffuser publish`` offers."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from contextlib import suppress

from metadiffuser.errors import one_line


def whole_number(text: str) -> int:
    """Return a whole number from 1 on. Raises ``argparse.ArgumentTypeError``, which argparse shows as a usage error."""
    with suppress(ValueError):
        if (value := int(text)) >= 1:
            return value
    raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got '{one_line(text)}'")


def number_from_zero(text: str) -> float:
    """Return a number from 0 on. Raises ``argparse.ArgumentTypeError``."""
    with suppress(ValueError):
        if (value := float(text)) >= 0:
            return value
    raise argparse.ArgumentTypeError(f"expected a number from 0 on, got '{one_line(text)}'")


def positive_number(text: str) -> float:
    """Return a finite number above 0. Raises ``argparse.ArgumentTypeError``."""
    with suppress(ValueError):
        if 0 < (value := float(text)) < math.inf:
            return value
    raise argparse.ArgumentTypeError(f"expected a number above 0, got '{one_line(text)}'")


def offer_publishing(verb: argparse.ArgumentParser, stages: Sequence[str]) -> None:
    """Add the options of ``publish`` to its parser; ``stages`` are those with jobs of one family."""
    verb.add_argument("--preset", help="a name in presets/ (default: the parameters in params.yaml)")
    verb.add_argument("--family", nargs="+", metavar="FAMILY", help="families to publish (default: all of the preset)")
    verb.add_argument(
        "--stage", nargs="+", choices=stages, metavar="STAGE", help="publish the outputs of these stages' jobs instead"
    )
    verb.add_argument(
        "--episodes",
        type=whole_number,
        default=2,
        help="warm-start episodes by task and quality (default: %(default)s)",
    )
