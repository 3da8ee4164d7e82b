"""One DAG in three forms: dag.py, Snakefile and dvc.yaml state the same jobs, and grow stale by the same edits."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from metadiffuser.config import plugins
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params, json_schema
from metadiffuser.pipeline import dag, dvc_yaml
from tests.conftest import ROOT, put_in_force, whole
from tests.helpers.stubbed import Stubbed, stubbed_copy

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Stubbed:
    """A copy of the project with no records."""
    return stubbed_copy(tmp_path_factory.mktemp("engines") / "project", "quick")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Stubbed:
    """A copy of the project with every job of the smoke preset run and recorded."""
    project = stubbed_copy(tmp_path_factory.mktemp("recorded") / "project", "smoke")
    project.snakemake()
    return project


def code_of(job: dag.Job) -> list[str]:
    return [f"{dag.PACKAGE}/{entry}" for entry in job.code]


def against_snakemake(job: dag.Job, found: dict[str, Any], project: Stubbed, params: Params) -> Iterator[str]:
    """What a job of the Snakefile says otherwise than dag.py."""
    package = project.root / dag.PACKAGE
    sources = dag.source_files(job.code, package)
    expected = {
        "command": job.command,
        "params": dict(job.params),
        "inputs": sorted([str(Path(path).relative_to(project.root)) for path in sources] + list(job.inputs)),
        "outputs": sorted(job.outputs),
        "threads": dag.threads(job, params),
        "params_entries": 1,
        "logged": True,
    }
    found = found | {"inputs": sorted(found["inputs"]), "outputs": sorted(found["outputs"])}
    yield from (f"{job.name}.{key}: {found[key]} for {value}" for key, value in expected.items() if found[key] != value)
    if not {"runtime", "mem_mb", "gpu"} <= set(found["resources"]):
        yield f"{job.name}.resources: {found['resources']}"


def against_dvc(job: dag.Job, found: dict[str, Any], outputs: set[str]) -> Iterator[str]:
    """What a job of dvc.yaml says otherwise than dag.py; a folder stands for all outputs below it."""
    if found["command"] != job.command:
        yield f"{job.name}.command: {found['command']}"
    if found["params"] != job.params:
        yield f"{job.name}.params: {found['params']}"
    if sorted(found["outputs"]) != sorted(job.outputs):
        yield f"{job.name}.outs: {found['outputs']}"
    cached = [path for path in job.outputs if path.startswith("artifacts/") or path.endswith("report.html")]
    if sorted(found["cached"]) != sorted(cached):
        yield f"{job.name}: in DVC's cache are {found['cached']}"
    code = {path for path in found["inputs"] if path.startswith("src/")}
    if code != set(code_of(job)):
        yield f"{job.name}.deps: code {sorted(code ^ set(code_of(job)))}"
    read = {out for dep in set(found["inputs"]) - code for out in outputs if f"{out}/".startswith(f"{dep}/")}
    if read != set(job.inputs):
        yield f"{job.name}.deps: inputs {sorted(read ^ set(job.inputs))}"


def differences(project: Stubbed, engines: tuple[str, ...] = ("snakemake", "dvc")) -> list[str]:
    """Every respect in which the engines' jobs are not those of dag.py."""
    params = load(project.root / "params.yaml")
    jobs = {job.name: job for job in dag.jobs(params)}
    outputs = {path for job in jobs.values() for path in job.outputs}
    found: list[str] = []
    for engine in engines:
        listed = project.listed(engine)
        found += [f"{name}: only in dag.py or {engine}" for name in sorted(set(jobs) ^ set(listed))]
        for name in set(jobs) & set(listed):
            if engine == "dvc":
                found += against_dvc(jobs[name], listed[name], outputs)
            else:
                found += against_snakemake(jobs[name], listed[name], project, params)
    return found


@pytest.mark.parametrize("preset", ["smoke", "quick", "paper"])
def test_three_forms_of_one_dag(copy: Stubbed, preset: str) -> None:
    text = whole(preset)
    if preset == "paper":  # its seeds and shards are what it has more; six families of them would take minutes
        text = re.sub(r"^families: .*$", "families: [point_robot, cheetah_vel]", text, flags=re.M)
        text = re.sub(r"^baselines: .*$", "baselines: [bc, macaw]", text, flags=re.M)
    text = text.replace("  cheetah_vel:\n    tasks: none", "  cheetah_vel:\n    tasks: {train: 7}")
    (copy.root / "params.yaml").write_text(re.sub(r"^( +)threads: 1", r"\1threads: 3", text, flags=re.M))
    assert differences(copy) == []


FINAL = ("make_tables", "make_figures", "make_report")
AFTER = {
    "train_behaviour": (
        "collect_dataset",
        "describe_dataset",
        "train_context",
        "train_diffusion",
        "calibrate",
        "evaluate",
        "train_baseline",
        "calibrate_baseline",
        "evaluate_baseline",
        "render_rollouts",
        *FINAL,
    ),
    "train_baseline": ("calibrate_baseline", "evaluate_baseline", *FINAL),
    "calibrate": ("evaluate", "render_rollouts", *FINAL),
    "calibrate_baseline": ("evaluate_baseline", *FINAL),
    "evaluate_baseline": FINAL,
    "train_diffusion": ("calibrate", "evaluate", "render_rollouts", *FINAL),
    "evaluate": ("render_rollouts", *FINAL),
    "make_tables": FINAL,
}
MODEL = "quick-point_robot-generalised-0"


@pytest.mark.parametrize(
    ("engine", "edits"),
    [
        (
            "dvc",
            [
                ("dvc.yaml", "      - src/metadiffuser/planning\n", "", f"calibrate@{MODEL}.deps: code"),
                (
                    "dvc.yaml",
                    "      - overrides.${item.family}.dataset\n",
                    "",
                    "collect_dataset@quick-point_robot.params",
                ),
                ("dvc.yaml", "      - results/${item.preset}/videos\n", "", "make_report@quick.deps: inputs"),
                ("dvc.yaml", "--shard $", "--shard 0$", "train_behaviour@quick-point_robot-0.command"),
                ("dvc.yaml", "  make_tables:", "  make_table:", "make_tables@quick: only in dag.py"),
                (
                    "dvc.yaml",
                    "/figures:\n          cache: false",
                    "/figures:\n          cache: true",
                    "make_figures@quick: in",
                ),
            ],
        ),
        (
            "snakemake",
            [
                (
                    "workflow/rules/behaviour.smk",
                    'code=code_of("define_tasks")',
                    'code=code_of("make_tables")',
                    "define_tasks@quick-point_robot.inputs",
                ),
                (
                    "workflow/rules/dataset.smk",
                    'params_of("collect_dataset")',
                    'params_of("describe_dataset")',
                    "collect_dataset@quick-point_robot.params",
                ),
                ("workflow/rules/diffusion.smk", "--seed {", "--seed 1{", f"train_diffusion@{MODEL}.command"),
                ("workflow/rules/context.smk", 'threads_of("context")', "7", f"train_context@{MODEL}.threads"),
                ("workflow/rules/evaluation.smk", " > {log} 2>&1", "", f"calibrate@{MODEL}.logged"),
            ],
        ),
    ],
    ids=["dvc", "snakemake"],
)
def test_a_difference_is_found(copy: Stubbed, engine: str, edits: list[tuple[str, str, str, str]]) -> None:
    put_in_force(copy.root, "quick")
    files = {copy.root / edit[0] for edit in edits}
    before = {path: path.read_text() for path in files}
    try:
        for file, old, new, _ in edits:
            copy.edit(file, old, new)
        found = differences(copy, (engine,))
    finally:
        for path, text in before.items():
            path.write_text(text)
    missed = [inconsistency for *_, inconsistency in edits if not any(inconsistency in line for line in found)]
    assert missed == []


@pytest.mark.parametrize(
    ("file", "old", "new", "first"),
    [
        ("params.yaml", r"(?s)(\ndiffusion:.*?learning_rate: )\S+", r"\g<1>0.00077", "train_diffusion"),
        ("params.yaml", r"(?s)(\nevaluation:.*?episodes: )\S+", r"\g<1>7", "evaluate evaluate_baseline"),
        ("params.yaml", r"(?s)(\nbaseline:.*? bc:.*?learning_rate: )\S+", r"\g<1>0.00077", "train_baseline"),
        ("params.yaml", r"(?s)(\nbehaviour:.*?steps: )\S+", r"\g<1>4800", "train_behaviour"),
        ("params.yaml", "title: ", "title: Again, ", "make_tables"),
        ("src/metadiffuser/planning/planner.py", '"""', '"""Edited. ', "calibrate"),
    ],
    ids=[
        "diffusion.learning_rate",
        "evaluation.episodes",
        "baseline.bc.learning_rate",
        "behaviour.steps",
        "report.title",
        "planner.py",
    ],
)
def test_an_edit_makes_the_same_jobs_stale(recorded: Stubbed, file: str, old: str, new: str, first: str) -> None:
    path = recorded.root / file
    whole, times = path.read_bytes(), path.stat()
    try:
        text, count = re.subn(old, new, whole.decode(), count=1)
        assert count == 1
        path.write_text(text)
        in_snakemake, in_dvc = recorded.waiting("snakemake"), recorded.waiting("dvc")
    finally:
        path.write_bytes(whole)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert in_snakemake == in_dvc
    expected = {stage for name in first.split() for stage in (name, *AFTER[name])}
    assert {name.split("@")[0] for name in in_dvc} == expected
    if first == "train_baseline":
        methods = {name.split("-")[-2] for name in in_dvc if name.startswith(("train_baseline", "evaluate_baseline"))}
        assert methods == {"bc"}


def test_the_order_of_keys_and_a_touched_source_change_nothing(recorded: Stubbed) -> None:
    text = (recorded.root / "params.yaml").read_text()
    try:
        tree = yaml.safe_load(text)
        (recorded.root / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=True))
        (recorded.root / "src" / "metadiffuser" / "seeding.py").touch()
        assert recorded.waiting("snakemake") == recorded.waiting("dvc") == set()
    finally:
        (recorded.root / "params.yaml").write_text(text)


def test_dvc_shows_the_scores_and_every_learning_curve_without_a_warning(recorded: Stubbed) -> None:
    done = recorded.run("dvc", "metrics", "show", "--json")
    shown = json.loads(done.stdout)[""]["data"]
    assert set(shown) == {"results/smoke/tables/scores.json"}
    assert set(shown["results/smoke/tables/scores.json"]["data"]) == {"Point-Robot"}
    plots = recorded.run("dvc", "plots", "show", "--json")
    drawn = {name for name in json.loads(plots.stdout)["data"] if name.endswith(".tsv")}
    curves = [path for job in dag.jobs(load(recorded.root / "params.yaml")) for path in job.outputs]
    expected = {f"{path}/plots/metrics/loss.tsv" for path in curves if path.startswith("results/smoke/training/")}
    assert drawn == expected
    assert "failed" not in done.stderr + plots.stderr
    assert "WARNING" not in done.stderr + plots.stderr


def test_lint_finds_nothing(copy: Stubbed) -> None:
    assert "good condition" in copy.run("snakemake", "--lint").stderr


def test_schema_is_that_of_the_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_entry_points", lambda kind: {})  # the committed one has no plug-ins
    path = ROOT / "workflow" / "schemas" / "params.schema.json"
    generated = json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"
    remedy = f"metadiffuser schema > {path.relative_to(ROOT)}"
    assert path.read_text(encoding="utf-8") == generated, f"the types have changed; mend it with: {remedy}"


def test_dvc_yaml_is_what_the_command_writes() -> None:
    assert (ROOT / "dvc.yaml").read_text(encoding="utf-8") == dvc_yaml.render(), "run 'metadiffuser dvc' and commit"
