"""Scratch copies of the project for ``faults.py``, and what a run that nobody disturbs makes in them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from metadiffuser import paths
from metadiffuser.config.loading import load
from metadiffuser.pipeline import dag
from tests.conftest import Project, copy_project, whole

ENGINES = {  # with the last stage that is to run
    "snakemake": ("snakemake", "--cores", "2", "--until", "{until}", "--", "all"),
    "dvc": ("dvc", "repro", "{until}"),
}
LAST = "make_report"
LONGEST = 7200.0  # seconds that one start of an engine may take
INTERVAL = 0.1  # seconds between two checkpoints, instead of a minute, which no job of this preset lasts

# Takes the place of the `metadiffuser` program: the same, with what it says kept apart for every attempt.
PROGRAM = """#!PYTHON
import itertools, os, sys
from pathlib import Path

folder = Path("attempts", "-".join(sys.argv[1:]))
folder.mkdir(parents=True, exist_ok=True)
for number in itertools.count():
    try:
        said = os.open(folder / f"{number:03d}.log", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        break
    except FileExistsError:
        pass
os.dup2(said, 2)
from metadiffuser.cli import main
sys.exit(main())
"""


Files = dict[str, str]  # {path below the project: hash}


class VisibleFaultError(AssertionError):
    """What a kill has made visible."""


def scratch(target: Path, families: Sequence[str], baselines: Sequence[str]) -> Project:
    """A copy of the project on the smoke preset, cut to some families and baselines, which writes checkpoints often."""
    project = copy_project(target)
    text = whole("smoke", project.root / "presets")
    text = re.sub(r"^families: .*", f"families: [{', '.join(families)}]", text, flags=re.M)
    text = re.sub(r"^baselines: .*", f"baselines: [{', '.join(baselines)}]", text, flags=re.M)
    (project.root / "params.yaml").write_text(text, encoding="utf-8")
    source = project.root / "src" / "metadiffuser" / "checkpointing.py"
    code = source.read_text(encoding="utf-8")
    (source).write_text(re.sub(r"^INTERVAL = .*", f"INTERVAL = {INTERVAL}", code, flags=re.M), encoding="utf-8")
    program = project.root / ".stub" / "metadiffuser"
    program.parent.mkdir()
    program.write_text(PROGRAM.replace("PYTHON", sys.executable), encoding="utf-8")
    program.chmod(0o755)
    return project


def twin(project: Project, target: Path) -> Project:
    """A copy of a project with all its files."""
    shutil.copytree(project.root, target, symlinks=True)
    return Project(target)


def jobs_until(project: Project, until: str) -> list[dag.Job]:
    """The jobs of a stage, and those that they need."""
    jobs = dag.jobs(load(project.root / "params.yaml"))
    needed = {job.name for job in jobs if job.stage.name == until}
    for job in reversed(jobs):  # consumers after producers
        if any(set(job.outputs) & set(other.inputs) for other in jobs if other.name in needed):
            needed.add(job.name)
    return [job for job in jobs if job.name in needed]


def outputs(project: Project, until: str) -> tuple[list[str], list[str]]:
    """The outputs that do not depend on when they are made, and those that do."""
    volatile = re.compile("|".join(re.sub(r"{\w+}", "[^/]+", re.escape(name).replace(r"\{", "{").replace(r"\}", "}"))
                                   for name in paths.VOLATILE))  # fmt: skip
    every = [path for job in jobs_until(project, until) for path in job.outputs]
    timed = [path for path in every if volatile.fullmatch(path)]
    return [path for path in every if path not in timed], timed


def contents(root: Path, output: str) -> Files:
    """The files of an output; none if it is not there, or vanishes meanwhile, as engines delete what is stale."""
    path = root / output
    try:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        return {
            str(file.relative_to(root)): digest(file.read_bytes())
            for file in files
            if not file.is_dir() and file.name != ".snakemake_timestamp"
        }
    except FileNotFoundError:
        return {}


def digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def complete(name: str, content: bytes) -> bool:
    """Tell whether a file that holds times has come to its end."""
    if name.endswith(".html"):
        return content.rstrip().endswith(b"</html>")
    with suppress(ValueError):
        return bool(json.loads(content))
    return False


def reference(project: Project, until: str = LAST) -> dict[str, Files]:
    """Run the DAG undisturbed; return {output: its files}."""
    start(project, "snakemake", until).wait(timeout=LONGEST)
    made = {path: contents(project.root, path) for path in outputs(project, until)[0]}
    missing = [path for path, files in made.items() if not files]
    if missing:
        raise VisibleFaultError(
            f"the undisturbed run has not made {missing[0]}:\n{(project.root / 'engine.log').read_text()}"
        )
    return made


def start(project: Project, engine: str, until: str) -> subprocess.Popen[bytes]:
    """Start an engine in a session of its own."""
    environment = project.environment()
    environment["PATH"] = f"{project.root / '.stub'}{os.pathsep}{environment['PATH']}"
    with (project.root / "engine.log").open("ab") as log:
        words = [word.format(until=until) for word in ENGINES[engine]]
        return subprocess.Popen(
            words, cwd=project.root, env=environment, stdout=log, stderr=log, start_new_session=True
        )
