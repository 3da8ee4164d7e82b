"""Both engines' jobs in one shape.

Run as a program in a project's root (``python tests/helpers/engines.py snakemake|dvc``): it prints the jobs as JSON,
{name: {"command", "params", "inputs", "outputs", "stale", ...}}, going by that engine's own records alone. With a
file of edits, [{file: text}, ...], it makes one after the other, undoes each, and prints the names of the stale jobs
of each.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def dvc_jobs() -> dict[str, dict[str, Any]]:
    """The jobs of dvc.yaml; ``stale`` goes by contents and includes what is downstream."""
    from dvc.repo import Repo

    from metadiffuser.pipeline.dvc_yaml import SEARCH

    jobs: dict[str, dict[str, Any]] = {}
    with Repo(".") as repo:
        changed = set(repo.status())
        for stage in repo.index.stages:
            values: dict[str, Any] = {}
            for dependency in stage.params:
                values |= dependency.read_params()
            jobs[stage.addressing] = {
                "command": stage.cmd.removeprefix(SEARCH),
                "params": values,
                "inputs": [str(d) for d in stage.deps if not getattr(d, "params", None)],
                "outputs": [str(out) for out in stage.outs],
                "cached": [str(out) for out in stage.outs if out.use_cache],
                "stale": stage.addressing in changed,
            }
    grown = True
    while grown:
        stale_outputs = [out for job in jobs.values() if job["stale"] for out in job["outputs"]]
        more = [
            job
            for job in jobs.values()
            if not job["stale"]
            and any(f"{out}/".startswith(f"{dep}/") for dep in job["inputs"] for out in stale_outputs)
        ]
        for job in more:
            job["stale"] = True
        grown = bool(more)
    return jobs


def snakemake_jobs() -> dict[str, dict[str, Any]]:
    """The jobs of the Snakefile; ``stale`` is Snakemake's own view."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import DAGSettings, OutputSettings, Quietness, ResourceSettings

    jobs: dict[str, dict[str, Any]] = {}
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow_api = api.workflow(resource_settings=ResourceSettings(cores=64), snakefile=Path("Snakefile"))
        workflow_api.dag(DAGSettings(targets={"all"}))
        workflow = workflow_api._workflow  # no public list of jobs in the pinned version
        workflow._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True)
        workflow._build_dag()
        for job in workflow.dag.jobs:
            if job.output:
                jobs[f"{job.rule.name}@{'-'.join(job.wildcards_dict.values())}"] = {
                    "command": job.shellcmd.removesuffix(f" > {job.log} 2>&1"),
                    "logged": job.shellcmd.endswith(f" > {job.log} 2>&1"),
                    "params": json.loads(job.params.parameters),
                    "params_entries": len(job.params),
                    "inputs": [str(path) for path in job.input],
                    "outputs": [str(path) for path in job.output],
                    "threads": job.threads,
                    "resources": sorted(job.resources.keys()),
                    "stale": bool(workflow.dag.needrun(job)),
                }
    return jobs


LISTED = {"dvc": dvc_jobs, "snakemake": snakemake_jobs}


def stale_after(engine: str, edit: dict[str, str]) -> list[str]:
    """The stale jobs while ``edit`` holds; files and times are as before afterwards."""
    files = [Path(name) for name in edit]
    before = [(path, path.read_bytes(), path.stat()) for path in files]
    try:
        for path in files:
            path.write_text(edit[str(path)])
        return sorted(name for name, job in LISTED[engine]().items() if job["stale"])
    finally:
        for path, content, times in before:
            path.write_bytes(content)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


if __name__ == "__main__":
    engine, *edits = sys.argv[1:]
    if edits:
        print(json.dumps([stale_after(engine, edit) for edit in json.loads(Path(edits[0]).read_text())]))
    else:
        print(json.dumps(LISTED[engine]()))
