"""``metadiffuser gc``: removing objects that no record refers to from DVC's cache, and from a remote.

``dvc gc`` keeps the outputs of the stages in dvc.yaml, which are those of the one preset in params.yaml. Alone it would
remove the artifacts of all other presets, although dvc.lock records them and their results are in the repository.
So it is given every record: the dvc.lock of the working tree and those at the tips of all branches, tags and
experiments. Each is presented as a small DVC project in which every output of the record is a stage of its own. The
projects share the cache, because the list of files of a folder is an object in the cache.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from metadiffuser import paths
from metadiffuser.errors import InputError, nearest
from metadiffuser.pipeline import dvc_lock, programs
from metadiffuser.pipeline.dvc_lock import LOCK

REFERENCES = ("refs/heads", "refs/remotes", "refs/tags", "refs/exps")
DVC = (sys.executable, "-m", "dvc")
CACHE = "cache"  # in the folder of the projects, a link to the cache
NOT_KEPT = "refs/exps/stash"  # experiments that wait in a queue and have no outputs


def collect_garbage(dry: bool, remote: str | None) -> None:
    """Remove every object that no record refers to from the cache, and from ``remote`` if one is named.

    Raises:
        InputError: there is no record, git or dvc fails here, or files in a remote cannot be separated from garbage
            because the cache lacks the list of files of a folder.
    """
    found = records()
    if not found:
        raise InputError(f"{LOCK}: no recorded outputs here; run this in a clone of the project in which a job has run")
    cache = Path(programs.output("dvc", *DVC, "cache", "dir").strip()).resolve()
    if remote:
        _check_remote(remote)
        _check_folders(found, cache, remote)
    with tempfile.TemporaryDirectory(prefix="metadiffuser-") as scratch:
        # A link instead of its path, which may hold characters that mean something in DVC's settings.
        (Path(scratch) / CACHE).symlink_to(cache)
        projects = [
            _project(Path(scratch) / str(number), text, place) for number, (text, place) in enumerate(found.items())
        ]
        options = [*(["--dry"] if dry else []), *(["--cloud", "--remote", remote] if remote else [])]
        command = (*DVC, "gc", "--workspace", "--force", *options, "--projects")
        said = programs.output("dvc gc", *command, *map(str, projects))
    print(summary(said, dry))


def summary(said: str, dry: bool) -> str:
    """Return the totals out of what ``dvc gc`` prints, which is also one line per object."""
    lines = [line for line in said.splitlines() if not line.startswith(("Removing ", "No unused 'legacy'"))]
    return "\n".join(lines).replace("Removed ", "Would remove ") if dry else "\n".join(lines)


def records() -> dict[str, str]:
    """Return {text: where it is} of dvc.lock here, and at the tip of every branch, tag and experiment."""
    # Bytes that are not UTF-8 are left to the parser, which reports what is wrong with the file.
    found = {LOCK.read_text(encoding="utf-8", errors="surrogateescape"): str(LOCK)} if LOCK.is_file() else {}
    for line in _git("for-each-ref", "--format=%(objectname) %(refname)", *REFERENCES).splitlines():
        tip, reference = line.split(" ", 1)
        if not reference.startswith(NOT_KEPT) and _git("ls-tree", "--name-only", tip, str(LOCK)):
            found.setdefault(_git("show", f"{tip}:./{LOCK}"), f"{reference}:{LOCK}")  # the project may be a subfolder
    return found


def outputs(text: str, place: str = str(LOCK)) -> list[dict[str, Any]]:
    """Return the outputs in the cache of all stages of a record, of all presets in it."""
    entries = dvc_lock.parse(text, place).values()
    return [out for entry in entries for out in entry.get("outs", []) if paths.in_cache(out["path"])]


def _check_remote(remote: str) -> None:
    from dvc.config import Config  # takes a second to import; what 'dvc remote list' prints breaks long lines

    known = list(Config.from_cwd()["remote"])
    if remote not in known:
        remedy = nearest(remote, known) or "; 'dvc remote add' makes one"
        raise InputError(f"--remote {remote}: no such remote{remedy}")


def _check_folders(found: Mapping[str, str], cache: Path, remote: str) -> None:
    for out in (out for text, place in found.items() for out in outputs(text, place)):
        digest = out.get("md5", "")
        if digest.endswith(dvc_lock.FOLDER) and not dvc_lock.cached(digest, cache / "files" / "md5").is_file():
            raise InputError(
                f"{out['path']}: a recorded version of it is not in the cache, so its files in '{remote}' cannot be "
                f"separated from garbage; check out its commit and preset, and run 'dvc fetch --remote {remote}' first"
            )


def _project(folder: Path, text: str, place: str) -> Path:
    """Make a project in ``folder`` with one stage per output of a record; return ``folder``."""
    kept = outputs(text, place)
    (folder / ".dvc").mkdir(parents=True)
    settings = f"[core]\n    no_scm = true\n    analytics = false\n[cache]\n    dir = ../../{CACHE}\n"
    (folder / ".dvc" / "config").write_text(settings, encoding="utf-8")
    stages = {f"keep{i}": {"cmd": "true", "outs": [out["path"]]} for i, out in enumerate(kept)}
    made = {f"keep{i}": {"cmd": "true", "outs": [out]} for i, out in enumerate(kept)}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    (folder / LOCK).write_text(yaml.safe_dump({"schema": "2.0", "stages": made}), encoding="utf-8")
    return folder


def _git(*arguments: str) -> str:
    return programs.output("git", "git", *arguments)
