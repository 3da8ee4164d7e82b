"""``metadiffuser publish``: models or outputs of jobs of a preset, as folders that a clone can use at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, integrity, records
from metadiffuser.pretrained.jobs import publish_job, short
from metadiffuser.pretrained.places import JOBS, PRETRAINED
from metadiffuser.pretrained.publishing import publish_families, sources
from metadiffuser.pretrained.sizes import check_size, published_sizes, size
from metadiffuser.reporting.provenance import commit


def publish(params: Params, chosen: Sequence[str] | None, episodes: int) -> None:
    """Write ``pretrained/<family>/`` for some families of a preset, and print what is there then.

    Args:
        params: of the preset.
        chosen: keys of the families; None takes all of the preset.
        episodes: warm-start episodes of each unseen task and quality.

    Raises:
        InputError: a family is not of the preset, or a file is missing, not as its job wrote it, or too large.
    """
    names = _chosen(params, chosen)
    wildcards = {"representation": params.representations[0], "seed": str(params.seeds[0])}
    for name in names:
        job = dag.find_job("evaluate", {"family": name, **wildcards}, params)
        read = tuple(path.as_posix() for path in sources(params, name).values())
        integrity.check(replace(job, inputs=read), params)
    publish_families(params, names, episodes, commit(Path()), PRETRAINED)
    _report(params, names)


def publish_jobs(params: Params, chosen: Sequence[str] | None, stages: Sequence[str]) -> None:
    """Write ``pretrained/jobs/<job>/`` for the jobs of some stages and families, and print what is there then.

    Args:
        params: of the preset.
        chosen: keys of the families; None takes all of the preset.
        stages: names of stages with jobs of one family. Jobs whose outputs are missing, or are not those of the present
            parameters, code and inputs, are named and left out.

    Raises:
        InputError: a family is not of the preset, no job's outputs are current, or all that is published is too large.
    """
    families = _chosen(params, chosen)
    found = [job for job in dag.jobs(params) if job.stage.name in stages and job.wildcards["family"] in families]
    made_from = {job.name: records.fingerprint(job) for job in found if all(map(os.path.exists, job.inputs))}
    current = [job for job in found if job.name in made_from and records.is_current(job, made_from[job.name])]
    if found and not current:
        output = found[0].outputs[0]
        raise InputError(f"{output}: missing or stale; run 'snakemake --cores all {output}'")
    sizes = {f"{JOBS}/{short(job.name)}": sum(size(Path(path)) for path in job.outputs) for job in current}
    check_size(PRETRAINED, sizes)
    for job in current:
        publish_job(job.name, made_from[job.name], job.outputs)
    for job in found:
        if job not in current:
            print(f"{short(job.name)}: not published: {job.outputs[0]} is missing or stale")
    _report(params, list(sizes))


def _chosen(params: Params, chosen: Sequence[str] | None) -> list[str]:
    """Return the families to publish. Raises ``InputError`` if one is not of the preset."""
    names = list(dict.fromkeys(chosen or params.families))
    for name in names:
        if name not in params.families:
            raise InputError(f"--family {name}: not in {params.preset}, which has {', '.join(params.families)}")
    return names


def _report(params: Params, names: Sequence[str]) -> None:
    """Print what is published, and which folders are as they were."""
    sizes = published_sizes(PRETRAINED)
    for name, value in sizes.items():
        print(f"{PRETRAINED / name}: {value / 1e6:.1f} MB{'' if name in names else ', as it was'}")
    total = sum(sizes.values())
    print(f"{PRETRAINED}: {total / 1e6:.1f} MB, of the preset {params.preset}; 'git add {PRETRAINED}' keeps them")
