"""How often Cheetah-Vel's planner overturns the robot, on training tasks of some range of speeds, with other settings.

A half-cheetah that has tipped over its head lies there: it seldom gets up again, and earns what standing still earns.
Plays the trained planner of a preset with the settings that its calibration chose but for what is named, one expert
episode as context, and prints the mean return of each task, and in how many of the episodes the robot ends overturned
(pitch beyond 0.7 rad).

    OMP_NUM_THREADS=1 python benchmarks/overturned.py [--preset pilot] [--seed 0] [--speeds 0.6 0.95] [sampler=ddpm ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from measure import given

from metadiffuser import paths
from metadiffuser.calibration.choice import read_chosen, with_values
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.episodes import Floats
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import read_tasks, split
from metadiffuser.evaluation.cells import Cell, agent_inputs
from metadiffuser.evaluation.outcomes import Outcome
from metadiffuser.evaluation.rollout import play
from metadiffuser.evaluation.setup import read_setup
from metadiffuser.pipeline import presets
from metadiffuser.planning.agent import PlanningAgent
from metadiffuser.planning.planner import Planner

PITCH = 1  # of an observation: the pitch of the torso
OVERTURNED = 0.7  # rad


class LastState:
    """Observes the state that every episode ends in."""

    seen: Floats

    def decided(self, step: int) -> None:
        """Nothing is read of a decision."""

    def stepped(self, step: int, observations: Floats, rewards: Floats) -> None:
        """Keep the observations."""
        self.seen = observations


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="pilot")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speeds", type=float, nargs=2, default=(0.6, 0.95), metavar=("LEAST", "MOST"))
    parser.add_argument("--episodes", type=int, default=2)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of section planning")
    options = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    params, family = presets.read(options.preset), get_family("cheetah_vel")
    names = {"preset": params.preset, "family": family.name, "representation": "generalised", "seed": options.seed}
    where = {
        template: Path(template.format(**names))
        for template in (paths.CONTEXT, paths.DIFFUSION, paths.CALIBRATION, paths.TASKS, paths.DATASET)
    }
    context, _ = ContextModel.load(where[paths.CONTEXT], "cpu")
    diffusion, _ = DiffusionModel.load(where[paths.DIFFUSION], "cpu")
    least, most = options.speeds
    tasks = split(read_tasks(where[paths.TASKS], where[paths.DATASET]), "train")
    chosen = [task for task in tasks if least <= task.vector[0] <= most]
    stream = ("overturned", family.name)
    setup = read_setup(
        family, chosen, where[paths.DATASET], ["expert"], options.episodes, 1, params.seed, stream, (*stream, "start")
    )
    calibrated = {**read_chosen(where[paths.CALIBRATION]), **given(options.settings)}
    planner = Planner(diffusion, context, with_values(params.section("planning", family.name), calibrated))
    inputs = agent_inputs(planner, Cell("metadiffuser", "dual", "expert"), setup)
    agent, last = PlanningAgent(planner, inputs, setup.generator("noise")), LastState()
    played = Outcome.of(play(agent, setup.envs(1), family.episode_length, "playing", [last]))
    returns = played.returns.reshape(len(chosen), -1).mean(axis=1)
    over = int((np.abs(last.seen[:, PITCH]) > OVERTURNED).sum())
    print(f"{' '.join(f'{key}={value}' for key, value in sorted(calibrated.items()))}")
    by_task = ", ".join(f"{task.vector[0]:.2f}: {earned:.0f}" for task, earned in zip(chosen, returns, strict=True))
    print(f"return by speed: {by_task}")
    print(f"mean return {returns.mean():.1f}; overturned at the end: {over} of {len(last.seen)} episodes")


if __name__ == "__main__":
    main()
