"""Calling git and DVC: what they print, and what helps against what they say."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from metadiffuser.errors import InputError
from metadiffuser.pipeline.account import name_user

OWNERSHIP = "dubious ownership"  # what git says of a checkout of another user
NO_CLONE = "not a git repository"  # what git says of a folder that is none
UNEXPECTED = "unexpected error"  # what DVC says of a fault of its own


def output(name: str, *command: str) -> str:
    """Return what a program prints. Raises ``InputError`` with its error, else its last words, if it fails."""
    name_user()
    try:
        ended = subprocess.run(command, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)
    except FileNotFoundError:
        raise InputError(f"{name}: not found; install it, then run this again") from None
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or ["failed without a message"]
        errors = [line.removeprefix("ERROR: ") for line in said if line.startswith(("ERROR", "fatal:", "error:"))]
        cause = errors[0] if name == "git" and errors else (errors or said)[-1]
        raise InputError(f"{name}: {cause}{remedy(cause)}")
    return ended.stdout


def remedy(cause: str) -> str:
    """Return what helps against something that git or DVC says, as the end of a sentence; empty if nothing is known."""
    if OWNERSHIP in cause:
        return f"; trust it with 'git config --global --add safe.directory {shlex.quote(str(Path.cwd()))}'"
    if NO_CLONE in cause:
        return "; run in a git clone of the project"
    if UNEXPECTED in cause and any(brace in str(Path.cwd()) for brace in "{}"):
        return f"; DVC cannot work in {Path.cwd()}, whose path has braces: move the project to a folder without"
    return ""
