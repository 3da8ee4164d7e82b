"""How fast the robots are stepped: batched physics against gymnasium's own environments, in one run.

    python benchmarks/physics.py [--seconds 2] [--family ant_dir ...] [--only-envpool]

Prints environment steps a second (control steps, observations and rewards included) of the family's simulator for
1, 64 and 512 copies on 1 and 2 threads, and of gymnasium's environment of the same robot, alone and in its two
vectors: 64 copies in one process, and 16 in a process each. Beside every rate of the simulator stands how many times as
fast it is as each of gymnasium's. In the -Param families every copy has a model of its own; gymnasium's hopper and
walker are given the same timestep. All get uniform actions and episodes of 200 steps. A rate is the best of three
repetitions that share so many seconds, since other work on the machine can only slow things down.

Where EnvPool is installed (``pip install -e '.[benchmarks]'``), the last table sets 64 copies on 2 threads against its
64 environments on 2 threads, with the same robot, number of physics steps in a control step and length of episodes.
Its hopper and walker have half our timestep, and its wheels hold a MuJoCo of their own. The two take turns in slices of
20 steps, so that other work on the machine meets both, and the rates are those of the whole time.

Measured on 2 cores of an AMD EPYC, with MuJoCo 4.0.0 and EnvPool 1.2.5: 1.10 times EnvPool for half-cheetah, 1.08 for
ant, 1.01 for walker, and 0.98 to 1.01 in three runs for hopper. What hopper and walker pay for is that every control
step starts the constraint solver from zero, where EnvPool's goes on from the last step, so that a stored state and the
actions give the same future again; that no robot looks for islands of constraints makes up for it.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from metadiffuser.envs import get_family, total_reward
from metadiffuser.envs.shared.robots import EPISODE_LENGTH, asset
from metadiffuser.envs.shared.tasks import draw_tasks

COPIES = (1, 64, 512)
THREADS = (1, 2)
VECTORS = {"sync": 64, "async": 16}  # copies in gymnasium's vectors
REPETITIONS = 3
FIRST_STEPS = 64  # environment steps before the clock starts
ENDLESS = {"terminate_when_unhealthy": False}
ORIGINALS: dict[str, tuple[str, dict[str, Any]]] = {
    "cheetah_vel": ("HalfCheetah-v5", {}),
    "cheetah_dir": ("HalfCheetah-v5", {}),
    "ant_dir": ("Ant-v5", ENDLESS),
    "hopper_param": ("Hopper-v5", ENDLESS),
    "walker_param": ("Walker2d-v5", {**ENDLESS, "xml_file": asset("walker2d.xml")}),
}
POOLED, POOL_THREADS, TURN = 64, 2, 20  # copies, threads and steps of a slice in the comparison with EnvPool


def original(family: str) -> gym.Env[Any, Any]:
    """Return gymnasium's environment of a family's robot, with the family's timestep."""
    name, options = ORIGINALS[family]
    env = gym.make(name, max_episode_steps=EPISODE_LENGTH, **options)
    model = get_family(family).model(draw_tasks(get_family(family), 1, 0, np.random.default_rng(0))[0])
    env.unwrapped.model.opt.timestep = model.opt.timestep  # type: ignore[attr-defined]
    return env


def rate(step: Callable[[Any], object], actions: Any, copies: int, seconds: float) -> float:
    """Return environment steps a second of ``step``, called with ``actions`` (T, ...) in turn."""
    turn = 0
    while turn * copies < FIRST_STEPS:
        step(actions[turn % len(actions)])
        turn += 1
    best = 0.0
    for _ in range(REPETITIONS):
        begin, count = time.perf_counter(), 0
        while (passed := time.perf_counter() - begin) < seconds / REPETITIONS:
            step(actions[count % len(actions)])
            count += 1
        best = max(best, count * copies / passed)
    return best


def batched(family: str, copies: int, threads: int) -> tuple[Callable[[Any], object], Any]:
    """Return a step of the family's simulator, and actions (T, copies, A) for it."""
    chosen, generator = get_family(family), np.random.default_rng(0)
    simulator = chosen.simulator(draw_tasks(chosen, copies, 0, generator), threads)
    simulator.reset(generator)
    steps = 0

    def step(actions: Any) -> None:
        nonlocal steps
        _, terms = simulator.step(actions)
        total_reward(terms)
        steps += 1
        if steps % EPISODE_LENGTH == 0:
            simulator.reset(generator)

    return step, generator.uniform(-1, 1, (97, copies, chosen.action_size))


def batched_rate(family: str, copies: int, threads: int, seconds: float) -> float:
    """Return the rate of the family's simulator."""
    step, actions = batched(family, copies, threads)
    return rate(step, actions, copies, seconds)


def pooled_rates(envpool: Any, family: str, seconds: float) -> tuple[float, float]:
    """Return the rates of the family's simulator and of EnvPool, which take turns for ``seconds`` each."""
    name, options = ORIGINALS[family]
    kept = {key: value for key, value in options.items() if key in ENDLESS}  # it brings its own model files
    pool = envpool.make(
        name,
        env_type="gymnasium",
        num_envs=POOLED,
        num_threads=POOL_THREADS,
        max_episode_steps=EPISODE_LENGTH,
        frame_skip=get_family(family).simulator.frame_skip,  # type: ignore[attr-defined]
        **kept,
    )
    pool.reset()
    ours, actions = batched(family, POOLED, POOL_THREADS)
    spent = [0.0, 0.0]
    turns = 0
    while turns < 2 or sum(spent) < 2 * seconds:
        if turns == 1:
            spent = [0.0, 0.0]  # the first turn warmed both up
        for side, step in enumerate((ours, pool.step)):
            begin = time.perf_counter()
            for index in range(TURN):
                step(actions[(turns * TURN + index) % len(actions)])
            spent[side] += time.perf_counter() - begin
        turns += 1
    pool.close()
    made = (turns - 1) * TURN * POOLED
    return made / spent[0], made / spent[1]


def compare_pools(families: list[str], seconds: float) -> None:
    """Print our rates beside EnvPool's."""
    try:
        import envpool
    except ImportError:
        print("\nEnvPool is not installed, so there is no comparison with it; run: pip install -e '.[benchmarks]'")
        return
    print(f"\n{POOLED} copies, {POOL_THREADS} threads; MuJoCo {mujoco.__version__}, EnvPool {envpool.__version__}")
    print(f"  {'family':14}{'rate':>10}{'EnvPool':>10}{'ratio':>8}")
    for family in families:
        ours, theirs = pooled_rates(envpool, family, seconds)
        print(f"  {family:14}{ours:>10,.0f}{theirs:>10,.0f}{ours / theirs:>8.2f}", flush=True)


def single_rate(family: str, seconds: float) -> float:
    """Return the rate of one environment of gymnasium's."""
    env = original(family)
    env.reset(seed=0)

    def step(action: Any) -> None:
        *_, truncated, _ = env.step(action)
        if truncated:
            env.reset()

    actions = np.random.default_rng(0).uniform(-1, 1, (97, get_family(family).action_size)).astype(np.float32)
    result = rate(step, actions, 1, seconds)
    env.close()
    return result


def vector_rate(family: str, kind: str, seconds: float) -> float:
    """Return the rate of one of gymnasium's vectors."""
    copies = VECTORS[kind]
    makers = [lambda: original(family)] * copies
    vector: Any = gym.vector.SyncVectorEnv(makers) if kind == "sync" else gym.vector.AsyncVectorEnv(makers)
    vector.reset(seed=0)
    shape = (97, copies, get_family(family).action_size)
    result = rate(vector.step, np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32), copies, seconds)
    vector.close()
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds for each rate")
    parser.add_argument("--family", nargs="+", choices=ORIGINALS, default=list(ORIGINALS))
    parser.add_argument("--only-envpool", action="store_true", help="leave everything out but that comparison")
    arguments = parser.parse_args()
    mujoco.set_mju_user_warning(lambda _: None)  # of the half-cheetah's file; otherwise it lands in a log file
    warnings.filterwarnings("ignore", category=UserWarning)  # gymnasium's of old and unbounded things
    print(f"{os.cpu_count()} CPUs; environment steps a second")
    if arguments.only_envpool:
        compare_pools(arguments.family, arguments.seconds)
        return
    # Gymnasium's first: its processes are forks, and are not to be made from a process with threads.
    theirs = {}
    for family in arguments.family:
        theirs[family] = {"gymnasium": single_rate(family, arguments.seconds)}
        for kind, copies in VECTORS.items():
            theirs[family][f"{kind} {copies}"] = vector_rate(family, kind, arguments.seconds)
    for family in arguments.family:
        print(f"\n{get_family(family).title}, {ORIGINALS[family][0]}")
        print("  " + "".join(f"{name:>14}" for name in theirs[family]))
        print("  " + "".join(f"{value:>14,.0f}" for value in theirs[family].values()))
        print(f"  {'copies':>8}{'threads':>9}{'rate':>10}" + "".join(f"{'/ ' + name:>14}" for name in theirs[family]))
        for copies in COPIES:
            for threads in THREADS:
                ours = batched_rate(family, copies, threads, arguments.seconds)
                ratios = "".join(f"{ours / value:>14.1f}" for value in theirs[family].values())
                print(f"  {copies:>8}{threads:>9}{ours:>10,.0f}{ratios}", flush=True)
    compare_pools(arguments.family, arguments.seconds)


if __name__ == "__main__":
    main()
