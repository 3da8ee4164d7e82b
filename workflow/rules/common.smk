"""Shared by the rules: the parameters, a slice of them, source files, threads."""

import json
import sys

from metadiffuser.pipeline import dag, links
from metadiffuser.config.loading import load
from metadiffuser.errors import InputError


def refuse(sentence):
    """Stop with one sentence and exit code 2, as the command line does; an exception would show its place."""
    print(f"metadiffuser: {sentence}", file=sys.stderr)
    sys.exit(2)


def read_params():
    """Return the parameters in force; a mistake in them stops the workflow with one sentence."""
    if config:
        refuse(
            f"--config {' '.join(config)}: not supported; edit params.yaml, or use 'metadiffuser use PRESET', "
            "so that both engines see the same parameters"
        )
    if "{" in str(workflow.basedir):
        refuse(
            f"{workflow.basedir}: Snakemake takes braces in a path for wildcards; move the project to a folder without"
        )
    try:
        params = load("params.yaml")
        links.link_plugins(params)
        return params
    except InputError as error:
        refuse(error)


def code_of(stage):
    """Return the source files that a stage runs, which ``metadiffuser.pipeline.dag`` lists."""
    return lambda wildcards: dag.source_files(dag.code_of(stage, wildcards))


def params_of(stage):
    """Return the values of params.yaml that a stage depends on, as one canonical JSON string.

    One string, because Snakemake compares params as a set of values.
    """
    return lambda wildcards: json.dumps(
        dag.params_of(stage, wildcards, TREE), sort_keys=True
    )


def threads_of(section):
    """Return the threads of a section of params.yaml, with the family's overrides merged in."""

    def get(wildcards):
        return PARAMS.section(section.format(**wildcards), wildcards.family).threads

    return get


def per_job(template):
    """Return ``template`` for every family, representation, method and seed (``preset`` stays a wildcard)."""
    return expand(
        template,
        family=PARAMS.families,
        representation=PARAMS.representations,
        method=PARAMS.baselines,
        seed=PARAMS.seeds,
        shard=PARAMS.shards,
        allow_missing=True,
    )


PARAMS = read_params()
TREE = PARAMS.model_dump()
GPUS = 0 if PARAMS.device == "cpu" else 1


wildcard_constraints:
    preset=PARAMS.preset,
    family="|".join(PARAMS.families),
    representation="|".join(PARAMS.representations),
    method="|".join(PARAMS.baselines),
    seed="|".join(map(str, PARAMS.seeds)),
    shard="|".join(map(str, PARAMS.shards)),
