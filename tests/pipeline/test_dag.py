"""The DAG: what it declares is what the stages import and read."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import yaml

from metadiffuser.config import plugins
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params, method_parameters
from metadiffuser.config.schema import Section
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag
from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "metadiffuser"

# What is imported and not declared, and why an edit of it re-runs nothing.
STRUCTURE = {
    "cli": "it reads the command and starts the job",
    "config": "the values of the parameters are declared, and a change of a default changes them",
    "pipeline": "it carries jobs and decides none of their outputs",
    "paths": "the places of inputs and outputs are declared",
    "errors": "the words of messages",
    "progress": "what a job prints while it runs",
}
SMOKE = load(ROOT / "presets" / "smoke.yaml")


def file_of(module: str) -> Path | None:
    """The file of a module of the package, given its dotted name; none for a name that is no module."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    return next((p for p in (path / "__init__.py", path.with_suffix(".py")) if p.is_file()), None)


@cache
def imports(path: Path) -> frozenset[Path]:
    """The files of the package that a file imports, packages' own files included, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    found: set[Path] = set()
    for name in names:
        if name.split(".")[0] == "metadiffuser" and file_of(name):
            parts = name.split(".")
            found |= {p for i in range(2, len(parts) + 1) if (p := file_of(".".join(parts[:i])))}
    return frozenset(found)


def reached(start: Path) -> Iterator[Path]:
    """All files that ``start`` imports, directly or through others, short of the structure."""
    seen, waiting = {start}, [start]
    while waiting:
        for path in imports(waiting.pop()):
            if path not in seen and path.relative_to(PACKAGE).parts[0].removesuffix(".py") not in STRUCTURE:
                seen.add(path)
                waiting.append(path)
                yield path


def inert(path: Path) -> bool:
    """Tell whether a file holds a docstring and nothing else."""
    return not [node for node in ast.parse(path.read_text(encoding="utf-8")).body if not isinstance(node, ast.Expr)]


FAMILIES = ("point_robot", "ant_dir")


def entry_points() -> Iterator[tuple[str, tuple[str, ...], list[Path]]]:
    """(name, declared code, files where imports begin) of every stage, for every method and two families."""
    for stage in dag.STAGES.values():
        methods = plugins.names("method") if "method" in stage.wildcards else ("",)
        families = FAMILIES if "family" in stage.wildcards else ("",)
        families = families[:1] if "method" in stage.wildcards else families
        for method, family in product(methods, families):
            files = [PACKAGE / "stages" / f"{stage.name}.py"]
            files += [PACKAGE / "baselines" / f"{method}.py"] if method else []
            files += [PACKAGE / "envs" / f"{family}.py"] if "envs/{family}.py" in stage.code else []
            code = dag.code_of(stage.name, {"method": method, "family": family})
            yield "-".join(filter(None, (stage.name, method, family))), code, files


ENTRIES = [pytest.param(code, files, id=name) for name, code, files in entry_points()]


@pytest.mark.parametrize(("code", "files"), ENTRIES)
def test_a_stage_declares_the_code_that_its_sources_name(code: tuple[str, ...], files: list[Path]) -> None:
    declared = {Path(path) for path in dag.source_files(code, PACKAGE)}
    needed = {path for start in files for path in (start, *reached(start)) if not inert(path)}
    missing = sorted(str(path.relative_to(PACKAGE)) for path in needed - declared)
    assert missing == [], "add to the stage's code in dag.py, then run 'metadiffuser dvc'"


# Forks an interpreter that has the libraries, so that each stage's imports are seen apart.
IMPORTS = """
import importlib, json, os, sys
import gymnasium, h5py, matplotlib.pyplot, mujoco, numpy, pandas, pydantic, scipy.stats, torch, yaml
for name, modules in json.load(sys.stdin).items():
    child = os.fork()
    if not child:
        for module in modules:
            importlib.import_module(module)
        found = [module.__file__ for key, module in sys.modules.items() if key.startswith("metadiffuser")]
        print(json.dumps([name, found]), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{name}: an import failed")
"""


@pytest.mark.slow
def test_a_stage_declares_the_code_that_its_process_imports() -> None:
    def module(path: Path) -> str:
        return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)

    runner = [PACKAGE / "pipeline" / "run.py"]  # which carries every job; what it needs decides no output
    started = {"runner": runner} | {name: files for name, _, files in entry_points()}
    asked = {name: [module(path) for path in files] for name, files in started.items()}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    imported = dict(json.loads(line) for line in done.stdout.splitlines())
    undeclared = {}
    for name, code, files in entry_points():
        found = {Path(path) for path in imported[name]}
        assert set(files) <= found, name
        declared = {Path(path) for path in dag.source_files(code, PACKAGE)}
        carried = {Path(path) for path in imported["runner"]}
        parts = {path.relative_to(PACKAGE) for path in found - declared - carried if not inert(path)}
        undeclared[name] = sorted(str(path) for path in parts if path.parts[0].removesuffix(".py") not in STRUCTURE)
    assert {name: paths for name, paths in undeclared.items() if paths} == {}


@pytest.mark.parametrize("stage", dag.STAGES.values(), ids=lambda stage: stage.name)
def test_declared_code_exists_and_is_imported(stage: dag.Stage) -> None:
    entries = [(code, files) for name, code, files in entry_points() if name.split("-")[0] == stage.name]
    used = {path for _, files in entries for start in files for path in (start, *reached(start))}
    for entry in {entry for code, _ in entries for entry in code[len(dag.COMMON_CODE) :]}:
        path = PACKAGE / entry
        assert path.exists(), entry
        assert any(file == path or path in file.parents for file in used), f"{stage.name} imports nothing of {entry}"


def test_a_job_of_one_baseline_depends_on_that_baseline_alone() -> None:
    for job, other in product(dag.jobs(SMOKE), plugins.names("method")):
        own = job.wildcards.get("method")
        if own and own != other:
            assert not [key for key in job.params if other in key.split(".")]
            assert f"baselines/{other}.py" not in job.code
        if own:
            assert f"baselines/{own}.py" in job.code
            family = job.wildcards["family"]
            own_params = {f"baseline.{own}", f"overrides.{family}.baseline.{own}"}
            assert own_params <= set(job.params) or job.stage.name in ("calibrate_baseline", "evaluate_baseline")


def attributes_read() -> set[str]:
    """Every attribute and string that appears in the package outside config.py."""
    names: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name == "schema.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                names.add(str(node.args[0].value))
    return names


def keys_of(model: type[Section]) -> Iterator[str]:
    """Every key of a section and of those below it, but for the names of the methods, which name files."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from keys_of(field.annotation)
        if model is Params or not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            yield name


def test_every_key_is_read_by_something() -> None:
    sections: list[type[Section]] = [Params, *(method_parameters(name) for name in plugins.names("method"))]
    keys = {key for section in sections for key in keys_of(section)}
    # A job gets its baseline's section by the name of its method.
    assert sorted(keys - {"overrides", "baseline"} - attributes_read()) == []


def test_every_section_is_a_parameter_of_a_job_with_its_overrides() -> None:
    for name in SMOKE.overridable():
        jobs = [job for job in dag.jobs(SMOKE) if name in job.params and "family" in job.wildcards]
        assert jobs, f"{name}: no job of the smoke preset depends on it"
        assert all(f"overrides.{job.wildcards['family']}.{name}" in job.params for job in jobs)


def test_producers_stand_before_consumers_and_every_output_has_one_maker() -> None:
    made: set[str] = set()
    for job in dag.jobs(SMOKE):
        assert set(job.inputs) <= made, job.name
        assert not made.intersection(job.outputs), job.name
        made.update(job.outputs)


def test_no_output_lies_in_another() -> None:
    outputs = [path for job in dag.jobs(SMOKE) for path in job.outputs]
    assert not [(a, b) for a in outputs for b in outputs if b.startswith(f"{a}/")]


def test_names_are_unique_and_readable() -> None:
    names = [job.name for job in dag.jobs(SMOKE)]
    assert len(set(names)) == len(names)
    assert "train_context@smoke-cheetah_vel-generalised-0" in names
    assert "make_report@smoke" in names


def test_overrides_of_one_family_leave_the_other_alone() -> None:
    tree = SMOKE.model_dump()
    tree["overrides"]["cheetah_vel"]["diffusion"] = {"steps": 41, "threads": 2}
    changed = Params.model_validate(tree)
    before = {job.name: job.params for job in dag.jobs(SMOKE)}
    after = {job.name: job.params for job in dag.jobs(changed)}
    differing = {name for name in before if before[name] != after[name]}
    assert differing == {"train_diffusion@smoke-cheetah_vel-generalised-0", "make_report@smoke"}
    threads = {job.name: dag.threads(job, changed) for job in dag.jobs(changed)}
    assert {name for name, count in threads.items() if count == 2} == {
        "train_diffusion@smoke-cheetah_vel-generalised-0"
    }


def test_a_wildcard_that_is_not_in_force_is_refused() -> None:
    with pytest.raises(InputError, match=r"--family ant: not in params\.yaml, which has point_robot, cheetah_vel"):
        dag.find_job("define_tasks", {"family": "ant"}, SMOKE)


def test_dvc_finds_the_command_in_the_checkout_without_activation(tmp_path: Path) -> None:
    program = tmp_path / ".venv" / "bin" / "metadiffuser"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    stage = next(iter(dag.STAGES))
    command = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["cmd"]
    environment = {"PATH": "/usr/bin:/bin"}
    words = command.replace("${item.family}", "point_robot")
    done = subprocess.run(words, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{stage} --family point_robot\n"
