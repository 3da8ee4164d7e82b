"""Reading DVC's record ``dvc.lock`` without DVC, and hashing files as DVC does.

This needs no DVC repository and saves a second of imports, and it works in a clone with an empty cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from metadiffuser.errors import InputError
from metadiffuser.pipeline import records

LOCK = Path("dvc.lock")
CACHE = Path(".dvc/cache/files/md5")
_RESTORE = f"'git checkout -- {LOCK}' restores the committed one"
FOLDER = ".dir"  # ends the hash of a folder, which is that of its listing

Locked = Mapping[str, Any]


def read() -> dict[str, Locked]:
    """Return {job name: its entry in dvc.lock}. Raises ``InputError`` if the file is damaged."""
    return parse(LOCK.read_bytes()) if LOCK.exists() else {}


def parse(record: str | bytes, place: str = str(LOCK)) -> dict[str, Locked]:
    """Return {job name: its entry} of the contents of a dvc.lock. Raises ``InputError`` if they are damaged.

    Args:
        record: the contents.
        place: where they come from: the path, or git's name of a committed one (``refs/tags/v1:dvc.lock``).
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        tree = yaml.load(record, Loader=loader)  # noqa: S506 - both loaders are safe
        return {name: _entry(entry) for name, entry in tree.get("stages", {}).items()}
    except (yaml.YAMLError, AttributeError, TypeError, ValueError):
        reference, _, _ = place.rpartition(":")
        remedy = f"commit a valid one there, or delete {reference}" if reference else _RESTORE
        raise InputError(f"{place}: damaged or in the middle of a merge; {remedy}") from None


def _entry(entry: Any) -> Locked:
    """Return a job's entry. Raises ``TypeError`` if its structure is not the expected one."""
    params = entry.get("params", {}).values()
    entries = [one for kind in ("deps", "outs") for one in entry.get(kind, [])]
    words = [record.get(name, "") for record in entries for name in ("path", "md5")]
    sizes = [record.get("size", 0) for record in entries]
    if not (
        all(isinstance(values, dict | None) for values in params)
        and all("path" in record for record in entries)
        and all(isinstance(word, str) for word in words)
        and all(isinstance(size, int) for size in sizes)
    ):
        raise TypeError
    return dict(entry)


def parameters(entry: Locked) -> dict[str, Any]:
    """Return the parameters that a job ran with, {dotted key: value}."""
    return entry.get("params", {}).get("params.yaml") or {}


def hashes(entry: Locked, kind: str) -> dict[str, str]:
    """Return {path: hash} of a job's ``outs`` or ``deps``."""
    return {str(record["path"]): str(record["md5"]) for record in entry.get(kind, []) if "md5" in record}


def path_hash(path: Path) -> tuple[str, dict[str, str]]:
    """Return DVC's hash of a file or folder, and {path below the folder: hash} (empty for a file)."""
    if path.is_file():
        return _file_hash(path), {}
    listing = {file.relative_to(path).as_posix(): _file_hash(file) for file in records.files(path)}
    entries = [{"md5": listing[name], "relpath": name} for name in sorted(listing)]
    text = json.dumps(entries, sort_keys=True).encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest() + FOLDER, listing


def _file_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def cached(recorded: str, cache: Path = CACHE) -> Path:
    """Return the path in DVC's cache of the object with this hash."""
    return cache / recorded[:2] / recorded[2:]


def cached_listing(recorded: str) -> dict[str, str] | None:
    """Return {path below the folder: hash} of a recorded folder, None if the cache does not hold its listing."""
    try:
        records = json.loads(cached(recorded).read_text(encoding="utf-8"))
        return {str(record["relpath"]): str(record["md5"]) for record in records}
    except (OSError, ValueError, TypeError, KeyError):
        return None
