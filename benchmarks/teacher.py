"""How far one teacher of a family comes with other settings of section ``behaviour``: its returns at each checkpoint.

Trains on the teacher's training tasks alone and prints, for each checkpoint, the mean return over its tasks, then the
tasks' returns at the end and the mean of their best checkpoints, and how much of an episode the last policy is upright
where the family's robot can fall. No unseen task has a part in it, so settings may be chosen by what it prints.
Settings are those of the preset in force but for what is named.

    OMP_NUM_THREADS=1 python benchmarks/teacher.py [--family hopper_param] [--teacher 1] [steps=200000 ...]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from measure import given, upright

from metadiffuser.behaviour.policies import assign, rollout
from metadiffuser.behaviour.training import Trainer, deal
from metadiffuser.config.loading import load
from metadiffuser.config.schema import Behaviour
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.seeding import numpy_generator


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="hopper_param")
    parser.add_argument("--teacher", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of section behaviour")
    options = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    params, family = load(), get_family(options.family)
    section = params.section("behaviour", options.family).model_dump()
    config = Behaviour.model_validate({**section, "checkpoints": 10, **given(options.settings)})
    generator = numpy_generator(options.seed, "define_tasks", family.name)
    tasks = draw_tasks(family, params.tasks.train, params.tasks.test, generator)[: params.tasks.train]
    learnt = [tasks[index] for index in deal(len(tasks), config, unseen=False)[options.teacher]]
    names = ("benchmark", family.name, str(options.teacher))
    trainer = Trainer(family, learnt, [range(len(learnt))], config, options.seed, names, "cpu")
    start = time.process_time()
    trained, records = trainer.train()
    print(f"{len(learnt)} tasks, {time.process_time() - start:.0f} CPU s; {' '.join(options.settings)}")
    for record in records:
        print(f"{record['step']:8.0f} steps: mean return {record['return']:8.1f}, lowest {record['return_min']:8.1f}")
    last = ", ".join(f"{value:.0f}" for value in np.sort(trained.returns[-1]))
    print(f"at the end: {last}; mean of the tasks' best checkpoints {trained.returns.max(axis=0).mean():.1f}")
    if family.healthy:
        print(f"upright in {100 * share_upright(trainer, generator):.0f}% of the steps of an episode of each task")


def share_upright(trainer: Trainer, generator: np.random.Generator) -> float:
    """Return the share of steps in which the robot has not fallen, in one episode of each task."""
    count = len(trainer.tasks)
    controller = assign(trainer.policies(), [0] * count, trainer.features, np.zeros(count, bool), generator)
    played = rollout(trainer.family, trainer.tasks, controller, generator, 1).observations[:, 1:]
    return float(upright(trainer.family, played).mean())


if __name__ == "__main__":
    main()
