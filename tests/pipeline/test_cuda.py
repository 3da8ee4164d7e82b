"""The stages that compute on a GPU, against the CPU: what both compute of the same weights and random numbers.

A stage's own random numbers come from a generator on the CPU, except for behaviour training, whose noise is drawn on
the device. So one update of its networks is compared here, and the whole stage only runs.
"""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metadiffuser import paths
from metadiffuser.artifacts import read_json, read_tensors
from metadiffuser.behaviour.policies import Policies
from metadiffuser.behaviour.replay import Batch
from metadiffuser.behaviour.sac import SoftActorCritic
from metadiffuser.checkpointing import TrainingState
from metadiffuser.diffusion.training import train_diffusion
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.run import execute, prepare_cuda
from metadiffuser.planning.agent import AgentInputs, PlanningAgent
from metadiffuser.planning.planner import Planner, Request
from tests.conftest import ROOT
from tests.helpers.behaviour import CONFIG
from tests.helpers.models import (
    PLANNING,
    A,
    S,
    Z,
    make_context,
    make_data,
    make_diffusion,
    make_inputs,
    make_planner,
    make_warm_start,
)
from tests.pipeline.test_stages_end_to_end import PARAMS

DEVICE = "cuda"
STAGES = ("train_behaviour", "collect_dataset", "train_diffusion", "calibrate", "evaluate")  # that declare a device
BEFORE = ("define_tasks", "train_context")  # that they need, and that run on the CPU

# Sums are taken in another order. The tolerances are of numbers of about one; training amplifies differences.
ONE_PASS = 1e-4
TRAINED = 1e-3


def on_cuda(test: Any) -> Any:
    """Mark a test that computes on the device."""
    reason = "torch finds no CUDA device here"
    return pytest.mark.cuda(pytest.mark.skipif(not torch.cuda.is_available(), reason=reason)(test))


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    """The settings that a job has on a GPU, where there is one."""
    if torch.cuda.is_available():
        prepare_cuda()
        torch.set_deterministic_debug_mode("error")
    yield
    torch.set_deterministic_debug_mode("default")


def moved(planner: Planner) -> Planner:
    """The same planner on the device."""
    diffusion, context = copy.deepcopy(planner.diffusion).to(DEVICE), copy.deepcopy(planner.context).to(DEVICE)
    return Planner(diffusion, context, planner.config)


def moved_inputs(inputs: AgentInputs) -> AgentInputs:
    """The same inputs on the device."""
    fields = {name: value.to(DEVICE) for name, value in vars(inputs).items()}
    return replace(inputs, **fields)


def test_every_stage_that_uses_a_device_declares_it_and_is_tried_here() -> None:
    stages = ROOT / "src" / "metadiffuser" / "stages"
    assert {name for name in dag.STAGES if "job.device" in (stages / f"{name}.py").read_text()} == set(STAGES)
    assert all("device" in dag.STAGES[name].params for name in STAGES)


def test_cuda_is_asked_for_full_precision_and_a_fixed_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    prepare_cuda()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.backends.cudnn.allow_tf32


def test_a_job_on_cuda_is_prepared_and_one_on_the_cpu_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = importlib.import_module("metadiffuser.pipeline.run")
    prepared: list[str] = []
    monkeypatch.setattr(run.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(run, "prepare_cuda", lambda: prepared.append("cuda"))
    monkeypatch.setattr(run, "_go_on", lambda _: None)
    monkeypatch.setattr(run.integrity, "check", lambda *_: None)
    params = PARAMS.model_copy(update={"device": "cuda"})
    for stage, wanted in (("define_tasks", []), ("train_behaviour", ["cuda"])):
        wildcards = {"family": "point_robot"} | ({"shard": "0"} if stage == "train_behaviour" else {})
        job = dag.find_job(stage, wildcards, params)
        monkeypatch.setattr(run.records, "fingerprint", lambda _: "same")
        execute(job, params)
        assert prepared == wanted


@on_cuda
def test_one_plan_of_the_same_noise() -> None:
    planner = make_planner(candidates=2, value_scale=0.5, return_scale=0.3, dynamics_scale=0.3)
    generator = torch.Generator().manual_seed(0)
    has_context = torch.tensor([True, True, False, True])
    scales = torch.full((4,), 0.3), torch.tensor([0.3, 0.0, 0.3, 0.3])
    states, latents = 0.1 * torch.randn(4, S, generator=generator), torch.randn(4, Z, generator=generator)
    request = Request(states, latents, has_context, *scales)
    noise = planner.draw_noise(4, torch.Generator().manual_seed(3))
    there = moved(planner)
    plan = there.plan(Request(*(part.to(DEVICE) for part in vars(request).values())), noise.to(DEVICE))
    assert plan.states.device.type == DEVICE
    here = planner.plan(request, noise)
    for ours, theirs in zip(vars(here).values(), vars(plan).values(), strict=True):
        torch.testing.assert_close(theirs.cpu(), ours, rtol=TRAINED, atol=TRAINED)


@on_cuda
@pytest.mark.parametrize("online", [False, True], ids=["warm start", "zero-shot"])
def test_an_episode_of_the_agent(online: bool) -> None:
    planner = Planner(make_diffusion(), make_context(), PLANNING.model_copy(update={"online_context": not online}))
    inputs = make_inputs(planner.context, make_warm_start(3, has_context=not online), online)
    agents = [
        PlanningAgent(planner, inputs, torch.Generator().manual_seed(1)),
        PlanningAgent(moved(planner), moved_inputs(inputs), torch.Generator().manual_seed(1)),
    ]
    observations = np.zeros((3, S), np.float32)
    for _ in range(4):
        actions = [agent.act(observations) for agent in agents]
        np.testing.assert_allclose(actions[1], actions[0], rtol=0, atol=5 * TRAINED)
        for agent in agents:
            agent.observe(observations, actions[0], np.zeros(3, np.float32), observations + 0.1)
        observations = observations + np.float32(0.1)


@on_cuda
def test_the_denoisers_training(tmp_path: Path) -> None:
    curves = []
    for device in ("cpu", DEVICE):
        model, data = make_diffusion(steps=10).requires_grad_(True), make_data()
        latents = torch.randn(len(data.rewards), 3, Z, generator=torch.Generator().manual_seed(2))
        checkpoint = tmp_path / f"{device}.safetensors"
        averaged, records = train_diffusion(model, data, latents, torch.Generator().manual_seed(0), checkpoint, device)
        assert averaged.low.device.type == device
        curves.append([[record["loss"], record["validation"]] for record in records])
    np.testing.assert_allclose(curves[1], curves[0], rtol=TRAINED)


@on_cuda
def test_one_update_of_soft_actor_critic() -> None:
    generator = torch.Generator().manual_seed(0)
    size = (2, 16)  # agents, transitions
    pairs, successors = torch.randn(*size, 5 + 2, generator=generator), torch.randn(*size, 5, generator=generator)
    rewards, not_done = torch.randn(size, generator=generator), torch.ones(size)
    noise = torch.randn(2, *size, 2, generator=generator)
    found: list[list[torch.Tensor]] = []
    agent = SoftActorCritic(CONFIG, 2, 5, 2, torch.Generator().manual_seed(1))
    start = {name: value.clone() for name, value in agent.state_dict().items()}
    for device in ("cpu", DEVICE):
        agent = SoftActorCritic(CONFIG, 2, 5, 2, torch.Generator(device=device).manual_seed(1))
        agent.load_state_dict(start)
        batch = Batch(*(part.to(device) for part in (pairs, rewards, successors, not_done)))
        drawn = noise.to(device)
        for _ in range(3):
            loss, entropy = agent.update(batch, drawn[0], drawn[1], 1e-3)
        assert entropy is not None
        found.append([part.cpu() for part in (loss, entropy, *agent.state_dict().values())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=TRAINED, atol=TRAINED)


@on_cuda
def test_the_actions_of_stored_policies() -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = ((5, 8), (8, 4))
    layers = [
        (torch.randn(3, *size, generator=generator), torch.randn(3, 1, size[1], generator=generator)) for size in sizes
    ]
    here = Policies(layers, torch.zeros(3, 1, 5), torch.ones(3, 1, 5))
    there = Policies(
        [(weight.to(DEVICE), bias.to(DEVICE)) for weight, bias in layers],
        here.centre.to(DEVICE),
        here.scale.to(DEVICE),
    )
    draw = np.random.default_rng(0)
    inputs, noise = (draw.standard_normal(shape).astype(np.float32) for shape in ((3, 6, 5), (3, 6, 2)))
    for given in (None, noise):
        np.testing.assert_allclose(there.act(inputs, given), here.act(inputs, given), rtol=0, atol=ONE_PASS)
        chosen = there.select([2, 0]).act(inputs[[2, 0]], None if given is None else given[[2, 0]])
        np.testing.assert_allclose(chosen, here.act(inputs, given)[[2, 0]], rtol=0, atol=ONE_PASS)


@on_cuda
def test_a_training_run_goes_on_from_its_checkpoint_on_the_device(tmp_path: Path) -> None:
    def begin() -> tuple[torch.nn.Linear, torch.optim.Adam, torch.Generator, TrainingState]:
        module = torch.nn.Linear(A, 1).to(DEVICE)
        optimiser = torch.optim.Adam(module.parameters(), lr=0.1, fused=True)
        generator = torch.Generator(device=DEVICE).manual_seed(0)
        return module, optimiser, generator, TrainingState({"m": module}, {"o": optimiser}, {"g": generator})

    def step(module: torch.nn.Linear, optimiser: torch.optim.Adam, generator: torch.Generator) -> None:
        optimiser.zero_grad()
        module(torch.randn(4, A, generator=generator, device=DEVICE)).square().mean().backward()
        optimiser.step()

    first = begin()
    step(*first[:3])
    first[3].save(tmp_path / "state.safetensors", 1, [])
    second = begin()
    assert second[3].load(tmp_path / "state.safetensors")[0] == 1
    for run in (first, second):
        step(*run[:3])
    assert torch.equal(first[0].weight, second[0].weight)


@on_cuda
@pytest.mark.slow
def test_every_stage_runs_on_the_device_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params = PARAMS.model_copy(update={"device": DEVICE})
    for job in dag.jobs(params):
        if job.stage.name in (*STAGES, *BEFORE):
            execute(job, params)
            record = read_json(Path(dag.timing_path(job.name, params.preset)))
            assert record["device"] == (DEVICE if job.stage.name in STAGES else "cpu")
    place = {"preset": params.preset, "family": "point_robot", "representation": "generalised", "seed": "0"}
    tensors, _ = read_tensors(Path(paths.DIFFUSION.format(**place)))
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    cells = read_json(Path(paths.PLANNER_METRICS.format(**place)))["cells"]
    assert np.isfinite([value for cell in cells for values in cell["returns"].values() for value in values]).all()
