"""``metadiffuser plan``: work is counted as the code does it, rates give recorded times back, schedules add up."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from metadiffuser import cli, paths
from metadiffuser.artifacts import read_json, write_json
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.context.encoder import ContextEncoder
from metadiffuser.diffusion.unet import TemporalUNet
from metadiffuser.evaluation.cells import make_cells
from metadiffuser.pipeline import costs, dag
from metadiffuser.pipeline.costs import COSTS, Costs, Measured, family_shapes, measure
from metadiffuser.pipeline.estimate import Node, critical_path, duration, schedule, size
from metadiffuser.pipeline.workload import METHODS, PHYSICS, Shape, _encoder, denoiser, work_of
from tests.conftest import ROOT, put_in_force

QUICK = load(ROOT / "presets" / "quick.yaml")
PAPER = load(ROOT / "presets" / "paper.yaml")
SHAPES = family_shapes()
FAMILY = {"family": "cheetah_vel"}
MODEL = {**FAMILY, "representation": "generalised", "seed": "0"}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the verb reads: presets, params.yaml and the committed rates."""
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / COSTS).parent.mkdir()
    shutil.copy(ROOT / COSTS, tmp_path / COSTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edited(params: Params, **sections: dict[str, Any]) -> Params:
    """Return parameters with some keys of sections replaced, overrides of cheetah_vel's sections left out."""
    tree = params.model_dump()
    for name, values in sections.items():
        tree[name] |= values
        tree["overrides"]["cheetah_vel"][name] = "none"
    return Params.model_validate(tree)


def seconds(stage: str, wildcards: dict[str, str], params: Params) -> float:
    return Costs.read().estimate(dag.find_job(stage, wildcards, params), params).cpu_seconds


def test_recorded_times_of_the_quick_preset_come_back_within_a_factor_of_two() -> None:
    rates = Costs.read()
    jobs = dag.jobs(QUICK, timed_only=True)
    for job in jobs:
        recorded = read_json(ROOT / dag.timing_path(job.name, "quick"))
        estimate = rates.estimate(job, QUICK)
        assert 0.5 < estimate.cpu_seconds / recorded["cpu_seconds"] < 2, job.name
        assert 0.5 < estimate.memory_mb / recorded["peak_memory_mb"] < 2, job.name
        assert not estimate.guessed


def test_committed_datasets_have_the_estimated_size() -> None:
    for family in QUICK.families:
        job = dag.find_job("collect_dataset", {"family": family}, QUICK)
        recorded = read_json(ROOT / paths.DATASET_METRICS.format(preset="quick", family=family))["bytes"]
        assert 0.5 < Costs.read().estimate(job, QUICK).disk / recorded < 2


@pytest.mark.parametrize(
    ("stage", "wildcards", "section", "change", "factor"),
    [
        ("train_diffusion", MODEL, "diffusion", {"steps": 8000}, 2),
        ("train_diffusion", MODEL, "diffusion", {"batch_size": 384}, 3),
        ("train_diffusion", MODEL, "diffusion", {"horizon": 32}, 4),
        ("train_context", MODEL, "context", {"steps": 2000}, 0.5),
        ("train_context", MODEL, "context", {"task_batch": 32}, 2),
        ("collect_dataset", FAMILY, "dataset", {"episodes": 60}, 3),
        ("evaluate", MODEL, "evaluation", {"episodes": 8, "study_episodes": 4}, 2),
        ("evaluate_baseline", {**FAMILY, "method": "bc", "seed": "0"}, "evaluation", {"episodes": 40}, 10),
        ("render_rollouts", FAMILY, "rendering", {"frames": 100}, 0.5),
    ],
)
def test_time_follows_what_drives_it(
    stage: str, wildcards: dict[str, str], section: str, change: dict[str, Any], factor: float
) -> None:
    before, after = seconds(stage, wildcards, QUICK), seconds(stage, wildcards, edited(QUICK, **{section: change}))
    assert after / before == pytest.approx(factor)


def test_policies_cost_updates_and_environment_steps() -> None:
    def amounts(params: Params) -> dict[str, float]:
        job = dag.find_job("train_behaviour", {**FAMILY, "shard": "0"}, params)
        return dict(work_of(job, params, SHAPES).amounts)

    kind = f"{PHYSICS}/cheetah_vel"
    base = {"steps": 100_000, "warmup_steps": 0, "updates_per_step": 0.25, "copies": 1}
    shared, fewer = (
        amounts(edited(QUICK, behaviour=base)),
        amounts(edited(QUICK, behaviour={**base, "updates_per_step": 0.125})),
    )
    alone = amounts(edited(QUICK, behaviour={**base, "sharing": "per_task"}))
    evaluated = 20 * 50 * 200  # checkpoints, tasks, steps of an episode
    assert shared[kind] == fewer[kind] == 100_000 + evaluated
    assert alone[kind] == 50 * 100_000 + evaluated
    assert shared["train_behaviour"] == pytest.approx(2 * fewer["train_behaviour"])
    assert alone["train_behaviour"] == pytest.approx(50 * shared["train_behaviour"])


def test_shards_share_the_tasks() -> None:
    many, kind = edited(PAPER), f"{PHYSICS}/cheetah_vel"
    jobs = [dag.find_job("train_behaviour", {**FAMILY, "shard": str(shard)}, many) for shard in many.shards]
    assert [work_of(job, many, SHAPES).amounts[kind] for job in jobs] == [5 * (500_000 + 50 * 5 * 200)] * 10
    tree = PAPER.model_dump()
    tree["overrides"]["cheetah_vel"]["tasks"] = {"train": 2, "test": 1}
    few = Params.model_validate(tree)
    work = [work_of(dag.find_job("train_behaviour", {**FAMILY, "shard": str(n)}, few), few, SHAPES) for n in range(4)]
    assert [bool(one.amounts) for one in work] == [True, True, True, False]


def test_representations_cost_what_they_train() -> None:
    tree = QUICK.model_dump() | {"representations": ["generalised", "focal", "corro", "true_task"]}
    params = Params.model_validate(tree)
    took = {
        name: seconds("train_context", {**MODEL, "representation": name}, params) for name in tree["representations"]
    }
    assert took["true_task"] < took["generalised"] < took["focal"] < took["corro"]


def test_sizes_of_families_are_those_of_their_environments() -> None:
    assert Costs.read().shapes == SHAPES


def test_networks_are_counted_as_they_are_built() -> None:
    shape = Shape(20, 6, 200)
    for multipliers, width in (([1, 2], 64), ([1, 2, 4, 8], 32), ([1], 16)):
        section = PAPER.diffusion.model_copy(update={"multipliers": multipliers, "width": width, "horizon": 8})
        network = TemporalUNet(26, 16, width, multipliers, section.denoising_steps)
        real = sum(parameter.numel() for parameter in network.parameters())
        assert denoiser(shape, section, 16)[1] == pytest.approx(real, rel=0.1)
    context = QUICK.context
    encoder = ContextEncoder(20, 6, context.latent_size, context.encoder_width)
    weights = sum(parameter.numel() for parameter in encoder.parameters() if parameter.dim() > 1)
    assert _encoder(shape, context, 1) == weights


def test_multiply_adds_of_the_denoiser_are_those_that_it_makes() -> None:
    counted = 0

    def linear(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal counted
        weight = next(p for p in module.parameters() if p.dim() > 1)
        counted += output.shape[:-1].numel() * weight.numel()

    section = QUICK.diffusion
    network = TemporalUNet(26, 8, section.width, section.multipliers, section.denoising_steps)
    for name, module in network.named_modules():
        if (isinstance(module, torch.nn.Linear) or type(module).__name__ == "Convolution") and "embed" not in name:
            module.register_forward_hook(linear)
    network.modulate._forward_hooks.clear()
    network(torch.zeros(1, section.horizon, 26), torch.zeros(1, 64))
    assert denoiser(Shape(20, 6, 200), section, 8)[0] == pytest.approx(counted)


def test_the_evaluation_has_as_many_cells_as_are_counted() -> None:
    for contexts in (["expert", "zero_shot"], ["zero_shot", "oracle"]):
        params = edited(QUICK, evaluation={"contexts": contexts, "guides": ["dual", "none"], "samplers": []})
        job = dag.find_job("evaluate", MODEL, params)
        steps = work_of(job, params, SHAPES).amounts[f"{PHYSICS}/cheetah_vel"]
        assert steps == len(make_cells(params.section("evaluation", "cheetah_vel"))) * 5 * 4 * 200


def test_every_baseline_is_counted() -> None:
    shape = Shape(20, 6, 200)
    assert METHODS.keys() == PAPER.baseline.keys()
    for name, count in METHODS.items():
        section = PAPER.baseline[name]
        longer = section.model_copy(update={"steps": 2 * section.steps})
        assert 1 < count(shape, longer, PAPER.context)[0] / count(shape, section, PAPER.context)[0] <= 2


def test_rates_are_recovered_from_records() -> None:
    rates = {f"{PHYSICS}/cheetah_vel": 1e-5, f"{PHYSICS}/point_robot": 1e-6, "train_behaviour": 3e-11}
    rates["evaluate_baseline/bc"] = 1e-4
    other = 2e-10

    def recorded(job: dag.Job, size: float) -> Measured:
        work = work_of(job, QUICK, SHAPES)
        spent = sum(amount * rates.get(kind, other) for kind, amount in work.amounts.items())
        timing = {
            "cpu_seconds": spent,
            "peak_memory_mb": 100 + 2e-6 * work.held,
            "machine": "Linux",
            "cores": 4,
            "finished": "2026-01-02T03:04:05+00:00",
        }
        return Measured(job, work, timing, size * work.written)

    measured = [recorded(job, 3.0) for job in dag.jobs(QUICK, timed_only=True)]
    found = measure(measured, SHAPES)
    for kind, rate in found.seconds.items():
        assert rate == pytest.approx(rates.get(kind, other), rel=1e-3), kind
    assert found.memory["train_diffusion"] == pytest.approx((100, 2e-6), rel=1e-3)
    assert set(found.disk.values()) == {3.0}
    assert found.records == {"quick": len(measured)}
    assert (found.machines, found.latest) == (["Linux, 4 cores"], "2026-01-02")
    found.write()
    assert Costs.read() == found


TIMING = {
    "cpu_seconds": 1,
    "peak_memory_mb": 2,
    "cores": 4,
    "machine": "Linux",
    "finished": "2026-01-02",
    "device": "cpu",
}


@pytest.mark.parametrize(
    "timing", [{}, [], 3, {"device": "cpu"}, TIMING | {"cpu_seconds": "1"}, TIMING | {"finished": None}]
)
def test_a_timing_record_that_is_none_is_one_sentence(capsys: pytest.CaptureFixture[str], timing: object) -> None:
    job = dag.find_job("train_context", MODEL, QUICK)
    stages = {job.name: {"params": {"params.yaml": dict(job.params)}, "outs": []}}
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    path = dag.timing_path(job.name, "quick")
    before = COSTS.read_bytes()
    write_json(Path(path), timing)
    assert cli.main(["plan", "--measure"]) == 2
    assert capsys.readouterr().err == (
        f"metadiffuser: {path}: not as a job writes it; 'git checkout -- {path}' or delete it, then run this again\n"
    )
    assert COSTS.read_bytes() == before
    write_json(Path(path), TIMING)
    assert len(costs.find([QUICK], SHAPES)) == 1


def test_what_a_new_method_or_family_lacks_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as changed:
        changed.delitem(METHODS, "bc")
        assert cli.main(["plan"]) == 2
    assert "baseline bc: its work is not known; add it to METHODS in src/metadiffuser/workload.py" in (
        capsys.readouterr().err
    )
    tree = read_json(COSTS)
    del tree["shapes"]["point_robot"]
    write_json(COSTS, tree)
    assert cli.main(["plan"]) == 2
    assert "family point_robot: its sizes are not in workflow/costs.json; run 'metadiffuser plan --measure'" in (
        capsys.readouterr().err
    )


def test_only_records_of_the_presets_as_they_are_count() -> None:
    jobs = [dag.find_job(stage, MODEL, QUICK) for stage in ("train_context", "train_diffusion", "evaluate")]
    stages = {
        job.name: {
            "params": {"params.yaml": dict(job.params)},
            "outs": [{"path": "x", "size": 5}, {"path": "y", "size": 6}],
        }
        for job in jobs
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    for job, device in zip(jobs, ("cpu", "cpu", "cuda"), strict=True):
        write_json(Path(dag.timing_path(job.name, "quick")), {**TIMING, "device": device})
    found = costs.find([QUICK], SHAPES)
    assert [(one.job.name, one.size) for one in found] == [(jobs[0].name, 11), (jobs[1].name, 11)]
    changed = edited(QUICK, diffusion={"steps": 77})
    assert [one.job.name for one in costs.find([changed], SHAPES)] == [jobs[0].name]
    Path(dag.timing_path(jobs[0].name, "quick")).unlink()
    assert [one.job.name for one in costs.find([QUICK], SHAPES)] == [jobs[1].name]


def test_what_was_never_measured_has_the_highest_rate_of_its_like() -> None:
    rates = replace(Costs.read(), seconds={f"{PHYSICS}/a": 1.0, f"{PHYSICS}/b": 2.0})
    estimate = rates.estimate(dag.find_job("collect_dataset", {"family": "ant_dir"}, PAPER), PAPER)
    assert estimate.guessed == {f"{PHYSICS}/ant_dir": f"{PHYSICS}/b"}
    assert estimate.cpu_seconds == pytest.approx(2.0 * 50 * 200 * 4 * 200)


DIAMOND = [
    Node("a", 2, 1, ()),
    Node("b", 3, 1, ("a",)),
    Node("c", 5, 1, ("a",)),
    Node("d", 4, 1, ("a",)),
    Node("e", 1, 1, ("b", "c", "d")),
]


def test_the_longest_chain() -> None:
    assert [node.name for node in critical_path(DIAMOND)] == ["a", "c", "e"]


@pytest.mark.parametrize(("cores", "takes"), [(1, 15), (2, 10), (3, 8), (9, 8)])
def test_jobs_fill_the_cores(cores: int, takes: float) -> None:
    assert schedule(DIAMOND, cores) == takes


def test_threads_occupy_cores() -> None:
    wide = [Node("a", 2, 2, ()), Node("b", 2, 1, ()), Node("c", 2, 1, ())]
    assert [schedule(wide, cores) for cores in (1, 2, 3, 4)] == [8, 4, 4, 2]


def test_units() -> None:
    assert [duration(t) for t in (3, 90, 5400, 86400, 259200)] == ["3 s", "1.5 min", "1.5 h", "24.0 h", "3.0 days"]
    assert [size(n) for n in (0, 2048, 3 * 2**20, 5 * 2**29)] == ["-", "2.0 KiB", "3.0 MiB", "2.5 GiB"]


def table(text: str) -> dict[str, list[str]]:
    """The rows of the table by stage."""
    lines = text.partition("\n\n")[0].splitlines()
    cells = [re.split(r"  +", line) for line in lines if not line.startswith("-")]
    return {row[0]: row[1:] for row in cells}


def test_the_table_has_every_stage_and_says_that_it_is_an_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--preset", "paper", "--cores", "16"]) == 0
    text = capsys.readouterr().out
    rows = table(text)
    assert list(rows) == ["stage", *dag.STAGES, "in all"]
    jobs = dag.jobs(PAPER)
    assert rows["in all"][0] == str(len(jobs))
    assert rows["train_baseline"][0] == str(sum(job.stage.name == "train_baseline" for job in jobs))
    assert rows["train_diffusion"][1] == rows["train_diffusion"][2] != "-"  # CPU hours, and those on a GPU
    assert rows["train_baseline"][2] == "-"
    for said in ("This is an estimate.", "the preset quick", "With --cores 16: about", "no GPU was measured"):
        assert said in text
    assert "never measured for ant_dir" in text or Costs.read().records.keys() != {"quick"}


def test_without_a_preset_it_is_that_of_params(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_in_force(project)
    cli.main(["plan", "--cores", "2"])
    here = capsys.readouterr().out
    cli.main(["plan", "--cores", "2", "--preset", "smoke"])
    assert capsys.readouterr().out == here
    assert all(row[2] in ("-", "on a GPU") for row in table(here).values())


@pytest.mark.parametrize(
    ("spoil", "words", "said"),
    [
        (lambda: None, ("--preset", "huge"), "preset 'huge' is unknown; expected one of laptop, mixed, paper"),
        (lambda: COSTS.unlink(), (), "workflow/costs.json: missing"),
        (lambda: COSTS.write_text('{"seconds": {}}'), (), "workflow/costs.json: not as 'metadiffuser plan --measure'"),
        (lambda: COSTS.write_text("[]"), (), "workflow/costs.json: not as 'metadiffuser plan --measure'"),
        (lambda: None, ("--measure",), "results/: no timing records of today's presets"),
    ],
)
def test_mistakes_are_one_sentence(
    capsys: pytest.CaptureFixture[str], spoil: Callable[[], object], words: tuple[str, ...], said: str
) -> None:
    spoil()
    assert cli.main(["plan", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_no_cores_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["plan", "--cores", "0"])
