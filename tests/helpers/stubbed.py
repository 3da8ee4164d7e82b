"""A copy of the project in which a stand-in for the command line fakes every job at once.

What the engines do does not depend on what the command does, so their tests need no training.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Project, copy_project, put_in_force

# Takes the place of the `metadiffuser` program: the stage's outputs depend on the job's parameters, code and inputs,
# apart from the time in the timing record. FAIL names a stage that fails halfway, HANG one that does not end before
# there is a file named "released"; PADDING is the number of bytes that each file has more.
STUB = """#!PYTHON
import json, os, sys, time
from contextlib import ExitStack
from pathlib import Path
from metadiffuser.pipeline import dag, locks, records
from metadiffuser.errors import InputError
from metadiffuser.config.loading import PARAMS, load

params = load()
words = sys.argv[2:]
job = dag.find_job(sys.argv[1], {k[2:]: v for k, v in zip(words[::2], words[1::2])}, params)
at_work = ExitStack()
try:
    at_work.enter_context(locks.job_at_work(job.name, job.outputs))
except InputError as error:
    sys.exit(f"metadiffuser: {error}")
made_from = records.fingerprint(job)
with open("runs.log", "a") as log:
    log.write(job.name + "\\n")
for template in job.stage.outputs:
    for name in dag.expand(template, job.wildcards, params):
        path = Path(name)
        if "/training/" in name:
            (path / "plots" / "metrics").mkdir(parents=True, exist_ok=True)
            loss = int(made_from[:8], 16) / 2**32
            (path / "plots" / "metrics" / "loss.tsv").write_text(f"step\\tloss\\n0\\t1.0\\n1\\t{loss}\\n")
        elif not path.suffix:
            path.mkdir(parents=True, exist_ok=True)
            (path / "metrics.json").write_text(json.dumps({"loss": 0.5, "made_from": made_from}))
            (path / "scores.json").write_text(json.dumps({"Point-Robot": {"score": params.diffusion.horizon / 2}}))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"made_from": made_from}) + int(os.environ.get("PADDING", 0)) * " ")
    if os.environ.get("FAIL") == job.stage.name:
        sys.exit("failed on purpose")
    while os.environ.get("HANG") == job.stage.name and not Path("released").exists():
        Path("hanging").touch()
        time.sleep(0.05)
try:
    records.check_unchanged(job, made_from, PARAMS)
except InputError as error:
    sys.exit(f"metadiffuser: {error}")
if job.stage.timed:
    path = Path(dag.timing_path(job.name, params.preset))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"finished": time.time()}))
records.write(job, made_from)
at_work.close()
"""


@dataclass(frozen=True)
class Stubbed(Project):
    """A scratch copy of the project whose ``metadiffuser`` is the stand-in."""

    def environment(self) -> dict[str, str]:
        """The variables that commands see, with the stand-in first on the path."""
        variables = super().environment()
        return {**variables, "PATH": f"{self.root / '.stub'}{os.pathsep}{variables['PATH']}"}

    def snakemake(self, *options: str, check: bool = True, **variables: str) -> str:
        """Run Snakemake on all; return what it says."""
        done = self.run("snakemake", "--cores", "2", *options, "all", check=check, **variables)
        return str(done.stdout + done.stderr)

    def ran(self) -> list[str]:
        """The jobs that ran since the last call, in order."""
        log = self.root / "runs.log"
        names = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return names

    def waiting(self, engine: str) -> set[str]:
        """The jobs that an engine would run, by its own records alone."""
        return {name for name, job in self.listed(engine).items() if job["stale"]}

    def listed(self, engine: str) -> dict[str, dict[str, Any]]:
        """An engine's jobs, by its own records alone."""
        done = self.run(
            sys.executable, str(ROOT / "tests" / "helpers" / "engines.py"), engine, METADIFFUSER_SYNC_OFF="1"
        )
        jobs: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
        return jobs

    def waiting_after(self, engine: str, edits: list[dict[str, str]]) -> list[set[str]]:
        """The jobs that an engine would run after each of ``edits``, {file: text}, made one at a time and undone."""
        (self.root / "edits.json").write_text(json.dumps(edits))
        program = str(ROOT / "tests" / "helpers" / "engines.py")
        done = self.run(sys.executable, program, engine, "edits.json", METADIFFUSER_SYNC_OFF="1")
        return [set(names) for names in json.loads(done.stdout.splitlines()[-1])]

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace the first ``old`` in a file, which must be there."""
        path = self.root / name
        text = path.read_text()
        if old not in text:
            pytest.fail(f"{name} has no {old!r}")
        path.write_text(text.replace(old, new, 1))

    def twin(self, target: Path) -> Stubbed:
        """A copy with all records and times."""
        shutil.copytree(self.root, target, symlinks=True)
        return Stubbed(target)


def shrink(project: Stubbed) -> None:
    """Leave one family, one baseline and one shard in every preset of a copy: 13 jobs, one of each kind."""
    small = {"families": "point_robot", "baselines": "bc", "shards": "0"}
    for path in (project.root / "presets").glob("*.yaml"):
        text = path.read_text()
        for key, only in small.items():
            text = re.sub(rf"^{key}: .*$", f"{key}: [{only}]", text, flags=re.MULTILINE)
        path.write_text(text)


def stubbed_copy(target: Path, preset: str) -> Stubbed:
    """Copy the project to ``target`` with a preset and at most two baselines in force, and the stand-in in place."""
    project = Stubbed(copy_project(target).root)
    put_in_force(project.root, preset)
    params = project.root / "params.yaml"
    params.write_text(re.sub(r"^baselines: .*,.*$", "baselines: [bc, macaw]", params.read_text(), flags=re.MULTILINE))
    program = project.root / ".stub" / "metadiffuser"
    program.parent.mkdir()
    program.write_text(STUB.replace("PYTHON", sys.executable))
    program.chmod(0o755)
    return project


def one_family(target: Path) -> Stubbed:
    """A stubbed copy with the smoke preset and one family, committed, in which nothing was run."""
    project = stubbed_copy(target, "smoke")
    project.edit("params.yaml", "families: [point_robot, cheetah_vel]", "families: [point_robot]")
    project.run("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qam", "one family")
    return project
