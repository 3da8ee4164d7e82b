"""``metadiffuser verify``: each way in which outputs can differ from their record is reported as such."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from metadiffuser import cli, paths
from metadiffuser.artifacts import write_json
from metadiffuser.config.loading import load
from metadiffuser.pipeline import dag, dvc_lock, records
from metadiffuser.pipeline.verify import check, outdated, select
from tests.conftest import ROOT
from tests.helpers.recorded import fill, flip, lock

PARAMS = load(ROOT / "presets" / "smoke.yaml")
DATASET = Path("artifacts/smoke/datasets/point_robot")
CONTEXT = Path("artifacts/smoke/context/point_robot/generalised/seed0.safetensors")
METRICS = Path("results/smoke/metrics/context/point_robot/generalised/seed0.json")
CURVE = Path("results/smoke/training/context/point_robot/generalised/seed0")


def verify(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = cli.main(["verify", *words])
    return code, capsys.readouterr().out.splitlines()


def test_all_is_as_recorded(made: list[dag.Job], capsys: pytest.CaptureFixture[str]) -> None:
    total = len(dag.jobs(PARAMS))
    code, lines = verify(capsys)
    assert code == 0
    assert lines[-1] == f"smoke: {total} jobs: {len(made)} as recorded, 0 not, {total - len(made)} not made"
    assert {line.removesuffix(": not made") for line in lines[:-1]} == {
        job.name for job in dag.jobs(PARAMS) if job.name not in {one.name for one in made}
    }


@pytest.mark.parametrize(
    ("spoil", "output", "kind"),
    [
        (lambda: CONTEXT.unlink(), CONTEXT, "missing"),
        (lambda: shutil.rmtree(CURVE), CURVE, "missing"),
        (lambda: flip(CONTEXT), CONTEXT, "changed"),
        (lambda: os.truncate(CONTEXT, 300), CONTEXT, "damaged"),
        (lambda: os.truncate(CONTEXT, 0), CONTEXT, "damaged"),
        (lambda: METRICS.write_text("{"), METRICS, "damaged"),
        (lambda: METRICS.write_text("{}"), METRICS, "changed"),
        (lambda: (DATASET / "part" / "data.json").write_text("["), DATASET, "damaged"),
        (lambda: (DATASET / "part" / "data.json").write_text("[]"), DATASET, "changed"),
        (lambda: (DATASET / "extra.json").write_text("[]"), DATASET, "changed"),
    ],
)
def test_one_line_names_output_fault_and_remedy(
    made: list[dag.Job],
    capsys: pytest.CaptureFixture[str],
    record: str,
    spoil: Callable[[], object],
    output: Path,
    kind: str,
) -> None:
    spoil()
    code, lines = verify(capsys, "--family", "point_robot")
    (line,) = (line for line in lines[:-1] if not line.endswith(": not made"))
    (job,) = (job for job in made if str(output) in job.outputs)
    assert code == 1
    assert line.startswith(f"{job.name}: {output}: {kind}")
    assert "run 'snakemake --cores all all'" in line
    assert ("dvc pull" in line) == (record != "job" and line.split(": ")[1].startswith("artifacts/"))
    assert lines[-1].endswith(f"1 not (outputs: 1 {kind}), {len(lines) - 2} not made")


def test_the_file_of_a_folder_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (job,) = select(PARAMS, "collect_dataset", {"family": "point_robot"})
    fill(job)
    records.write(job, "")
    for spoil, said in (
        (
            lambda: (DATASET / "part" / "data.json").write_text("[1]"),
            f"changed: the contents of {DATASET}/part/data.json differ",
        ),
        (
            lambda: (DATASET / "index.json").unlink(),
            f"missing: {DATASET}/index.json does not exist (the first of 2 files)",
        ),
        (
            lambda: (DATASET / "a.json").write_text("1"),
            f"changed: {DATASET}/a.json is not in the record (the first of 3 ",
        ),
    ):
        spoil()
        assert said in str(check(job, None).faults[0])


def test_dvc_names_the_file_as_long_as_its_cache_has_the_listing(project: Path) -> None:
    (job,) = select(PARAMS, "collect_dataset", {"family": "point_robot"})
    fill(job)
    lock([job])
    entry = dvc_lock.read()[job.name]
    recorded, listing = dvc_lock.path_hash(DATASET)
    (DATASET / "index.json").write_text("[4]")
    assert check(job, entry).faults[0].what == "changed: its files differ from the recorded ones"
    cache = dvc_lock.cached(recorded)
    write_json(cache, [{"relpath": name, "md5": value} for name, value in listing.items()])
    (fault,) = check(job, entry).faults
    assert fault.what == f"changed: the contents of {DATASET}/index.json differ"
    assert f"delete it, then 'dvc checkout {DATASET}'" in fault.remedy


def test_a_clone_misses_what_was_made_elsewhere(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = dag.find_job("define_tasks", {"family": "point_robot"}, PARAMS)
    fill(job)
    lock([job])
    Path(job.outputs[0]).unlink()
    code, lines = verify(capsys, "define_tasks")
    assert code == 1
    assert lines[0].startswith(f"{job.name}: {job.outputs[0]}: missing; 'dvc pull {job.outputs[0]}', or run ")
    assert lines[1:] == [
        "define_tasks@smoke-cheetah_vel: not made",
        "smoke: 2 jobs: 0 as recorded, 1 not (outputs: 1 missing), 1 not made",
    ]


def test_either_record_will_do(project: Path) -> None:
    job = dag.find_job("define_tasks", {"family": "point_robot"}, PARAMS)
    fill(job)
    lock([job])
    entry = dvc_lock.read()[job.name]
    Path(job.outputs[0]).write_text('{"made": "by hand, later"}')
    assert check(job, entry).faults
    records.write(job, records.fingerprint(job))
    assert not check(job, entry).faults  # a run after the last commit to dvc.lock
    fill(job)
    assert not check(job, entry).faults  # 'dvc checkout' of what was there before that run


def test_outputs_of_a_job_that_did_not_end(project: Path) -> None:
    job = dag.find_job("define_tasks", {"family": "point_robot"}, PARAMS)
    assert check(job, None) == check(job, None).__class__(False)
    write_json(Path(job.outputs[0]), {})
    (fault,) = check(job, None).faults
    assert fault.path == job.outputs[0]
    assert fault.what.startswith("unrecorded")


def git(*words: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *identity, *words], check=True, capture_output=True)


def test_committed_results_without_a_record_are_no_fault(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = dag.find_job("train_context", {"family": "point_robot", "representation": "generalised", "seed": "0"}, PARAMS)
    fill(job)
    git("init", "--quiet")
    git("add", "--force", str(METRICS), str(CURVE))
    git("commit", "--quiet", "-m", "results made elsewhere")
    CONTEXT.unlink()
    Path(dag.timing_path(job.name, "smoke")).unlink()
    words = ("train_context", "--family", "point_robot")
    code, lines = verify(capsys, *words)
    assert code == 0
    assert lines == [
        f"{job.name}: {path}: from git, without a record of its job; 'git log -- {path}' shows who committed it"
        for path in (str(CURVE), str(METRICS))
    ] + ["smoke: 1 job: 0 as recorded, 0 not, 0 not made, 1 from git without a record"]
    assert not any("delete" in line for line in lines)
    (CURVE / "index.json").write_text("[9]")
    code, lines = verify(capsys, *words)
    assert code == 1
    assert (
        f"{job.name}: {CURVE}: unrecorded: it differs from git, and no job that has ended wrote it; 'git status"
        in lines[0]
    )
    assert "delete" not in lines[0]
    assert lines[-1] == "smoke: 1 job: 0 as recorded, 1 not (outputs: 1 unrecorded), 0 not made"
    git("checkout", "--", str(CURVE))
    (CURVE / "more.json").write_text("[9]")
    assert verify(capsys, *words)[0] == 1
    (CURVE / "more.json").unlink()
    METRICS.unlink()
    shutil.rmtree(CURVE)
    code, lines = verify(capsys, *words)
    assert code == 1
    assert lines == [
        f"{job.name}: {path}: missing; 'git checkout -- {path}' restores it" for path in (str(CURVE), str(METRICS))
    ] + ["smoke: 1 job: 0 as recorded, 1 not (outputs: 2 missing), 0 not made"]
    git("checkout", "--", str(CURVE), str(METRICS))
    (CURVE / ".snakemake_timestamp").touch()
    assert verify(capsys, *words)[0] == 0
    fill(job)
    code, lines = verify(capsys, *words)
    assert code == 1
    assert f"{job.name}: {CONTEXT}: unrecorded: its job did not end; delete it and run" in lines[0]
    records.write(job, "fingerprint")
    assert verify(capsys, *words) == (0, ["smoke: 1 job: 1 as recorded, 0 not, 0 not made"])


def test_files_that_no_job_writes_are_reported_and_are_no_fault(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = Path("artifacts/smoke/tasks/.point_robot.json.abc.part")
    left.parent.mkdir(parents=True)
    left.touch()
    of_verbs = [Path("results/smoke") / name for name in ("tuning.csv", "tuning.md", "spread.json")]
    for path in of_verbs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    code, lines = verify(capsys)
    assert code == 0
    assert not any(line.startswith(f"{path}:") for line in lines for path in of_verbs), "other verbs wrote them"
    assert f"{left}: no job of params.yaml writes this file; delete it if you do not need it" in lines


def test_imported_data_are_compared_with_their_name(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Path("data")
    data.write_text("imported")
    digest = records.digests(data)[1]["data"]
    text = Path("params.yaml").read_text()
    changed = text.replace("  point_robot:\n    tasks: none", f"  point_robot:\n    tasks: {{imported: '{digest}'}}", 1)
    assert text != changed
    Path("params.yaml").write_text(changed)
    path = Path(paths.IMPORTED.format(family="point_robot", digest=digest))
    code, lines = verify(capsys)
    assert code == 1
    assert lines[0].startswith(f"import@point_robot: {path}: missing; run 'metadiffuser import'")
    path.parent.mkdir(parents=True)
    path.write_text("imported")
    assert verify(capsys)[0] == 0
    path.write_text("other")
    assert "changed" in verify(capsys)[1][0]


def test_options_are_checked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (("evaluate", "--method", "bc"), "evaluate is not one job per method; it has --family, --representation"),
        (("make_tables", "--seed", "0"), "make_tables is not one job per seed; it has no options"),
        (("--family", "antmaze"), "not in params.yaml, which has point_robot"),
        (("--rerun", "make_report"), "all of its outputs contain times"),
        (("--rerun", "train_context"), "artifacts/smoke/tasks/point_robot.json: missing"),
    ):
        assert cli.main(["verify", *words]) == 2
        assert said in capsys.readouterr().err
    Path("dvc.lock").write_text("<<<<<<< HEAD\nstages: [")
    assert cli.main(["verify"]) == 2
    assert "dvc.lock: damaged or in the middle of a merge" in capsys.readouterr().err


def test_hashes_are_those_of_dvc() -> None:
    """What dvc itself recorded of committed results, folders among them."""
    stages = yaml.load((ROOT / "dvc.lock").read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["stages"]
    outs = {path: value for entry in stages.values() for path, value in dvc_lock.hashes(entry, "outs").items()}
    committed = {path: value for path, value in outs.items() if path.startswith("results/") and (ROOT / path).exists()}
    assert any(value.endswith(dvc_lock.FOLDER) for value in committed.values())
    assert {path: dvc_lock.path_hash(ROOT / path)[0] for path in committed} == committed


def test_a_record_of_other_parameters_or_inputs_is_outdated(made: list[dag.Job]) -> None:
    job = made[-1]
    entry = dvc_lock.read().get(job.name)
    assert not outdated(job, entry)
    Path(job.inputs[0]).write_text("{}")
    assert outdated(job, entry)


@pytest.mark.parametrize(
    "text",
    [
        "just words",
        "stages: {x: 3}",
        "stages: {x: {outs: }}",
        "stages: {x: {outs: 3}}",
        "stages: {x: {outs: [{md5: a}]}}",
        "stages: {x: {outs: [{path: 3}]}}",
        "stages: {x: {outs: [{path: a, md5: 3}]}}",
        "stages: {x: {outs: [{path: a, size: large}]}}",
        "stages: {x: {deps: {a: b}}}",
        "stages: {x: {params: [a]}}",
        "stages: {x: {params: {params.yaml: [a]}}}",
        b"stages: {\xff: 3}",
    ],
)
def test_a_damaged_record_is_an_error_of_its_own(
    project: Path, capsys: pytest.CaptureFixture[str], text: str | bytes
) -> None:
    Path("dvc.lock").write_bytes(text if isinstance(text, bytes) else text.encode())
    for words in (["verify"], ["estimate"]):
        if words[0] == "plan":
            shutil.copytree(ROOT / "presets", "presets")
        assert cli.main(words) == 2
        assert capsys.readouterr().err.splitlines()[-1] == (
            "metadiffuser: dvc.lock: damaged or in the middle of a merge; "
            "'git checkout -- dvc.lock' restores the committed one"
        )
