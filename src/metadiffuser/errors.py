"""The one exception that is shown to people as a sentence instead of a traceback."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress


class InputError(ValueError):
    """A mistake in what the user supplied. The message names the thing and the remedy.

    It is one line whatever it quotes: names and values come from files of others, and a line break or an escape
    sequence in them would forge output.
    """

    def __init__(self, message: object):
        super().__init__(one_line(str(message)))


def one_line(text: str) -> str:
    """Return ``text`` with white space as single spaces and all else that cannot be printed as escapes."""
    return "".join(part if part.isprintable() else ascii(part)[1:-1] for part in " ".join(text.split()))


def shortened(text: str, most: int = 60) -> str:
    """Return ``text``, its end left out if it is longer than ``most`` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest choice, or the list of choices."""
    options = sorted(choices)
    close = difflib.get_close_matches(shortened(word), options, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; expected one of {', '.join(options)}" if options else ""


def say(text: str) -> None:
    """Print a line for people on standard error; that nobody can read it is no reason to stop."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def final_name(path: str) -> str:
    """Return ``path`` with the names that files and folders have when they are whole, in place of temporary ones."""
    whole = re.sub(r"(^|/)\.([^/]+)\.[^/.]+\.(part|old)(?=/|$)", r"\1\2", path)
    return re.sub(r"/\.import\.[^/.]+(?=/|$)", "", whole)


def current_folder() -> str:
    """Return the current folder for a message; it may have been deleted."""
    try:
        return os.getcwd()  # noqa: PTH109 - for a message
    except OSError:
        return "the current folder"
