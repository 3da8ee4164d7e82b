"""Numbers on the command line: what an option accepts, and the sentence that refuses anything else."""

from __future__ import annotations

import argparse
import math
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
