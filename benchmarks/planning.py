"""What planning costs: decisions a second, against one episode at a time, and against a plain matrix product.

Models have the preset's sizes and random weights, so nothing needs to be trained. All times of a line are taken in
turn in one run, and it is their ratios that count.

    python benchmarks/planning.py [--preset laptop] [--family cheetah_vel] [--threads 2] [--slices 7]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from measure import MATRIX_OPERATIONS, alternate, matrix_product, operations
from torch import Tensor

from metadiffuser.config.loading import load
from metadiffuser.context.objective import objective
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.envs import Family, get_family
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.evaluation.rollout import BatchedEnvs
from metadiffuser.planning.agent import AgentInputs, PlanningAgent, encode_warm_start
from metadiffuser.planning.conditions import mix
from metadiffuser.planning.guide import DualGuide
from metadiffuser.planning.planner import Planner, Request

BATCHES = (1, 16, 100, 400)
DENOISER_BATCH = 100
EPISODES, STEPS = 100, 200  # of the evaluation whose time is estimated
PLAYED = 4  # steps of it that are played in a slice


def make_planner(preset: str, family: Family) -> Planner:
    """Return a planner of random weights at a preset's sizes."""
    params = load(f"presets/{preset}.yaml")
    sizes = family.observation_size, family.action_size
    context = ContextModel(*sizes, params.section("context", family.name))
    diffusion = DiffusionModel(*sizes, context.latent_size, params.section("diffusion", family.name))
    for model in (context, diffusion):
        model.eval().requires_grad_(False)
    return Planner(diffusion, context, params.section("planning", family.name))


def make_request(planner: Planner, size: int, guided: bool) -> Request:
    """Return a request of ``size`` rows that all know their task."""
    scale = planner.config.return_scale, planner.config.dynamics_scale
    states = torch.randn(size, planner.diffusion.observation_size)
    latents = torch.randn(size, planner.context.latent_size)
    scales = [torch.full((size,), value * guided) for value in scale]
    return Request(states, latents, torch.ones(size, dtype=torch.bool), *scales)


def plain_gradient(planner: Planner, clean: Tensor, request: Request) -> Tensor:
    """Return the guide's gradient by automatic differentiation."""
    with torch.enable_grad():
        clean = clean.clone().requires_grad_(True)
        scales = request.return_scale, request.dynamics_scale
        total = objective(planner.context, clean, request.latents, *scales).sum()
        return torch.autograd.grad(total, clean)[0]


@torch.no_grad()
def plain_plan(planner: Planner, request: Request, noise: Tensor) -> Tensor:
    """The textbook loop: a forward pass a branch, the guide by automatic differentiation."""
    diffusion, config, network = planner.diffusion, planner.config, planner.diffusion.network
    size, guided = diffusion.observation_size, bool(request.return_scale.any())
    first = diffusion.normaliser.state(request.states)
    without = torch.zeros_like(request.has_context)
    x = noise[0].clone()
    x[:, 0, :size] = first
    for index, step in enumerate(planner.steps):
        condition = network.step_condition(torch.full((len(x),), step.step))
        null = network(x, network.task_condition(request.latents, without) + condition)
        with_task = network(x, network.task_condition(request.latents, request.has_context) + condition)
        clean = diffusion.clean(mix(null, with_task, config.guidance_weight), x, step)
        clean[:, 0, :size] = first
        x = step.clean_weight * clean + step.noisy_weight * x
        if guided and index < len(planner.steps) - config.unguided_steps:
            x = x + step.variance * plain_gradient(planner, clean, request)
        x = x + config.temperature * step.noise_scale * noise[index + 1]
        x[:, 0, :size] = first
    return x


def decisions(planner: Planner, slices: int) -> None:
    """Print decisions a second by batch, and how many times those of the plain loop they are."""
    generator = torch.Generator().manual_seed(0)
    for guided in (False, True):
        calls: dict[str, Callable[[], object]] = {}
        single, start = make_request(planner, 1, guided), planner.draw_noise(1, generator)
        calls["plain"] = partial(plain_plan, planner, single, start[:, 0])
        for size in BATCHES:
            request, noise = make_request(planner, size, guided), planner.draw_noise(size, generator)
            calls[str(size)] = partial(planner.plan, request, noise)
        times = alternate(calls, slices)
        print(f"{'dual guide' if guided else 'no guide'}, decisions a second (times those of the plain loop)")
        print(f"  one episode at a time, plain loop: {1 / statistics.median(times['plain']):.1f}")
        for size in BATCHES:
            pairs = zip(times["plain"], times[str(size)], strict=True)
            ratio = statistics.median(size * plain / taken for plain, taken in pairs)
            print(f"  batch {size}: {size / statistics.median(times[str(size)]):.0f} ({ratio:.1f})")


def shares(planner: Planner, slices: int) -> None:
    """Print what share of a matrix product's rate the denoiser reaches, and what the guide's gradient costs."""
    diffusion, network = planner.diffusion, planner.diffusion.network
    request = make_request(planner, DENOISER_BATCH, True)
    x = torch.randn(DENOISER_BATCH, diffusion.config.horizon, diffusion.low.numel())
    with torch.no_grad():
        condition = network.task_condition(request.latents, request.has_context) + network.step_condition(
            torch.tensor([1])
        )
        counted = operations(lambda: network(x, condition))
    gradient = DualGuide(planner.context).prepare(request.latents, request.return_scale, request.dynamics_scale)

    @torch.inference_mode()
    def branch() -> Tensor:
        return network(x, condition)

    @torch.inference_mode()
    def both() -> Tensor:
        return network(x.repeat(2, 1, 1), condition.repeat(2, 1))

    @torch.inference_mode()
    def guide() -> Tensor:
        return gradient(x)

    calls = {"product": matrix_product(), "branch": branch, "both": both, "guide": guide}
    times = alternate(calls | {"autograd": lambda: plain_gradient(planner, x, request)}, 3 * slices)

    def ratio(name: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[name], times[other], strict=True))

    peak = MATRIX_OPERATIONS / statistics.median(times["product"])
    print(f"matrix product: {peak / 1e9:.0f} GFLOP/s; denoiser: {counted / DENOISER_BATCH / 1e6:.1f} MFLOP/segment")
    for name, rows in (("branch", 1), ("both", 2)):
        share = rows * counted / MATRIX_OPERATIONS * ratio("product", name)
        print(f"  denoiser, {rows * DENOISER_BATCH} segments: {100 * share:.0f}% of the matrix product's rate")
    print(f"  guide's gradient, {DENOISER_BATCH} segments: {ratio('guide', 'both'):.2f} of both branches' time;")
    print(f"  {ratio('autograd', 'guide'):.2f} times as long by automatic differentiation")


def evaluation(planner: Planner, family: Family, threads: int, slices: int) -> None:
    """Print the time of a whole evaluation, from a few steps of it: contexts, plans and physics."""
    tasks = draw_tasks(family, EPISODES, 1, np.random.default_rng(0))[:EPISODES]
    group = BatchedEnvs(family, tasks, 1, lambda: np.random.default_rng(0), threads)
    length, width = planner.context.config.context_length, 2 * family.observation_size + family.action_size + 1
    warm_start = WarmStart(
        torch.randn(EPISODES, length, width),
        torch.arange(length).repeat(EPISODES, 1),
        torch.ones(EPISODES, dtype=torch.bool),
        torch.zeros(EPISODES, 0),
    )
    inputs = AgentInputs(
        warm_start,
        encode_warm_start(planner.context, warm_start),
        warm_start.has_context,
        ~warm_start.has_context,
        torch.full((EPISODES,), planner.config.return_scale),
        torch.full((EPISODES,), planner.config.dynamics_scale),
    )
    agent = PlanningAgent(planner, inputs, torch.Generator().manual_seed(0))

    def play() -> None:
        observations = group.reset()
        for _ in range(PLAYED):
            actions = agent.act(observations)
            successors, rewards = group.step(actions)
            agent.observe(observations, actions, rewards, successors)
            observations = successors

    taken = statistics.median(alternate({"play": play}, slices)["play"]) * STEPS / PLAYED
    print(f"{EPISODES} episodes of {STEPS} steps, planned and simulated: {taken / 60:.1f} minutes")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--family", default="cheetah_vel")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--slices", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    family = get_family(options.family)
    planner = make_planner(options.preset, family)
    print(f"{family.name} at the {options.preset} preset, {options.threads} threads, {options.slices} slices")
    shares(planner, options.slices)
    decisions(planner, options.slices)
    evaluation(planner, family, options.threads, options.slices)


if __name__ == "__main__":
    main()
