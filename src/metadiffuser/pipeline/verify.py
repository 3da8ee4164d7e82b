"""``metadiffuser verify``: verifying outputs, by comparing the files on disk with the records of the jobs.

A job has up to two records: its own (``metadiffuser.pipeline.records``), on the machine that ran it, and its entry in
``dvc.lock``, which every clone has. Outputs that agree with either are as recorded: after ``dvc checkout`` of an
earlier version the job's own record is of other files, and after a run by hand dvc.lock is. Whether today's parameters
and code would make the same outputs is another question, which ``dvc status`` answers.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metadiffuser import paths
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, dvc_lock, records
from metadiffuser.pipeline.dvc_lock import Locked
from metadiffuser.pretrained.hashes import differences, remedy
from metadiffuser.pretrained.jobs import published_jobs
from metadiffuser.pretrained.places import PRETRAINED, families
from metadiffuser.progress import Progress

RUN = "run 'snakemake --cores all all'"
ROOTS = ("artifacts/{preset}", "results/{preset}")


@dataclass(frozen=True)
class Fault:
    """An output that differs from its record: its path, what is wrong with it, and the remedy."""

    path: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class Verdict:
    """The state of a job's outputs.

    Attributes:
        made: whether any output or record of the job exists.
        faults: what is wrong.
        committed: outputs that are the same as in git, and whose job has no record here.
    """

    made: bool
    faults: tuple[Fault, ...] = ()
    committed: tuple[str, ...] = ()


def select(params: Params, stage: str | None, wildcards: Mapping[str, str]) -> list[dag.Job]:
    """Return the jobs of a stage (None: of all) that have these wildcards.

    Raises:
        InputError: a wildcard that the stage does not have, or a value that is not in params.yaml.
    """
    known = dag.wildcard_values(params)
    for name, value in wildcards.items():
        if stage is not None and name not in dag.STAGES[stage].wildcards:
            has = ", ".join(f"--{own}" for own in dag.STAGES[stage].wildcards) or "no options"
            raise InputError(f"--{name} {value}: {stage} is not one job per {name}; it has {has}")
        if value not in known[name]:
            raise InputError(f"--{name} {value}: not in params.yaml, which has {', '.join(known[name])}")
    return [
        job
        for job in dag.jobs(params)
        if stage in (None, job.stage.name) and wildcards.items() <= job.wildcards.items()
    ]


def verify(params: Params, stage: str | None, wildcards: Mapping[str, str]) -> int:
    """Compare the outputs of the selected jobs with their records; print every difference and a summary.

    Returns:
        0 if all existing outputs agree with their records, 1 otherwise.
    """
    jobs = select(params, stage, wildcards)
    lock = dvc_lock.read()
    verdicts: dict[str, Verdict] = {}
    with Progress("verify", len(jobs)) as progress:
        for job in jobs:
            verdicts[job.name] = check(job, lock.get(job.name))
            progress.advance()
    others = _imports(params) | _published() if stage is None and not wildcards else {}
    verdicts |= others
    for name, verdict in verdicts.items():
        for fault in verdict.faults:
            print(f"{name}: {fault}")
    for name, verdict in verdicts.items():
        for path in verdict.committed:
            print(f"{name}: {path}: from git, without a record of its job; 'git log -- {path}' shows who committed it")
    for name, verdict in verdicts.items():
        if not verdict.made:
            print(f"{name}: not made")
    if stage is None and not wildcards:
        for path in unowned_files(params, jobs):
            print(f"{path}: no job of params.yaml writes this file; delete it if you do not need it")
    faulty = sum(bool(verdict.faults) for verdict in verdicts.values())
    absent = sum(not verdict.made for verdict in verdicts.values())
    kinds = Counter(re.split("[ :;]", fault.what)[0] for verdict in verdicts.values() for fault in verdict.faults)
    wrong = f" (outputs: {', '.join(f'{count} {kind}' for kind, count in kinds.items())})" if kinds else ""
    from_git = sum(bool(verdict.committed) and not verdict.faults for verdict in verdicts.values())
    sound = len(verdicts) - faulty - absent - from_git
    counts = [f"{sound} as recorded", f"{faulty} not{wrong}", f"{absent} not made"]
    counts += [f"{from_git} from git without a record"] if from_git else []
    also = f" and {_counted(len(others), 'published or imported folder')}" if others else ""
    print(f"{params.preset}: {_counted(len(jobs), 'job')}{also}: {', '.join(counts)}")
    return 1 if faulty else 0


def check(job: dag.Job, locked: Locked | None) -> Verdict:
    """Compare a job's outputs with its record and with its entry in dvc.lock; at most one fault per output."""
    record = records.read(job)
    present = [path for path in job.outputs if Path(path).exists()]
    if record is None and locked is None:
        committed = tuple(path for path in present if _as_committed(path))
        faults = [_unrecorded(path) for path in present if path not in committed]
        faults += _gone([path for path in job.outputs if path not in present])
        return Verdict(bool(present or faults), tuple(faults), committed)
    attempts: list[list[Fault]] = []
    if record is not None:
        whole, single = records.digests(*map(Path, present))
        if len(present) == len(job.outputs) and whole == record["outputs"]:
            return Verdict(True)
        attempts.append(_by_record(job, record["files"], single, locked))
    if locked is not None:
        faults = _by_lock(job, locked)
        if not faults:
            return Verdict(True)
        attempts.append(faults)
    fewest: list[Fault] = min(attempts, key=len)
    return Verdict(True, tuple(fewest))


def _as_committed(output: str) -> bool:
    """Return whether an output is tracked by git and unchanged."""
    here = {path.as_posix() for path in records.files(Path(output))}
    return bool(here) and here <= _tracked([output]) and not _tracked([output], "--modified")


def _unrecorded(output: str) -> Fault:
    if _tracked([output]):
        remedy = f"'git status {output}' shows what differs, 'git checkout -- {output}' restores it"
        return Fault(output, "unrecorded: it differs from git, and no job that has ended wrote it", remedy)
    return Fault(output, "unrecorded: its job did not end", f"delete it and {RUN}")


def _gone(outputs: Sequence[str]) -> list[Fault]:
    """Return a fault for each missing output that git tracks; one that it does not track was never made here."""
    tracked = _tracked(outputs) if outputs else set()
    gone = [output for output in outputs if any(f"{path}/".startswith(f"{output}/") for path in tracked)]
    return [Fault(output, "missing", f"'git checkout -- {output}' restores it") for output in gone]


def _tracked(outputs: Sequence[str], *options: str) -> set[str]:
    """Return the files of outputs that git tracks, with ``--modified`` only those that differ from the index."""
    command = ("git", "ls-files", "-z", *options, "--", *outputs)
    try:
        listed = subprocess.run(command, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)
    except FileNotFoundError:  # no git, no commits
        return set()
    return set(filter(None, listed.stdout.split("\0")))


def _by_record(
    job: dag.Job, recorded: Mapping[str, str], found: Mapping[str, str], locked: Locked | None
) -> list[Fault]:
    """Compare the recorded {path: hash} of all files of a job with the present one."""
    faults = []
    for output in job.outputs:
        before, now = records.below(output, recorded), records.below(output, found)
        if before != now or not Path(output).exists():
            faults.append(Fault(output, _difference(Path(output), before, now), _remedy(output, locked)))
    return faults


def _by_lock(job: dag.Job, locked: Locked) -> list[Fault]:
    recorded = dvc_lock.hashes(locked, "outs")
    faults = []
    for output in job.outputs:
        path = Path(output)
        if not path.exists():
            what: str | None = "missing"
        elif output not in recorded:
            what = "unrecorded: the record of its job does not list it"
        else:
            now, listing = dvc_lock.path_hash(path)
            what = None if now == recorded[output] else _changed_since_lock(path, recorded[output], listing)
        if what is not None:
            faults.append(Fault(output, what, _remedy(output, locked)))
    return faults


def _changed_since_lock(path: Path, recorded: str, listing: Mapping[str, str]) -> str:
    """Describe the difference, by file if the cache still has the folder's listing."""
    before = dvc_lock.cached_listing(recorded) if recorded.endswith(dvc_lock.FOLDER) else None
    if before is None or path.is_file():
        return _difference(path, {}, {}) if path.is_file() else _unlisted(path)
    full = [{f"{path.as_posix()}/{name}": value for name, value in tree.items()} for tree in (before, listing)]
    return _difference(path, *full)


def _unlisted(folder: Path) -> str:
    """Describe the change of a folder whose listing is not in the cache; name its first unreadable file, if any."""
    for file in records.files(folder):
        reason = _unreadable(file)
        if reason:
            return f"damaged: {file} {reason}"
    return "changed: its files differ from the recorded ones"


def _difference(output: Path, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Describe how an output differs from its record; for a single file both {path: hash} may be empty."""
    if not output.exists():
        return "missing"
    if output.is_file():
        reason = _unreadable(output)
        return f"damaged: it {reason}" if reason else "changed: its contents differ from the recorded ones"
    wrong = sorted(path for path in {**before, **now} if before.get(path) != now.get(path))
    first = wrong[0]
    if first not in now:
        what, where = "missing", f"{first} does not exist"
    elif first not in before:
        what, where = "changed", f"{first} is not in the record"
    else:
        reason = _unreadable(Path(first))
        what, where = ("damaged", f"{first} {reason}") if reason else ("changed", f"the contents of {first} differ")
    more = f" (the first of {len(wrong)} files)" if len(wrong) > 1 else ""
    return f"{what}: {where}{more}"


def _unreadable(path: Path) -> str | None:
    """Return why a file cannot be read in the format of its name, None if it can."""
    if path.stat().st_size == 0:
        return "is empty"
    try:
        match path.suffix:
            case ".json":
                json.loads(path.read_text(encoding="utf-8"))
            case ".safetensors":
                from safetensors import safe_open

                with safe_open(str(path), framework="numpy"):
                    pass
            case ".hdf5":
                import h5py

                with h5py.File(path, "r"):
                    pass
    except Exception as error:  # each library raises its own
        return f"cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    return None


def _remedy(output: str, locked: Locked | None) -> str:
    """Return how to restore an output: from the cache, from the remote, from git, or by a new run."""
    gone = f"delete it, then {RUN}" if Path(output).exists() else RUN
    if locked is None:
        return gone
    recorded = dvc_lock.hashes(locked, "outs").get(output)
    if recorded is None:
        return gone
    # DVC compares size and time before contents, so it may not replace a damaged file unless that is deleted.
    first = "delete it, then " if Path(output).exists() else ""
    if not paths.in_cache(output):
        return f"{first}'git checkout -- {output}' if it is committed, or {RUN}"
    command = "dvc checkout" if dvc_lock.cached(recorded).exists() else "dvc pull"
    return f"{first}'{command} {output}', or {RUN}"


def _imports(params: Params) -> dict[str, Verdict]:
    """Compare imported data with their hashes in params.yaml."""
    verdicts = {}
    for family in params.families:
        digest = params.section("tasks", family).imported
        if digest is None:
            continue
        path = paths.IMPORTED.format(family=family, digest=digest)
        found = records.digests(Path(path))[1].get(path)
        remedy = "run 'metadiffuser import' again on the same data"
        what = (
            None if found == digest else "missing" if found is None else "changed: its hash is not the one in its name"
        )
        verdicts[f"import@{family}"] = Verdict(True, (Fault(path, what, remedy),) if what else ())
    return verdicts


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _published() -> dict[str, Verdict]:
    """Compare published models and outputs of jobs with the hashes in their folders."""
    named = families(PRETRAINED) if PRETRAINED.is_dir() else []
    verdicts = {}
    for folder in [*(PRETRAINED / family for family in named), *published_jobs()]:
        faults = tuple(Fault(path, what, remedy(path)) for path, what in differences(folder).items())
        verdicts[f"{PRETRAINED}@{folder.name}"] = Verdict(True, faults)
    return verdicts


def unowned_files(params: Params, jobs: Iterable[dag.Job]) -> list[str]:
    """Return the files in the preset's folders that neither a job of the DAG nor another verb writes."""
    owned = {path for job in jobs for path in job.outputs}
    owned |= {template.format(preset=params.preset) for template in (paths.TUNING, paths.TUNING_PAGE, paths.SPREAD)}
    found = []
    for root in ROOTS:
        for path in records.files(Path(root.format(preset=params.preset))):
            names = (path.as_posix(), *(parent.as_posix() for parent in path.parents))
            if not owned.intersection(names):
                found.append(names[0])
    return found


def outdated(job: dag.Job, locked: Locked | None) -> bool:
    """Return whether a recorded job ran with other parameters, code or inputs than the present ones."""
    record = records.read(job)
    if record is not None and record["made_from"] == records.fingerprint(job):
        return False
    if locked is None:
        return record is not None
    same = dvc_lock.parameters(locked) == dict(job.params)
    read = dvc_lock.hashes(locked, "deps").items()
    return not (same and all(Path(path).exists() and dvc_lock.path_hash(Path(path))[0] == was for path, was in read))


def deterministic_outputs(job: dag.Job) -> list[str]:
    """Return the outputs that are the same in every run: all except those that contain times."""
    preset = job.wildcards["preset"]
    volatile = (dag.timing_path(job.name, preset), paths.REPORT.format(preset=preset))
    return [path for path in job.outputs if path not in volatile]
