"""Gradient samples a second of soft actor-critic, against stable-baselines3's, in one run.

    pip install -e '.[benchmarks]'
    OMP_NUM_THREADS=1 python benchmarks/sac.py [--seconds 2] [--settings 2]

A sample is a transition in a batch of the critics; the rate counts them per CPU second of one thread, with everything
that an update takes on either side: drawing the batch from a replay buffer of equal size, both critics, the target,
the actor in its turn, the temperature, Adam, Polyak averaging. Widths, batch and sizes of inputs and actions (those of
Cheetah-Vel, with the task's parameter) are equal. The settings are those of the presets, and 2x256, the width of
stable-baselines3. It updates the actor with every update of the critics; our presets say how often ours do. So ours
stand there twice: "in step", with an actor update each time, as theirs; and at the preset's interval. "M=16" are
sixteen agents in one batch, an actor update each time, against sixteen of theirs, which have to take turns.

Where a preset's batch is not stable-baselines3's default of 256, the last column sets ours, as the preset has it,
against theirs at 256.

The two take turns in short slices, and of each the best slice counts: other work on the machine can only slow it down.

Measured on 2 cores of an AMD EPYC with AVX-512, with --seconds 1.2, SB3 2.9.2 and torch 2.13.0: at the preset's
interval 4.9 times theirs for 2x32 with batch 64, 3.4 for 2x64 with 256, 2.3 for 2x64 with 1024 (5.2 against theirs at
256), 2.5 for 2x128 with 256, and 2.0 for 2x256 with 256. Where batches or widths are large, both spend most of their
time in the same matrix products: with 2x128 in step, ours make about 60 of the 100 GFLOP/s that the largest products
reach on a thread of that machine, theirs about 30.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from metadiffuser.behaviour.replay import Replay
from metadiffuser.behaviour.sac import SoftActorCritic
from metadiffuser.config.loading import load
from metadiffuser.config.schema import Behaviour
from metadiffuser.seeding import torch_generator

OBSERVATIONS, TASK, ACTIONS = 20, 1, 6  # Cheetah-Vel
INPUTS = OBSERVATIONS + TASK
ROWS = 20_000  # transitions in the replay buffer of an agent
THEIR_BATCH = 256  # stable-baselines3's default
AGENTS = 16
TRANSITIONS = 4096  # of a slice, about
SLICES = 3  # at least, of each

Slice = Callable[[], int]  # makes some updates and says how many transitions they had


def settings() -> list[tuple[str, Behaviour]]:
    """Return the different settings of the presets, each with the presets that have it, and that of 2x256."""
    found: dict[tuple[Any, ...], tuple[list[str], Behaviour]] = {}
    for path in sorted(Path("presets").glob("*.yaml")):
        params = load(path)
        for family in params.families:
            config = params.section("behaviour", family)
            key = (*config.hidden, config.batch_size, config.actor_interval)
            names = found.setdefault(key, ([], config))[0]
            if params.preset not in names:
                names.append(params.preset)
    wide = load("presets/laptop.yaml").section("behaviour").model_copy(update={"hidden": [256, 256]})
    listed = [("+".join(names), config) for names, config in found.values()]
    return sorted([*listed, ("-", wide)], key=lambda item: (item[1].hidden, item[1].batch_size))


def ours(config: Behaviour, members: int, interval: int) -> Slice:
    """Return a slice of our updates, with an actor update at every ``interval``-th."""
    generator, draw = torch_generator(0, "benchmark"), np.random.default_rng(0)
    agent = SoftActorCritic(config, members, INPUTS, ACTIONS, generator)
    one = np.ones((members, TASK), np.float32)
    replay = Replay(members, ROWS, OBSERVATIONS, 0 * one, one, ACTIONS)
    sizes = ((INPUTS,), (ACTIONS,), (), (INPUTS,))
    inputs, actions, rewards, successors = (
        draw.uniform(-1, 1, (members, ROWS, *size)).astype(np.float32) for size in sizes
    )
    replay.add(inputs, actions, rewards, np.ones_like(rewards), successors)
    size = config.batch_size
    updates = interval * max(1, TRANSITIONS // (size * members * interval))

    def run() -> int:
        batches = replay.sample(updates, size, generator)
        noise = torch.randn((updates, members, size, ACTIONS), generator=generator)
        actor_noise = torch.randn((updates // interval, members, size, ACTIONS), generator=generator)
        losses = []
        for number, batch in enumerate(batches, 1):
            turn = actor_noise[number // interval - 1] if number % interval == 0 else None
            losses.append(agent.update(batch, noise[number - 1], turn, config.learning_rate)[0])
        torch.stack(losses).mean().item()
        return updates * members * size

    return run


class Sizes(gym.Env[Any, Any]):
    """An environment that only tells stable-baselines3 the sizes of observations and actions."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (INPUTS,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)


def theirs(config: Behaviour, size: int) -> Slice:
    """Return a slice of stable-baselines3's updates with batches of ``size``."""
    from stable_baselines3 import SAC
    from stable_baselines3.common.logger import Logger

    model = SAC(
        "MlpPolicy",
        Sizes(),
        learning_rate=config.learning_rate,
        buffer_size=ROWS,
        batch_size=size,
        policy_kwargs={"net_arch": list(config.hidden)},
        device="cpu",
        seed=0,
    )
    model.set_logger(Logger(None, []))
    draw = np.random.default_rng(0)
    buffer = model.replay_buffer
    assert buffer is not None
    for array in (buffer.observations, buffer.next_observations, buffer.actions, buffer.rewards):
        array[:] = draw.uniform(-1, 1, array.shape)
    buffer.full = True
    updates = max(1, TRANSITIONS // size)

    def run() -> int:
        model.train(updates, size)
        return updates * size

    return run


def rates(slices: dict[str, Slice], seconds: float) -> dict[str, float]:
    """Return the samples per CPU second of every slice, taken in turn for ``seconds`` CPU seconds each."""
    for run in slices.values():
        run()
    best, turns = dict.fromkeys(slices, 0.0), 0
    spent = 0.0
    while turns < SLICES or spent < seconds * len(slices):
        for name, run in slices.items():
            start = time.process_time()
            samples = run()
            taken = time.process_time() - start
            best[name] = max(best[name], samples / taken)
            spent += taken
        turns += 1
    return best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU seconds for each rate (default: %(default)s)")
    parser.add_argument("--settings", type=int, nargs="+", help="numbers of the lines to measure (default: all)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        import stable_baselines3
    except ImportError:
        raise SystemExit("stable-baselines3 is not installed; run: pip install -e '.[benchmarks]'") from None
    print(f"thousands of samples a CPU second, torch {torch.__version__}, SB3 {stable_baselines3.__version__}")
    print(
        "     presets            widths  batch interval |    SB3   in step      at interval     M=16         SB3 at 256"
    )
    for number, (names, config) in enumerate(settings()):
        if arguments.settings and number not in arguments.settings:
            continue
        size, interval = config.batch_size, config.actor_interval
        slices = {"SB3": theirs(config, size), "step": ours(config, 1, 1), "16": ours(config, AGENTS, 1)}
        if interval > 1:
            slices["interval"] = ours(config, 1, interval)
        if size != THEIR_BATCH:
            slices["SB3 256"] = theirs(config, THEIR_BATCH)
        rate = rates(slices, arguments.seconds)
        rate.setdefault("interval", rate["step"])
        cells = "".join(f"{rate[key] / 1e3:8.0f}{rate[key] / rate['SB3']:6.2f}x" for key in ("step", "interval", "16"))
        default = f"{rate['interval'] / rate['SB3 256']:8.2f}x" if "SB3 256" in rate else ""
        widths = "x".join(map(str, config.hidden))
        print(
            f"{number:3}  {names:18} {widths:>8} {size:5} {interval:8} | {rate['SB3'] / 1e3:6.0f}{cells}{default}",
            flush=True,
        )


if __name__ == "__main__":
    main()
