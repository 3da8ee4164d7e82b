"""``metadiffuser publish``: the models of a preset that has run, as folders that a clone can use at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metadiffuser.config.params import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag, integrity
from metadiffuser.pretrained.bundle import PRETRAINED, families
from metadiffuser.pretrained.publishing import publish_families, sources
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
    names = list(dict.fromkeys(chosen or params.families))
    for name in names:
        if name not in params.families:
            raise InputError(f"--family {name}: not in {params.preset}, which has {', '.join(params.families)}")
    wildcards = {"representation": params.representations[0], "seed": str(params.seeds[0])}
    for name in names:
        job = dag.find_job("evaluate", {"family": name, **wildcards}, params)
        read = tuple(path.as_posix() for path in sources(params, name).values())
        integrity.check(replace(job, inputs=read), params)
    publish_families(params, names, episodes, commit(Path()), PRETRAINED)
    total = 0
    for name in families(PRETRAINED):
        size = sum(path.stat().st_size for path in (PRETRAINED / name).iterdir())
        total += size
        print(f"{PRETRAINED / name}: {size / 1e6:.1f} MB{'' if name in names else ', as it was'}")
    print(f"{PRETRAINED}: {total / 1e6:.1f} MB, of the preset {params.preset}; 'git add {PRETRAINED}' keeps them")
