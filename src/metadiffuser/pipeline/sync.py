"""Keeping the records of Snakemake and DVC in agreement. DVC's hashes of contents decide what is up to date.

The Snakefile calls ``reconcile`` before Snakemake decides what to run (also in a dry run) and again when a run
has ended, successfully or not. A job that the two see differently is in one of three states:

1. DVC calls it stale, but its record (``metadiffuser.pipeline.records``) is current, because it was run by Snakemake or
   by an engine that was killed: it is committed to dvc.lock.
2. DVC calls it up to date, but Snakemake's metadata are not of these files, because ``dvc repro``, ``dvc pull`` or
   ``dvc checkout`` wrote them: ``snakemake --touch`` writes the metadata.
3. DVC calls it stale, and its record is not current (outputs of other parameters, or damaged): Snakemake's metadata are
   deleted and the outputs get an old time, so that Snakemake runs the job again.

Only records are deleted, so a dry run loses nothing. While another Snakemake runs in this checkout nothing is changed;
while another dvc does, the run is refused.

Before a run, Snakemake reserves the checkout (``take_checkout``), so that no other engine starts a job meanwhile.
"""

from __future__ import annotations

import atexit
import fcntl
import itertools
import json
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metadiffuser.artifacts import whole_file
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError, current_folder, one_line
from metadiffuser.pipeline import dag, dvc_lock, locks, records
from metadiffuser.pipeline.account import name_user

if TYPE_CHECKING:
    from dvc.repo import Repo  # at run time in the functions that need it: a second of imports

SNAKEMAKE = Path(".snakemake")
STAMP = ".snakemake_timestamp"  # in an output folder, the file whose time counts
OFF = "METADIFFUSER_SYNC_OFF"  # set for the Snakemake that this module itself starts
WITHOUT_SYNC = {"--lint", "--unlock", "--touch", "-t", "--cleanup-metadata", "--list-rules", "-l"}
READ_ONLY = (  # options with which Snakemake changes nothing
    r"--(dry-?run|summary|detailed-summary|dag|rulegraph|filegraph|d3dag|report|archive|list-.*|containerize)(=.*)?"
    r"|-[A-Za-z]*n[A-Za-z]*|-[DS]"
)
ROOTS = ("artifacts", "results")
LONG_AGO = 86400  # seconds since the epoch: older than any source file
CHANGED: dict[str, list[str]] = {}  # {job: what differs since it ran} of invalidated jobs, for the console of a dry run


def wanted(argv: Sequence[str]) -> bool:
    """Return whether this call of Snakemake uses the records, and no other Snakemake runs in this checkout."""
    return OFF not in os.environ and not WITHOUT_SYNC & set(argv) and not locks.engine_at_work()


def take_checkout(argv: Sequence[str]) -> None:
    """Reserve this checkout until this process ends, if this call of Snakemake may run jobs.

    Snakemake's own lock, which remains when Snakemake is killed, is removed when no process can be holding it. DVC
    learns of the reservation from its own lock file: before each job it looks for processes that read what the job
    would write.

    Raises:
        InputError: another engine, or one of its jobs, is running in this checkout.
    """
    if OFF in os.environ or WITHOUT_SYNC & set(argv) or any(re.fullmatch(READ_ONLY, word) for word in argv):
        return
    with _refusals():
        locks.hold_checkout("Snakemake")
        for left in (SNAKEMAKE / "locks").glob("*.lock"):
            left.unlink(missing_ok=True)
    with _refusals(), _dvc() as repo:
        from dvc.repo import lock_repo
        from dvc.rwlock import rwlock

        paths = [str(Path(repo.root_dir, root)) for root in ROOTS]
        hardlink = repo.config["core"].get("hardlink_lock", False)
        reading = rwlock(repo.tmp_dir, repo.fs, " ".join(sys.argv), paths, [], hardlink)
        with lock_repo(repo):
            reading.__enter__()
        atexit.register(reading.__exit__, None, None, None)


def find_programs() -> None:
    """Let jobs find the programs of this environment even if it is not activated, and libraries the user's name."""
    os.environ["PATH"] += os.pathsep + str(Path(sys.executable).parent)
    name_user()


def reconcile(params: Params, commands: Mapping[str, str]) -> None:
    """Bring the records of both engines into agreement about every job.

    Args:
        params: the parameters in force.
        commands: {rule: its shell command as the Snakefile has it}.

    Raises:
        InputError: another dvc is running in this checkout, or a record cannot be written.
    """
    records.check_source()
    # Snakemake's own logger, so that its console shows it: hashing what DVC has just written may take minutes.
    logging.getLogger("snakemake.logging").info("Comparing the records of Snakemake and DVC with the files...")
    with _refusals():
        _reconcile(dag.jobs(params), commands)


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn errors of the file system into ``InputError``, which the Snakefile prints as one sentence."""
    try:
        yield
    except OSError as error:
        name = error.filename or current_folder()
        raise InputError(
            f"{name}: {error.strerror or error}; make room or give write access there, then run again"
        ) from None


def _reconcile(jobs: Sequence[dag.Job], commands: Mapping[str, str]) -> None:
    with _alone():
        status = _commit(jobs)
        stale = set(status)
        clean, stale_outputs = [], set[str]()
        for job in jobs:
            if job.name in stale or stale_outputs.intersection(job.inputs):
                stale_outputs.update(job.outputs)
            else:
                clean.append(job)
        if any(not _recorded(job, commands) for job in clean):
            _touch([path for job in clean for path in job.outputs])
        for job in jobs:
            if job.name in stale and not _seen_by_snakemake(job):
                CHANGED[job.name] = _changes(status[job.name])
                _invalidate(job)


@contextmanager
def _alone() -> Iterator[None]:
    lock = records.WORK / "locks" / "sync.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def _dvc() -> Iterator[Repo]:
    """Yield DVC's view of this checkout. Raises ``InputError`` where DVC or the file system refuses."""
    name_user()
    logging.getLogger("dvc").setLevel(logging.ERROR)
    for name in ("dvc.progress", "dvc_data.callbacks"):  # its bars, which would mix with the console of a run
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.lock import LockError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        with Repo(".") as repo:
            yield repo
    except LockError:
        raise InputError("dvc is at work in this checkout; wait for it to end, then run Snakemake again") from None
    except (NotDvcRepoError, SCMError) as error:
        raise InputError(f"no DVC record can be kept here ({error}); run in a git clone of the project") from None
    except (DvcException, sqlite3.Error) as error:  # its databases may be of another user, or damaged
        dvc_lock.read()  # names a half-written record, and the remedy
        reason = str(error).splitlines()[0]
        raise InputError(f"dvc cannot compare its record with the files: {reason}; see 'dvc status'") from None


def _commit(jobs: Sequence[dag.Job]) -> dict[str, Any]:
    """Commit to dvc.lock every job whose record is current; return DVC's status of those that stay stale, by name."""
    if not any(records.is_made(job) for job in jobs):  # a first run: all is to be made, and DVC takes seconds to say so
        dvc_lock.read()
        return {job.name: [] for job in jobs}
    with _dvc() as repo:
        from dvc.repo import lock_repo

        saved = []
        with lock_repo(repo):  # DVC reads the project anew whenever it takes its lock, which takes it a second
            stale = dict(repo.status())
            made = {job.name: job.params for job in jobs if job.name in stale and records.is_current(job)}
            for stage in (stage for stage in repo.index.stages if stage.addressing in made):
                stage.save(run_cache=False)
                # DVC saves the parameters of this moment; they may have been edited while outputs were compared.
                saved_params = {key: one.hash_info.value[key] for one in stage.params for key in one.params}
                if saved_params != made[stage.addressing]:
                    continue
                repo.stage_cache.save(stage)
                # Without relinking, which would change the times that Snakemake goes by.
                stage.commit(relink=False)
                saved.append(stage)
            if saved:  # all at once: DVC reads and writes the whole record each time, which takes it seconds
                saved[0].dvcfile.dump_stages(saved, update_pipeline=False)
        _clear_dvc_links(repo)
        current = {stage.addressing for stage in saved}
        return {name: status for name, status in stale.items() if name not in current}


def _changes(status: Sequence[str | Mapping[str, Any]]) -> list[str]:
    """Return the files and parameters that DVC's status of a job names as changed."""
    found: list[str] = []
    for entry in status:
        if isinstance(entry, Mapping):  # else it is text, such as "changed command"
            for path, what in itertools.chain.from_iterable(part.items() for part in entry.values()):
                found += list(what) if isinstance(what, Mapping) else [path]
    return found


def keep_outputs() -> None:
    """Keep DVC from deleting outputs that are not part of the new DAG, such as the results of another preset.

    ``dvc checkout`` and ``dvc pull`` delete files that DVC has linked before and that no stage in dvc.yaml writes any
    more. The results of the other presets are such files, and they are in no cache. So DVC's list of links is cleared.

    Raises:
        InputError: DVC refuses.
    """
    if Path(".dvc").is_dir():
        with _dvc() as repo:
            _clear_dvc_links(repo)


def _clear_dvc_links(repo: Repo) -> None:
    with repo.state.links as links:
        links.clear()


def _record(output: str) -> Path:
    """Return the path of Snakemake's metadata of an output file."""
    name = urlsafe_b64encode(output.encode()).decode()
    longest = os.pathconf(".", "PC_NAME_MAX") - 1
    parts = [name[start : start + longest] for start in range(0, len(name), longest)]
    return SNAKEMAKE.joinpath("metadata", *(f"@{part}" for part in parts[:-1]), parts[-1])


def _read_record(output: str) -> dict[str, Any]:
    try:
        return dict(json.loads(_record(output).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _time_file(path: str) -> Path:
    """Return the file whose modification time Snakemake uses for ``path``."""
    stamp = Path(path) / STAMP
    return stamp if stamp.exists() else Path(path)


def _params(job: dag.Job) -> list[str]:
    """Return the parameters of a job as Snakemake's metadata have them."""
    return [repr(json.dumps(job.params, sort_keys=True))]


def _recorded(job: dag.Job, commands: Mapping[str, str]) -> bool:
    """Return whether Snakemake's metadata are of the files on disk and of the job as it is now."""
    code = dag.source_files(job.code)
    inputs = sorted((*code, *job.inputs))
    made = max(_time_file(path).stat().st_mtime for path in inputs)
    for output in job.outputs:
        record, time = _read_record(output), _time_file(output).stat().st_mtime
        if record.get("endtime") != time or time < made:
            return False
        if record["params"] != _params(job) or record["input"] != inputs or record["code"] != commands[job.stage.name]:
            return False
    return True


def _seen_by_snakemake(job: dag.Job) -> bool:
    """Return whether Snakemake itself finds the job stale, because an output is missing or its parameters differ."""
    if not records.is_made(job):
        return True
    return any(_read_record(path).get("params", _params(job)) != _params(job) for path in job.outputs)


def _invalidate(job: dag.Job) -> None:
    for output in job.outputs:
        _record(output).unlink(missing_ok=True)
        _date_back(_time_file(output))


def _date_back(path: Path) -> None:
    """Give a file or folder an old modification time; a file of another user is replaced by a copy first."""
    try:
        os.utime(path, (LONG_AGO, LONG_AGO))
        return
    except PermissionError:
        target = path / STAMP if path.is_dir() else path
    with whole_file(target) as own:
        if target.exists():
            shutil.copyfile(target, own)
    os.utime(target, (LONG_AGO, LONG_AGO))


def _touch(outputs: Sequence[str]) -> None:
    options = ("--touch", "--forceall", "--ignore-incomplete", "--nolock", "--no-hooks", "--cores=1", "--quiet=all")
    command = (sys.executable, "-m", "snakemake", *options, "--", *outputs)
    ended = subprocess.run(
        command,
        env={**os.environ, OFF: "1"},
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
    if ended.returncode:
        reason = one_line(ended.stderr.strip()[-1000:])
        raise InputError(f"Snakemake cannot record the outputs of dvc ({reason}); see 'snakemake --dry-run all'")
