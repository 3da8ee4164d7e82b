"""What zero-shot must cost on Point-Robot, whoever plays: a bound, without any model.

An agent that has seen nothing of the task takes its first action without a hint of the goal. The reward then tells how
far the goal is and not where, so its second action knows a circle at best. From the third action on, the agent of this
bound is told the goal, which is more than the rewards tell (two distances still leave two places), and plays best. No
agent that sees rewards alone does better on average over the goals that tasks are drawn from. Actions are tried on a
grid.

Prints the best mean return with the goal known, and with the goal told after one and after two steps; then what not
knowing costs, in return and in points of the way from random actions to the best return of each goal. No seed of
training, no preset and no unseen task has a part in it.

    python benchmarks/zero_shot.py [--goals 20000]
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np

from metadiffuser.envs.point_robot import EPISODE_LENGTH, STEP, PointRobotSimulator, sample_tasks
from metadiffuser.envs.shared.base import Array, Task

GRID = np.array(list(product(np.linspace(-1.0, 1.0, 9), repeat=2)))  # actions that are tried
FIRST = GRID[(GRID[:, 0] >= GRID[:, 1]) & (GRID[:, 1] >= 0)]  # from the origin, the square's other eighths are the same
CIRCLES = 200  # groups of goals of about the same distance
WALKS = 20  # episodes of random actions for each goal


def main() -> None:
    """Compute and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goals", type=int, default=20000)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    drawn = sample_tasks(generator, options.goals)
    goals = np.array([parameters["goal"] for parameters in drawn])
    known = best(np.zeros(2), goals, EPISODE_LENGTH)
    points = 100 / (known - random_returns(drawn, generator))
    even = np.ones(len(goals))
    print(f"goal known: return {known.mean():.2f}")
    for steps, told in ((1, told_after_one), (2, told_after_two)):
        earned, score = told(goals, even), told(goals, points)
        cost, lost = known.mean() - earned, (known * points).mean() - score
        print(f"goal told after {steps}: return {earned:.2f}; costs {cost:.2f}, {lost:.1f} points")


def best(position: Array, goals: Array, steps: int) -> Array:
    """Return the best return (G,) of the last ``steps`` steps from ``position`` (2,), for known goals (G, 2)."""
    moves = STEP * np.arange(1, steps + 1)
    gaps = np.maximum(np.abs(goals - position)[:, None] - moves[:, None], 0.0)
    return -np.linalg.norm(gaps, axis=-1).sum(axis=-1)


def told_after_one(goals: Array, weights: Array) -> float:
    """Return the best weighed mean return of an agent that is told the goal after its first action."""
    return max(
        float((weights * (best(STEP * action, goals, EPISODE_LENGTH - 1) + reward(STEP * action, goals))).mean())
        for action in FIRST
    )


def told_after_two(goals: Array, weights: Array) -> float:
    """Return that of an agent that knows the goal's distance after its first action, and the goal after its second."""
    found = []
    for action in FIRST:
        first = reward(STEP * action, goals)
        places = STEP * (action + GRID)
        later = np.array([reward(place, goals) + best(place, goals, EPISODE_LENGTH - 2) for place in places]) * weights
        circles = np.array_split(np.argsort(first), CIRCLES)
        found.append((weights * first).sum() + sum(later[:, circle].sum(axis=1).max() for circle in circles))
    return float(max(found)) / len(goals)


def reward(position: Array, goals: Array) -> Array:
    """Return the rewards (G,) at ``position`` (2,)."""
    return -np.linalg.norm(goals - position, axis=-1)


def random_returns(drawn: list[dict[str, tuple[float, ...]]], generator: np.random.Generator) -> Array:
    """Return the mean return (G,) of random actions for each goal."""
    simulator = PointRobotSimulator([Task(index, "train", parameters) for index, parameters in enumerate(drawn)])
    total = np.zeros(len(drawn))
    for _ in range(WALKS):
        simulator.reset(generator)
        for _ in range(EPISODE_LENGTH):
            _, terms = simulator.step(generator.uniform(-1.0, 1.0, (len(drawn), 2)))
            total += terms["distance"] / WALKS
    return total


if __name__ == "__main__":
    main()
