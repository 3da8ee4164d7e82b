"""``metadiffuser use``: write the whole params.yaml of a preset or of a file, and say which jobs are to be run."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

from metadiffuser.artifacts import write_text
from metadiffuser.config.inheritance import PRESETS
from metadiffuser.config.loading import PARAMS, load_partial
from metadiffuser.config.params import Params
from metadiffuser.config.writing import to_yaml
from metadiffuser.errors import InputError, shortened
from metadiffuser.pipeline import dag, dvc_lock, links, locks, records, sync


def names() -> list[str]:
    """Return the names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def _choices() -> list[str]:
    """Return the names of the presets. Raises ``InputError`` where there are none: it is not the project's root."""
    found = names()
    if not found:
        raise InputError(f"{PRESETS}/: no presets here; run from the project's root")
    return found


def stale(params: Params) -> list[str]:
    """Return the names of jobs that are to be run under ``params``, going by parameters and files alone.

    A job counts if dvc.lock does not have it with these parameters, if an output is missing, or if a job
    that it reads from counts. Changes to source and to contents are left to ``dvc status``.
    """
    recorded = {name: dvc_lock.parameters(entry) for name, entry in dvc_lock.read().items()}
    found: list[str] = []
    stale_outputs: set[str] = set()
    for job in dag.jobs(params):
        if not records.is_made(job) or recorded.get(job.name) != job.params or stale_outputs.intersection(job.inputs):
            found.append(job.name)
            stale_outputs.update(job.outputs)
    return found


def read(preset: str, otherwise: str = "") -> Params:
    """Return what ``presets/PRESET.yaml`` says, with all that it extends and the defaults.

    Args:
        preset: its name.
        otherwise: what may be named in its place, as the end of a refusal.

    Raises:
        InputError: there is no such preset, or it is not a valid parameter file.
    """
    choices = _choices()
    if preset not in choices:
        remedy = f"expected one of {', '.join(choices)}{otherwise}"
        raise InputError(f"preset '{shortened(preset)}' is unknown; {remedy}")
    source = PRESETS / f"{preset}.yaml"
    params = load_partial(source)
    if params.preset != preset:
        raise InputError(f"{source}: 'preset' is {params.preset}; it must be the file's name, {preset}")
    return params


def use(name: str) -> None:
    """Write the whole params.yaml of a preset or of another file, or nothing, and print what is to be run.

    Args:
        name: a preset, or the path of a YAML file that says what differs from the defaults or from the preset that it
            extends; ``params.yaml`` itself gets the keys that it lacks.

    Raises:
        InputError: there is no such preset or file, it is not a valid parameter file, or an engine or a job is at work.
    """
    path = Path(name)
    there = name not in _choices() and os.path.isfile(name)  # noqa: PTH113 - no error for names that no file can have
    is_file = there or path.suffix in (".yaml", ".yml")
    params = load_partial(path) if is_file else read(name, ", or the path of a YAML file")
    locks.check_idle()  # the jobs of one run would be of two presets
    links.link_plugins(params)
    text = to_yaml(params)
    _keep_edits(text)
    sync.keep_outputs()
    write_text(PARAMS, text)
    waiting = stale(params)
    stages = Counter(job.split("@")[0] for job in waiting)
    what = f"what {path} says" if is_file and path != PARAMS else f"the preset {params.preset}"
    state = "is whole" if path == PARAMS else f"is now {what}"
    print(f"{PARAMS} {state}: {len(waiting)} of {len(dag.jobs(params))} jobs are to be run.")
    for stage, count in stages.items():
        print(f"  {stage}: {count}")


def _keep_edits(text: str) -> None:
    """Keep a params.yaml that somebody has edited, so that no edit is lost.

    Args:
        text: what takes its place.
    """
    if not PARAMS.exists():
        return
    if not PARAMS.is_file():
        raise InputError(f"{PARAMS}: not a file; move it away, then run this again")
    former = PARAMS.read_bytes()
    if former == text.encode() or former in _written():
        return
    kept, number = Path(f"{PARAMS}.old"), 0
    while kept.exists() and kept.read_bytes() != former:  # of an earlier edit
        number += 1
        kept = Path(f"{PARAMS}.old.{number}")
    kept.write_bytes(former)
    print(f"The former {PARAMS} is none of a preset; it is kept as {kept}.")


def _written() -> list[bytes]:
    """Return the params.yaml of every preset."""
    written = []
    for name in names():
        with suppress(InputError):  # a preset with a mistake was never written
            written.append(to_yaml(read(name)).encode())
    return written
