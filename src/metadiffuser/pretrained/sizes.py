"""How large all that is published is, and the limit on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metadiffuser.errors import InputError
from metadiffuser.pretrained.places import JOBS, PRETRAINED, families

MOST_BYTES = 40 * 10**6  # of all that is published together: git keeps every version


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    return sum(each.stat().st_size for each in (path, *path.rglob("*")) if each.is_file())


def published_sizes(target: Path) -> dict[str, int]:
    """Return {family, or ``jobs/`` and a job: bytes} of what is published in a folder."""
    names = [f"{JOBS}/{path.name}" for path in sorted((target / JOBS).glob("*/"))]
    return {name: size(target / name) for name in (*families(target), *names)} if target.is_dir() else {}


def check_size(target: Path, planned: Mapping[str, int]) -> None:
    """Check that what is published, with what is to be added or replaced, is not too large for git.

    Args:
        target: folder of all that is published.
        planned: {name as in ``published_sizes``: bytes} of what is to be published.

    Raises:
        InputError: it is; the message has the sizes.
    """
    sizes = {**published_sizes(target), **planned}
    if sum(sizes.values()) > MOST_BYTES:
        named = ", ".join(f"{name} {value / 1e6:.1f}" for name, value in sizes.items())
        raise InputError(
            f"{PRETRAINED}: {sum(sizes.values()) / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f} MB ({named}); publish "
            "fewer warm-start episodes (--episodes) or fewer families (--family)"
        )
