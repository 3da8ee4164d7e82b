"""The hashes of a published folder: which of its files are not those that were published."""

from __future__ import annotations

import hashlib
from pathlib import Path

from metadiffuser.artifacts import read_json, write_json
from metadiffuser.errors import InputError

HASHES = "hashes.json"  # {path: SHA-256} of every other file of the folder


def digests(folder: Path) -> dict[str, str]:
    """Return {path below the folder: SHA-256} of the files in a folder, without that of the hashes themselves."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != HASHES:
            with path.open("rb") as stream:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def write_hashes(folder: Path) -> None:
    """Write the hashes of all files that are in a folder now."""
    write_json(folder / HASHES, digests(folder))


def differences(folder: Path) -> dict[str, str]:
    """Return {path: what is wrong} of the files of a published folder; empty if all are as published.

    Files that were not published count for nothing: nobody reads them.
    """
    listing = folder / HASHES
    try:
        recorded = read_json(listing)
    except InputError:
        recorded = None
    if not isinstance(recorded, dict):
        return {listing.as_posix(): "damaged: it cannot be read" if listing.exists() else "missing"}
    found = digests(folder)
    wrong = {}
    for name in sorted(recorded):
        if name not in found:
            wrong[(folder / name).as_posix()] = "missing"
        elif found[name] != recorded[name]:
            wrong[(folder / name).as_posix()] = f"changed: its contents differ from {HASHES}"
    return wrong


def check_hashes(folder: Path) -> None:
    """Check that all files of a published folder are as published.

    Raises:
        InputError: one is not; the message names it and the remedy.
    """
    for path, what in differences(folder).items():
        raise InputError(f"{path}: {what}; {remedy(path)}")


def remedy(path: str) -> str:
    """Return how a published file is restored."""
    return f"'git checkout -- {path}' restores it"
