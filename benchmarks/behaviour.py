"""What behaviour training costs, and which way of sharing gives better experts for the CPU second.

    OMP_NUM_THREADS=1 python benchmarks/behaviour.py [--seconds 90] [--family cheetah_vel] [--seed 0]

First the speed of one gradient update of several shapes; then the task-conditioned teachers against one
network a task, trained for equal CPU seconds with the settings of params.yaml.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import Any

import numpy as np
import torch

from metadiffuser.behaviour.replay import Replay
from metadiffuser.behaviour.sac import SoftActorCritic
from metadiffuser.behaviour.training import Trainer, deal
from metadiffuser.config.loading import load
from metadiffuser.config.schema import Behaviour
from metadiffuser.envs import Family, get_family
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.seeding import numpy_generator, torch_generator

SHAPES = ((1, 64, 1024), (1, 64, 512), (1, 128, 1024), (1, 128, 256), (50, 64, 64), (50, 64, 256))  # M, width, batch


class BudgetSpentError(Exception):
    """The CPU seconds of a comparison are over."""


class TimedTrainer(Trainer):
    """A trainer that stops after some CPU seconds and then measures its policies."""

    rounds_done = 0

    def start(self, seconds: float) -> None:
        """Train until ``seconds`` CPU seconds have passed."""
        self.marks = [self.rounds]
        self.end = time.process_time() + seconds
        with contextlib.suppress(BudgetSpentError):
            self.train()
        self._checkpoint(0)

    def _learn(self, current: int) -> None:
        self.rounds_done = current
        if time.process_time() >= self.end:
            raise BudgetSpentError
        super()._learn(current)


def update_speed(config: Behaviour, members: int, width: int, batch: int, updates: int = 200) -> float:
    """Return gradient updates per CPU second at Cheetah-Vel's sizes, sampling included."""
    config = config.model_copy(update={"hidden": [width, width], "batch_size": batch})
    generator = torch_generator(0, "benchmark")
    agent = SoftActorCritic(config, members, 21, 6, generator)
    draw = np.random.default_rng(0)
    replay = Replay(members, 5000, 20, np.zeros((members, 1), np.float32), np.ones((members, 1), np.float32), 6)
    shapes = ((members, 5000, 21), (members, 5000, 6), (members, 5000), (members, 5000), (members, 5000, 21))
    replay.add(*(draw.uniform(-1, 1, shape).astype(np.float32) for shape in shapes))
    start = time.process_time()
    for _ in range(updates // 4):
        noise = torch.randn((2, 4, members, batch, 6), generator=generator)
        for number, sampled in enumerate(replay.sample(4, batch, generator)):
            turn = (number + 1) % config.actor_interval == 0
            agent.update(sampled, noise[0, number], noise[1, number] if turn else None, config.learning_rate)
    return updates / (time.process_time() - start)


def compare(family: Family, config: Behaviour, seconds: float, seed: int) -> None:
    """Print the mean expert return of both ways of sharing after equal CPU seconds."""
    tasks = draw_tasks(family, 45, 5, numpy_generator(seed, "define_tasks", family.name))
    variants: dict[str, dict[str, Any]] = {
        # the budget ends the run: there are always more steps than it allows
        "task_conditioned": {"steps": 8_000_000, "replay_capacity": 400_000},
        "per_task": {
            "steps": 200_000,
            "replay_capacity": 20_000,
            "copies": 2,
            "batch_size": 64,
            "warmup_steps": 400,
            "updates_per_step": 0.5,
        },
    }
    for name, changes in variants.items():
        settings = config.model_copy(update={"sharing": name, **changes})
        groups = deal(len(tasks), settings, unseen=False)
        trainer = TimedTrainer(family, tasks, groups, settings, seed, ("benchmark", name), "cpu")
        trainer.start(seconds)
        agent = trainer.rounds_done * settings.copies
        print(
            f"{name:17} {agent * len(trainer.groups):8d} environment steps, "
            f"{int(agent * settings.updates_per_step):6d} updates, "
            f"mean return {trainer.returns[0].mean():8.1f}, lowest {trainer.returns[0].min():8.1f}"
        )


def main() -> None:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=90.0, help="CPU seconds a variant (default: %(default)s)")
    parser.add_argument("--family", default="cheetah_vel")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = load().section("behaviour", arguments.family)
    for members, width, batch in SHAPES:
        speed = update_speed(config, members, width, batch)
        samples = speed * members * batch
        print(f"M={members:3d} width={width:4d} batch={batch:5d}: {speed:6.0f} updates/s, {samples:9.0f} samples/s")
    compare(get_family(arguments.family), config, arguments.seconds, arguments.seed)


if __name__ == "__main__":
    main()
