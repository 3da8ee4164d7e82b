"""``metadiffuser publish``: models or policies of a preset that has run, as folders that a clone can use at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, integrity, records
from metadiffuser.pretrained.bundle import PRETRAINED
from metadiffuser.pretrained.policies import Made, publish_policies
from metadiffuser.pretrained.publishing import publish_families, sources
from metadiffuser.pretrained.sizes import BEHAVIOUR, check_size, published_sizes
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


def publish_behaviour(params: Params, chosen: Sequence[str] | None) -> None:
    """Write ``pretrained/behaviour/<family>/`` for some families of a preset, and print what is there then.

    Args:
        params: of the preset.
        chosen: keys of the families; None takes all of the preset.

    Raises:
        InputError: a family is not of the preset, its policies are not those of the present parameters and code, or
            all that is published is too large.
    """
    found: dict[str, dict[str, Made]] = {}
    for name in _chosen(params, chosen):
        for shard in map(str, params.shards):
            job = dag.find_job("train_behaviour", {"family": name, "shard": shard}, params)
            made_from = records.fingerprint(job)
            if not records.is_current(job, made_from):
                raise InputError(f"{job.outputs[0]}: missing or stale; run 'snakemake --cores all {job.outputs[0]}'")
            found.setdefault(name, {})[shard] = Made(made_from, tuple(map(Path, job.outputs)))
    sizes = {f"{BEHAVIOUR}/{name}": sum(job.size for job in shards.values()) for name, shards in found.items()}
    check_size(PRETRAINED, sizes)
    for name, shards in found.items():
        publish_policies(name, shards)
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
    for name, size in sizes.items():
        print(f"{PRETRAINED / name}: {size / 1e6:.1f} MB{'' if name in names else ', as it was'}")
    total = sum(sizes.values())
    print(f"{PRETRAINED}: {total / 1e6:.1f} MB, of the preset {params.preset}; 'git add {PRETRAINED}' keeps them")
