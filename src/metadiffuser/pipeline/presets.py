"""``metadiffuser use PRESET``: put a preset in force and say which jobs it leaves to be run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from metadiffuser.artifacts import write_text
from metadiffuser.config.loading import PARAMS, parse, read_text
from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, dvc_lock, locks, sync

PRESETS = Path("presets")


def names() -> list[str]:
    """Return the names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def stale(params: Params) -> list[str]:
    """Return the names of jobs that are to be run under ``params``, going by parameters and files alone.

    A job counts if dvc.lock does not have it with these parameters, if an output is missing, or if a job
    that it reads from counts. Changes to source and to contents are left to ``dvc status``.
    """
    recorded = {name: dvc_lock.parameters(entry) for name, entry in dvc_lock.read().items()}
    found: list[str] = []
    stale_outputs: set[str] = set()
    for job in dag.jobs(params):
        made = all(Path(path).exists() for path in job.outputs)
        if not made or recorded.get(job.name) != job.params or stale_outputs.intersection(job.inputs):
            found.append(job.name)
            stale_outputs.update(job.outputs)
    return found


def read(preset: str) -> tuple[str, Params]:
    """Return the text of ``presets/PRESET.yaml`` and what it says.

    Raises:
        InputError: there is no such preset, or it is not a valid parameter file.
    """
    choices = names()
    if not choices:
        raise InputError(f"{PRESETS}/: no presets here; run from the project's root")
    if preset not in choices:
        raise InputError(f"preset '{preset}' is unknown; expected one of {', '.join(choices)}")
    source = PRESETS / f"{preset}.yaml"
    text = read_text(source, f"'git checkout -- {source}' restores a committed one")
    params = parse(text, str(source))
    if params.preset != preset:
        raise InputError(f"{source}: 'preset' is {params.preset}; it must be the file's name, {preset}")
    return text, params


def use(preset: str) -> None:
    """Write ``presets/PRESET.yaml`` to params.yaml, whole or not at all, and print what is to be run.

    Raises:
        InputError: there is no such preset, it is not a valid parameter file, or an engine or a job is at work.
    """
    text, params = read(preset)
    locks.check_idle()  # later jobs of a run would be of another preset than its first ones
    _keep_edits()
    sync.keep_outputs()
    write_text(PARAMS, text)
    waiting = stale(params)
    stages = Counter(name.split("@")[0] for name in waiting)
    print(f"{PARAMS} is now the preset {preset}: {len(waiting)} of {len(dag.jobs(params))} jobs are to be run.")
    for stage, count in stages.items():
        print(f"  {stage}: {count}")


def _keep_edits() -> None:
    """Keep a params.yaml that somebody has edited, so that no edit is lost."""
    if not PARAMS.exists():
        return
    if not PARAMS.is_file():
        raise InputError(f"{PARAMS}: not a file; move it away, then run this again")
    former = PARAMS.read_bytes()
    if former not in [path.read_bytes() for path in PRESETS.glob("*.yaml") if path.is_file()]:
        kept, number = Path(f"{PARAMS}.old"), 0
        while kept.exists():  # of an earlier edit
            number += 1
            kept = Path(f"{PARAMS}.old.{number}")
        kept.write_bytes(former)
        print(f"The former {PARAMS} was not a preset; it is kept as {kept}.")
