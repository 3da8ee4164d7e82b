"""One record of what is up to date for two engines. DVC's hashes of contents are the arbiter.

The Snakefile calls ``reconcile`` before Snakemake decides what to run (dry runs too) and again when a run
has ended, well or badly. A job may then be in one of three states, and each has one remedy:

1. DVC calls it stale, but its receipt holds (the verb ended well on today's parameters, code and inputs,
   under Snakemake or in a killed engine): commit it to dvc.lock.
2. DVC calls it clean, but Snakemake's record is not of these files (``dvc repro``, ``dvc pull``,
   ``dvc checkout`` wrote them): ``snakemake --touch`` records them.
3. DVC calls it stale and no receipt holds (outputs of other parameters, or damaged): Snakemake's record is
   deleted and its outputs are dated back, so that it runs the job again.

Nothing is deleted but records, so a dry run loses nothing. While another Snakemake works here nothing is touched;
while another dvc does, the run is refused.

A run of Snakemake first takes the checkout for itself (``take_checkout``): no other engine then starts a job.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import logging
import os
import re
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metadiffuser.config.schema import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, dvc_lock, locks, records

if TYPE_CHECKING:
    from dvc.repo import Repo  # at run time in the functions that need it: a second of imports

SNAKEMAKE = Path(".snakemake")
OFF = "METADIFFUSER_SYNC_OFF"  # set for the Snakemake that this module starts
WITHOUT = {"--lint", "--unlock", "--touch", "-t", "--cleanup-metadata", "--list-rules", "-l"}
LOOKING = (  # options that leave everything as it is
    r"--(dry-?run|summary|detailed-summary|dag|rulegraph|filegraph|d3dag|report|archive|list-.*|containerize)(=.*)?"
    r"|-[A-Za-z]*n[A-Za-z]*|-[DS]"
)
ROOTS = ("artifacts", "results")
LONG_AGO = 86400  # seconds since the epoch: older than any source file


def wanted(argv: Sequence[str]) -> bool:
    """Tell whether this call of Snakemake builds on the records (and no other one is at work here)."""
    return OFF not in os.environ and not WITHOUT & set(argv) and not locks.engine_at_work()


def take_checkout(argv: Sequence[str]) -> None:
    """Keep every other engine out of this checkout until this process ends, if this call of Snakemake may run jobs.

    Snakemake's own lock, which stays when Snakemake is killed, is removed where nobody can be holding it. DVC learns of
    the run from its own lock file: before each job it looks for processes that read what the job would write.

    Raises:
        InputError: another engine or one of its jobs is at work here.
    """
    if OFF in os.environ or WITHOUT & set(argv) or any(re.fullmatch(LOOKING, word) for word in argv):
        return
    locks.hold_checkout("Snakemake")
    for left in (SNAKEMAKE / "locks").glob("*.lock"):
        left.unlink(missing_ok=True)
    with _dvc() as repo:
        from dvc.repo import lock_repo
        from dvc.rwlock import rwlock

        paths = [str(Path(repo.root_dir, root)) for root in ROOTS]
        hardlink = repo.config["core"].get("hardlink_lock", False)
        reading = rwlock(repo.tmp_dir, repo.fs, " ".join(sys.argv), paths, [], hardlink)
        with lock_repo(repo):
            reading.__enter__()
        atexit.register(reading.__exit__, None, None, None)


def find_programs() -> None:
    """Let jobs find this environment's programs although it is not activated."""
    os.environ["PATH"] += os.pathsep + str(Path(sys.executable).parent)


def reconcile(params: Params, commands: Mapping[str, str]) -> None:
    """Make the records of both engines tell the same of every job.

    Args:
        params: the parameters in force.
        commands: {rule: its shell command as the Snakefile has it}.

    Raises:
        InputError: another dvc is at work in this checkout, or a record cannot be written.
    """
    records.check_source()
    try:
        _reconcile(dag.jobs(params), commands)
    except OSError as error:
        name = error.filename or Path.cwd()
        raise InputError(f"{name}: {error.strerror or error}; free space or rights there, then run again") from None


def _reconcile(jobs: Sequence[dag.Job], commands: Mapping[str, str]) -> None:
    with _alone():
        stale = _commit(jobs)
        clean, stale_outputs = [], set[str]()
        for job in jobs:
            if job.name in stale or stale_outputs.intersection(job.inputs):
                stale_outputs.update(job.outputs)
            else:
                clean.append(job)
        if any(not _recorded(job, commands) for job in clean):
            _touch([path for job in clean for path in job.outputs])
        for job in jobs:
            if job.name in stale and not _has_other_params(job):
                _invalidate(job)


@contextmanager
def _alone() -> Iterator[None]:
    lock = records.WORK / "locks" / "bridge.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def _dvc() -> Iterator[Repo]:
    """Yield DVC's view of this checkout. Raises ``InputError`` where DVC or the file system refuses."""
    logging.getLogger("dvc").setLevel(logging.ERROR)
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
    except DvcException as error:
        dvc_lock.read()  # names a half-written record, and the remedy
        reason = str(error).splitlines()[0]
        raise InputError(f"dvc cannot compare its record with the files: {reason}; see 'dvc status'") from None


def _commit(jobs: Sequence[dag.Job]) -> set[str]:
    """Record for DVC every job whose receipt holds; return the names of those that stay stale."""
    with _dvc() as repo:
        from dvc.repo import lock_repo

        stale = set(repo.status())
        made = {job.name: job.params for job in jobs if job.name in stale and records.is_current(job)}
        saved = []
        with lock_repo(repo):
            for stage in (stage for stage in repo.index.stages if stage.addressing in made):
                stage.save(run_cache=False)
                # What was saved are the parameters of this moment, and comparing outputs may have taken minutes.
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
        return stale - {stage.addressing for stage in saved}


def keep_outputs() -> None:
    """Have DVC leave every output on disk alone that is not of the DAG to come, such as another preset's.

    ``dvc checkout`` and ``dvc pull`` delete the files that DVC remembers having handled and that no stage has out any
    more: the results of every preset that is not in force, which are in no cache. So it is made to forget them.

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
    """Return the path of Snakemake's record of an output file."""
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
    """Return the file whose time Snakemake takes for that of ``path``."""
    stamp = Path(path) / ".snakemake_timestamp"
    return stamp if stamp.exists() else Path(path)


def _recorded_params(job: dag.Job) -> list[str]:
    return [repr(json.dumps(job.params, sort_keys=True))]


def _recorded(job: dag.Job, commands: Mapping[str, str]) -> bool:
    """Tell whether Snakemake's record is of the files on disk, and of the job as it stands."""
    code = dag.source_files(job.code)
    inputs = sorted((*code, *job.inputs))
    made = max(_time_file(path).stat().st_mtime for path in inputs)
    for output in job.outputs:
        record, time = _read_record(output), _time_file(output).stat().st_mtime
        if record.get("endtime") != time or time < made:
            return False
        stated = {"params": _recorded_params(job), "input": inputs, "code": commands[job.stage.name]}
        if any(record[key] != value for key, value in stated.items()):
            return False
    return True


def _has_other_params(job: dag.Job) -> bool:
    """Tell whether Snakemake sees by itself that the job is stale: an output is gone, or its parameters differ."""
    if not all(Path(path).exists() for path in job.outputs):
        return True
    return any(_read_record(path).get("params", _recorded_params(job)) != _recorded_params(job) for path in job.outputs)


def _invalidate(job: dag.Job) -> None:
    for output in job.outputs:
        _record(output).unlink(missing_ok=True)
        os.utime(_time_file(output), (LONG_AGO, LONG_AGO))


def _touch(outputs: Sequence[str]) -> None:
    options = ("--touch", "--forceall", "--ignore-incomplete", "--nolock", "--no-hooks", "--cores=1", "--quiet=all")
    command = (sys.executable, "-m", "snakemake", *options, "--", *outputs)
    ended = subprocess.run(command, env={**os.environ, OFF: "1"}, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise InputError(f"Snakemake cannot record what dvc has made: {ended.stderr.strip()[-1000:]}")
