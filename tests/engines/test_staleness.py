"""An edit of any key of params.yaml, or of any package, makes the same jobs stale in both engines and by dag.py.

Dry runs take about a second each, so the suite tries a dozen keys; ``make staleness`` tries them all.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml

from metadiffuser.config import plugins, schema
from metadiffuser.config.loading import check
from metadiffuser.config.params import Params, override_in, section_type
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag
from tests.conftest import ROOT, whole
from tests.helpers.stubbed import Stubbed, stubbed_copy

pytestmark = pytest.mark.engine

SAMPLE = 12
EVERY = os.environ.get("EVERY_KEY") == "true"
FAMILY = "point_robot"
TREE: dict[str, Any] = yaml.safe_load(whole())
TREE |= {"families": [FAMILY], "baselines": ["bc", "macaw"]}  # less jobs, no less keys


def words(annotation: Any) -> Iterator[str]:
    """The strings that a field of this type may have, where they are listed."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif isinstance(annotation, type) and issubclass(annotation, schema.Section):
        for field in annotation.model_fields.values():
            yield from words(field.annotation)
    else:
        for part in get_args(annotation):
            yield from words(part)


WORDS = [*dict.fromkeys(words(Params)), *plugins.names("method"), "cheetah_vel", "other"]


def leaves(model: type[schema.Section], above: str = "") -> Iterator[str]:
    """The dotted keys of a section, from the types and not from a file."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, schema.Section):
            yield from leaves(kind, f"{above}{name}.")
        elif name not in ("baseline", "overrides", "imported"):  # by method and section below; the last needs data
            yield f"{above}{name}"


KEYS = list(leaves(Params))
KEYS += [key for name in TREE["baseline"] for key in leaves(section_type(f"baseline.{name}"), f"baseline.{name}.")]
KEYS += [
    f"overrides.{FAMILY}.{section}.{next(iter(section_type(section).model_fields))}"
    for section in check(TREE).overridable()
]


def others(value: Any) -> list[Any]:
    """Values beside ``value``, of which one will do."""
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, value - 1, value + 4, value + 16, value * 2]
        case float():
            return [value / 2 + 0.0625, value / 2]
        case str():
            return [*WORDS, 0.25]
        case list():
            tails = [*WORDS, len(value), 16, {"sampler": "dpm_solver", "steps": 3}]
            return [value[:-1], *([*value, tail] for tail in tails), value[::-1]]
    raise AssertionError(value)


def changed(key: str) -> dict[str, Any]:
    """The parameters with another value at ``key`` that makes sense."""
    above, _, leaf = key.rpartition(".")
    start = dag.lookup(TREE, key.removeprefix(f"overrides.{FAMILY}."))
    for value in (value for value in others(start) if value != start):
        tree = copy.deepcopy(TREE)
        _, _, section = above.removeprefix("overrides.").partition(".")
        node = override_in(tree, FAMILY, section) if above.startswith("overrides.") else tree
        (node if node is not tree or not above else dag.lookup(tree, above))[leaf] = value
        try:
            check(tree)
        except InputError:
            continue
        return tree
    raise AssertionError(f"no other value of {key} was found")


def by_dag(tree: dict[str, Any]) -> set[str]:
    """The jobs that are new or have other parameters or inputs, and those that read from them."""
    before = {job.name: job for job in dag.jobs(check(TREE))}
    stale: set[str] = set()
    stale_outputs: set[str] = set()
    for job in dag.jobs(check(tree)):
        known = before.get(job.name)
        if (
            known is None
            or (known.params, known.inputs) != (job.params, job.inputs)
            or stale_outputs.intersection(job.inputs)
        ):
            stale.add(job.name)
            stale_outputs.update(job.outputs)
    return stale


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Stubbed:
    """A project in which every job is run and recorded."""
    project = stubbed_copy(tmp_path_factory.mktemp("recorded") / "project", "smoke")
    (project.root / "params.yaml").write_text(yaml.safe_dump(TREE))
    project.snakemake()
    return project


def test_every_key_has_another_value_and_most_make_something_stale() -> None:
    idle = {key for key in KEYS if not by_dag(changed(key))}
    assert idle == set()
    assert len(KEYS) > 150


def test_an_edit_of_any_key_makes_the_same_jobs_stale(recorded: Stubbed) -> None:
    keys = KEYS if EVERY else KEYS[:: -(-len(KEYS) // SAMPLE)]
    trees = [changed(key) for key in keys]
    edits = [{"params.yaml": yaml.safe_dump(tree)} for tree in trees]
    in_snakemake, in_dvc = (recorded.waiting_after(engine, edits) for engine in ("snakemake", "dvc"))
    for key, tree, first, second in zip(keys, trees, in_snakemake, in_dvc, strict=True):
        expected = by_dag(tree)
        assert first == second == expected, f"{key}: {sorted(first ^ second) or sorted(first ^ expected)}"


# A file of every part of the package that a stage runs.
SOURCES = {
    entry.split("/")[0]: next(file for file in dag.source_files([entry], ROOT / dag.PACKAGE) if file.endswith(".py"))
    for stage in dag.STAGES.values()
    for entry in stage.code
    if "{" not in entry
}


def runs(job: dag.Job, source: str) -> bool:
    return any(f"{source}/".startswith(f"{entry}/") for entry in job.code)


def test_an_edit_of_any_package_makes_the_same_jobs_stale(recorded: Stubbed) -> None:
    names = [str(Path(path).relative_to(ROOT / dag.PACKAGE)) for path in SOURCES.values()]
    assert {"envs", "data", "behaviour", "context", "diffusion", "planning", "evaluation", "stages"} <= set(SOURCES)
    files = [f"{dag.PACKAGE}/{name}" for name in names]
    edits = [{file: (recorded.root / file).read_text() + "\n# edited\n"} for file in files]
    in_snakemake, in_dvc = (recorded.waiting_after(engine, edits) for engine in ("snakemake", "dvc"))
    jobs = dag.jobs(check(TREE))
    for name, first, second in zip(names, in_snakemake, in_dvc, strict=True):
        stale_outputs: set[str] = set()
        expected = set()
        for job in jobs:
            if runs(job, name) or stale_outputs.intersection(job.inputs):
                expected.add(job.name)
                stale_outputs.update(job.outputs)
        assert first == second == expected, f"{name}: {sorted(first ^ second) or sorted(first ^ expected)}"
        assert expected, name


def test_what_no_job_runs_makes_nothing_stale(recorded: Stubbed) -> None:
    files = [f"{dag.PACKAGE}/{name}" for name in ("cli.py", "pipeline/dag.py", "errors.py", "viewing/__init__.py")]
    edits = [{file: (recorded.root / file).read_text() + "\n# edited\n"} for file in files]
    for engine in ("snakemake", "dvc"):
        *idle, watched = recorded.waiting_after(engine, edits)
        assert idle == [set(), set(), set()]
        assert {name.split("@")[0] for name in watched} == {"render_rollouts", "make_report"}


def test_edits_are_undone(recorded: Stubbed) -> None:
    assert json.loads((recorded.root / "edits.json").read_text())
    assert recorded.waiting("snakemake") == recorded.waiting("dvc") == set()
