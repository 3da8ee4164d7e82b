"""``metadiffuser verify``: is what lies on disk what was recorded when it was made?

A job has up to two records: its receipt, on the machine that ran it, and its entry in ``dvc.lock``, which a clone
has, too. Outputs that agree with either are as recorded: after ``dvc checkout`` of an earlier state the receipt is of
other files, after a run by hand dvc.lock is. Whether today's parameters and code would still make the same is
another question, and ``dvc status`` answers it.
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
from metadiffuser.progress import Progress

RUN = "run 'snakemake --cores all all'"
ROOTS = ("artifacts/{preset}", "results/{preset}")


@dataclass(frozen=True)
class Fault:
    """An output that is not as recorded: its path, what is wrong with it, and the remedy."""

    path: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class Verdict:
    """What became of a job's outputs.

    Attributes:
        made: whether there is any trace of the job.
        faults: what is wrong.
        committed: outputs that are as git has them, while the record of the job that made them is not here.
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
    """Compare the outputs of the selected jobs with their records; print what is wrong and a summary.

    Returns:
        0 if everything that was made is as recorded, 1 otherwise.
    """
    jobs = select(params, stage, wildcards)
    lock = dvc_lock.read()
    verdicts: dict[str, Verdict] = {}
    with Progress("verify", len(jobs)) as progress:
        for job in jobs:
            verdicts[job.name] = check(job, lock.get(job.name))
            progress.advance()
    if stage is None and not wildcards:
        verdicts |= _imports(params)
    for name, verdict in verdicts.items():
        for fault in verdict.faults:
            print(f"{name}: {fault}")
    for name, verdict in verdicts.items():
        for path in verdict.committed:
            print(
                f"{name}: {path}: from git, without the record of its job; 'git log -- {path}' tells who committed it"
            )
    for name, verdict in verdicts.items():
        if not verdict.made:
            print(f"{name}: not made")
    if stage is None and not wildcards:
        for path in unowned_files(params, jobs):
            print(f"{path}: no job of params.yaml writes it; delete it if it is not yours")
    faulty = sum(bool(verdict.faults) for verdict in verdicts.values())
    absent = sum(not verdict.made for verdict in verdicts.values())
    kinds = Counter(re.split("[ :;]", fault.what)[0] for verdict in verdicts.values() for fault in verdict.faults)
    wrong = f" (outputs: {', '.join(f'{count} {kind}' for kind, count in kinds.items())})" if kinds else ""
    from_git = sum(bool(verdict.committed) and not verdict.faults for verdict in verdicts.values())
    sound = len(verdicts) - faulty - absent - from_git
    counts = [f"{sound} as recorded", f"{faulty} not{wrong}", f"{absent} not made"]
    counts += [f"{from_git} from git without a record"] if from_git else []
    print(f"{params.preset}: {len(verdicts)} jobs: {', '.join(counts)}")
    return 1 if faulty else 0


def check(job: dag.Job, locked: Locked | None) -> Verdict:
    """Compare a job's outputs with its receipt and with its entry in dvc.lock; one fault an output at most."""
    receipt = records.read(job)
    present = [path for path in job.outputs if Path(path).exists()]
    if receipt is None and locked is None:
        committed = tuple(path for path in present if _as_committed(path))
        return Verdict(bool(present), tuple(_unrecorded(path) for path in present if path not in committed), committed)
    attempts: list[list[Fault]] = []
    if receipt is not None:
        whole, single = records.digests(*map(Path, present))
        if len(present) == len(job.outputs) and whole == receipt["outputs"]:
            return Verdict(True)
        if "files" in receipt:
            attempts.append(_by_receipt(job, receipt["files"], single, locked))
    if locked is not None:
        faults = _by_lock(job, locked)
        if not faults:
            return Verdict(True)
        attempts.append(faults)
    if not attempts:
        attempts.append(_by_total(job, present))
    fewest: list[Fault] = min(attempts, key=len)
    return Verdict(True, tuple(fewest))


def _as_committed(output: str) -> bool:
    """Tell whether git has an output just as it is here."""
    here = {path.as_posix() for path in records.files(Path(output))}
    return bool(here) and here <= _tracked(output) and not _tracked(output, "--modified")


def _unrecorded(output: str) -> Fault:
    if _tracked(output):
        remedy = f"'git status {output}' tells what differs, 'git checkout -- {output}' restores it"
        return Fault(output, "unrecorded: neither as git has it nor of a job that has ended", remedy)
    return Fault(output, "unrecorded: its job did not end", f"delete it and {RUN}")


def _tracked(output: str, *options: str) -> set[str]:
    """Return the files of an output that git tracks, with ``--modified`` those that it has otherwise."""
    command = ("git", "ls-files", "-z", *options, "--", output)
    try:
        listed = subprocess.run(command, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)
    except FileNotFoundError:  # no git, no commits
        return set()
    return set(filter(None, listed.stdout.split("\0")))


def _by_receipt(
    job: dag.Job, recorded: Mapping[str, str], found: Mapping[str, str], locked: Locked | None
) -> list[Fault]:
    """Compare {path: hash} of all files of a job."""
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
            what = "unrecorded: the record of its job is of another version"
        else:
            now, listing = dvc_lock.path_hash(path)
            what = None if now == recorded[output] else _changed_since_lock(path, recorded[output], listing)
        if what is not None:
            faults.append(Fault(output, what, _remedy(output, locked)))
    return faults


def _changed_since_lock(path: Path, recorded: str, listing: Mapping[str, str]) -> str:
    """Say what differs, by file if the cache still has the folder's listing."""
    before = dvc_lock.cached_listing(recorded) if recorded.endswith(dvc_lock.FOLDER) else None
    if before is None or path.is_file():
        return _difference(path, {}, {}) if path.is_file() else _unlisted(path)
    full = [{f"{path.as_posix()}/{name}": value for name, value in tree.items()} for tree in (before, listing)]
    return _difference(path, *full)


def _unlisted(folder: Path) -> str:
    """Say that a folder has changed of which no listing was kept; name what is unreadable in it, if anything is."""
    for file in records.files(folder):
        reason = _unreadable(file)
        if reason:
            return f"damaged: {file} {reason}"
    return "changed: its files are not those recorded"


def _by_total(job: dag.Job, present: Sequence[str]) -> list[Fault]:
    """Say what can be said by a receipt that has one hash for all outputs."""
    missing = [Fault(path, "missing", _remedy(path, None)) for path in job.outputs if path not in present]
    if missing:
        return missing
    for path in present:
        for file in records.files(Path(path)):
            reason = _unreadable(file)
            if reason:
                return [Fault(path, f"damaged: {file} {reason}", _remedy(path, None))]
    what = "suspect: the receipt has one hash for all outputs of the job, and it differs"
    return [Fault(path, what, _remedy(path, None)) for path in present]


def _difference(output: Path, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say in which file an output differs from its record; {path: hash} are both empty for a file known to."""
    if not output.exists():
        return "missing"
    if output.is_file():
        reason = _unreadable(output)
        return f"damaged: it {reason}" if reason else "changed: its contents are not those recorded"
    wrong = sorted(path for path in {**before, **now} if before.get(path) != now.get(path))
    first = wrong[0]
    if first not in now:
        what, where = "missing", f"{first} is gone"
    elif first not in before:
        what, where = "changed", f"{first} was not there"
    else:
        reason = _unreadable(Path(first))
        what, where = ("damaged", f"{first} {reason}") if reason else ("changed", f"{first} has other contents")
    more = f" (the first of {len(wrong)} files)" if len(wrong) > 1 else ""
    return f"{what}: {where}{more}"


def _unreadable(path: Path) -> str | None:
    """Tell why a file cannot be what it is called, None if it can."""
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
    except Exception as error:  # each library has its own, and any of them says the same
        return f"cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    return None


def _remedy(output: str, locked: Locked | None) -> str:
    """Say how to get an output back as it was recorded: out of the cache, from the remote, out of git, or made anew."""
    gone = f"delete it, then {RUN}" if Path(output).exists() else RUN
    if locked is None:
        return gone
    recorded = dvc_lock.hashes(locked, "outs").get(output)
    if recorded is None:
        return gone
    # DVC goes by size and time before it looks at contents, so what is damaged has to be out of its way.
    first = "delete it, then " if Path(output).exists() else ""
    if not output.startswith("artifacts/"):
        return f"{first}'git checkout -- {output}' if it is committed, or {RUN}"
    command = "dvc checkout" if dvc_lock.cached(recorded).exists() else "dvc pull"
    return f"{first}'{command} {output}', or {RUN}"


def _imports(params: Params) -> dict[str, Verdict]:
    """Compare imported data with the hashes in params.yaml that name them."""
    verdicts = {}
    for family in params.families:
        digest = params.section("tasks", family).imported
        if digest is None:
            continue
        path = paths.IMPORTED.format(family=family, digest=digest)
        found = records.digests(Path(path))[1].get(path)
        remedy = "run 'metadiffuser import' again on the same data"
        what = None if found == digest else "missing" if found is None else "changed: its contents are not its name's"
        verdicts[f"import@{family}"] = Verdict(True, (Fault(path, what, remedy),) if what else ())
    return verdicts


def unowned_files(params: Params, jobs: Iterable[dag.Job]) -> list[str]:
    """Return the files below the preset's folders that no job of the DAG writes, and no other verb either."""
    owned = {path for job in jobs for path in job.outputs}
    owned |= {template.format(preset=params.preset) for template in (paths.TUNING, paths.TUNING_PAGE)}
    found = []
    for root in ROOTS:
        for path in records.files(Path(root.format(preset=params.preset))):
            names = (path.as_posix(), *(parent.as_posix() for parent in path.parents))
            if not owned.intersection(names):
                found.append(names[0])
    return found


def outdated(job: dag.Job, locked: Locked | None) -> bool:
    """Tell whether a recorded job was made from other parameters, code or inputs than today's."""
    receipt = records.read(job)
    if receipt is not None and receipt["made_from"] == records.fingerprint(job):
        return False
    if locked is None:
        return receipt is not None
    told = dvc_lock.parameters(locked) == dict(job.params)
    read = dvc_lock.hashes(locked, "deps").items()
    return not (told and all(Path(path).exists() and dvc_lock.path_hash(Path(path))[0] == was for path, was in read))


def deterministic_outputs(job: dag.Job) -> list[str]:
    """Return the outputs that are the same in every run: all but those that hold times."""
    preset = job.wildcards["preset"]
    volatile = (dag.timing_path(job.name, preset), paths.REPORT.format(preset=preset))
    return [path for path in job.outputs if path not in volatile]
