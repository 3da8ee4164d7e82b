"""``metadiffuser dvc``: write ``dvc.yaml`` from the DAG in ``metadiffuser.pipeline.dag``.

A stage of DVC is a matrix over the same lists of params.yaml as the stage's wildcards, so an edit of those lists needs
no new ``dvc.yaml``; only an edit of the DAG does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from metadiffuser import paths
from metadiffuser.artifacts import write_text
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag

DVC_YAML = Path("dvc.yaml")
HEADER = "# Written by 'metadiffuser dvc' from pipeline/dag.py: edit that file, then run the command.\n"

# The lists of params.yaml that wildcards range over.
LISTS = {
    "family": "families",
    "representation": "representations",
    "method": "baselines",
    "seed": "seeds",
    "shard": "shards",
}
SEARCH = 'PATH="$PATH:.venv/bin" '  # before each command, for a shell in which .venv is not activated
METRICS = f"{paths.TABLES}/scores.json"
CURVES = (paths.BEHAVIOUR_CURVE, paths.CONTEXT_CURVE, paths.DIFFUSION_CURVE, paths.BASELINE_CURVE)


def render() -> str:
    """Return the text of ``dvc.yaml``."""
    stages = "\n".join("".join(_stage(stage)) for stage in dag.STAGES.values())
    metrics = METRICS.replace("{preset}", "${preset}")
    roots = sorted({_folder(curve).replace("{preset}", "${preset}") for curve in CURVES})
    plots = "".join(f"  - {root}:\n      x: step\n" for root in roots)
    return f"{HEADER}stages:\n{stages}\nmetrics:\n  - {metrics}\n\nplots:\n{plots}"


def write() -> None:
    """Write ``dvc.yaml`` in the project's root, whole or not at all. Raises ``InputError`` in another folder."""
    if not Path(dag.PACKAGE).is_dir():
        raise InputError(f"{dag.PACKAGE}/: missing; run from the project's root, whose stages {DVC_YAML} lists")
    write_text(DVC_YAML, render())
    print(f"{DVC_YAML}: written; {len(dag.STAGES)} stages")


def _stage(stage: dag.Stage) -> Iterator[str]:
    """Yield the lines of one stage."""
    wildcards = {name: f"${{item.{name}}}" for name in ("preset", *stage.wildcards)}
    yield f"  {stage.name}:\n    matrix:\n      preset: ['${{preset}}']\n"
    yield from (f"      {name}: ${{{LISTS[name]}}}\n" for name in stage.wildcards)
    options = "".join(f" --{name} {wildcards[name]}" for name in stage.wildcards)
    yield f"    cmd: {SEARCH}metadiffuser {stage.name}{options}\n"
    code = [f"{dag.PACKAGE}/{entry}" for entry in (*dag.COMMON_CODE, *stage.code)]
    inputs = [_input(template, stage) for template in stage.inputs]
    yield from _list("deps", [_fill(entry, wildcards) for entry in (*code, *inputs)])
    yield from _list("params", [_fill(key, wildcards) for key in stage.params])
    yield "    outs:\n"
    timing = [dag.timing_path(dag.job_name(stage.name, wildcards), wildcards["preset"])] if stage.timed else []
    for path in (*(_fill(output, wildcards) for output in stage.outputs), *timing):
        yield f"      - {path}\n" if paths.in_cache(path) else f"      - {path}:\n          cache: false\n"


def _list(name: str, entries: list[str]) -> Iterator[str]:
    if entries:
        yield f"    {name}:\n"
        yield from (f"      - {entry}\n" for entry in dict.fromkeys(entries))


def _fill(template: str, wildcards: Mapping[str, str]) -> str:
    return template.format(**wildcards)


def _input(template: str, stage: dag.Stage) -> str:
    """Return a template with the first value of a wildcard that the stage leaves open, or the folder of all values."""
    for name in stage.first:
        template = template.replace(f"{{{name}}}", f"${{{{{LISTS[name]}[0]}}}}")
    return _folder(template, ("preset", *stage.wildcards))


def _folder(template: str, bound: tuple[str, ...] = ("preset",)) -> str:
    """Return the folder that holds a template's paths for all values of the fields that are not ``bound``."""
    parts = template.split("/")
    for place, part in enumerate(parts):
        if set(re.findall(r"(?<![${]){(\w+)}", part)) - set(bound):
            return "/".join(parts[:place])
    return template
