"""What a page was made with: versions of packages, and the commit."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "metadiffuser",
    "torch",
    "mujoco",
    "gymnasium",
    "minari",
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "snakemake",
    "dvc",
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the results."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def commit(root: Path) -> str:
    """Return the commit of the checkout at ``root`` and whether code or parameters differ from it, else ``unknown``."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="surrogateescape", check=True, timeout=30
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return "unknown"
        changed = git("status", "--porcelain", "--", "src", "params.yaml")
        return git("rev-parse", "HEAD") + (" with local changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
