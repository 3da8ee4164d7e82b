"""Write the tables of docs/environments.md, between its markers, from the MuJoCo models; ``--check`` only compares.

Which joint an entry of the observation shows is found by moving every coordinate of the state a little and looking at
what changes in the observation, so that the tables hold whatever the code does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from blocks import table, update

from metadiffuser.envs import FAMILIES, Family, Task
from metadiffuser.envs.shared.tasks import draw_tasks

PAGE = Path(__file__).resolve().with_name("environments.md")
NUDGE = 1e-3  # m, rad and their rates: how far a coordinate is moved
FAR = 1e6  # m/s or rad/s: beyond any clipping
AXES = "xyz"
FREE = [
    *((f"position {axis}", "m") for axis in AXES),
    *((f"orientation {part}", "1") for part in ("w", *AXES)),
    *((f"velocity {axis}, of the world", "m/s") for axis in AXES),
    *((f"angular velocity {axis}, of the body", "rad/s") for axis in AXES),
]


def coordinates(model: mujoco.MjModel) -> list[tuple[str, str, str]]:
    """Return joint, quantity and unit of each coordinate of the state: qpos, then qvel."""
    places, rates = [], []
    for number in range(model.njnt):
        joint = f"`{model.joint(number).name}`"
        kind = model.jnt_type[number]
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            places += [(joint, *entry) for entry in FREE[:7]]
            rates += [(joint, *entry) for entry in FREE[7:]]
        elif kind == mujoco.mjtJoint.mjJNT_SLIDE:
            axis = AXES[int(np.abs(model.jnt_axis[number]).argmax())]
            places.append((joint, f"position {axis}", "m"))
            rates.append((joint, f"velocity {axis}", "m/s"))
        else:
            places.append((joint, "angle", "rad"))
            rates.append((joint, "angular velocity", "rad/s"))
    return [*places, *rates]


def observations(family: Family, task: Task) -> str:
    """Return the table of the observation's entries."""
    model = family.model(task)
    named, split = coordinates(model), model.nq
    simulator: Any = family.simulator([task], 1)

    def observe(state: np.ndarray) -> np.ndarray:
        if not hasattr(simulator, "observe"):  # the point, which has no state but its observation
            return state[:, :split]
        seen: np.ndarray = simulator.observe(state[:, :split], state[:, split:])
        return seen

    rest = np.concatenate([model.qpos0, np.zeros(model.nv)])
    seen = observe(rest[None])[0]
    change = (observe(rest + NUDGE * np.eye(len(rest))) - seen) / NUDGE  # (coordinate, entry)
    far = observe(rest + FAR * np.eye(len(rest)))
    rows = []
    for entry in range(family.observation_size):
        movers = np.flatnonzero(np.abs(change[:, entry]) > NUDGE)
        if movers.size == 0:
            rows.append((entry, "–", f"always {seen[entry]:g}", "–"))
            continue
        (mover,) = movers
        if abs(change[mover, entry] - 1.0) > NUDGE:
            raise SystemExit(f"{family.name}: entry {entry} is no coordinate of the state as it stands")
        joint, quantity, unit = named[mover]
        offset = seen[entry] - rest[mover]
        quantity += f" + {offset:g}" if abs(offset) > NUDGE else ""
        limit = far[mover, entry]
        quantity += f", clipped to ±{limit:g}" if limit < FAR / 2 else ""
        rows.append((entry, joint, quantity, unit))
    return table(("index", "joint", "quantity", "unit"), rows)


def actions(model: mujoco.MjModel) -> str:
    """Return the table of the actions, which are torques as a share of each motor's gear."""
    rows = []
    for motor in range(model.nu):
        joint = model.joint(model.actuator_trnid[motor, 0]).name
        low, high = model.actuator_ctrlrange[motor]
        rows.append((motor, f"`{joint}`", f"{model.actuator_gear[motor, 0]:g} N m", f"[{low:g}, {high:g}]"))
    return table(("index", "joint", "torque at 1", "range"), rows)


def facts(family: Family, task: Task) -> str:
    """Return what can be said in a line each."""
    model = family.model(task)
    sizes = ", ".join(f"`{name}` ({len(values)})" for name, values in sorted(task.parameters.items()))
    simulator: Any = family.simulator([task], 1)
    rows = [
        ("environment", f"`{family.gym_id}`"),
        ("observations, actions", f"{family.observation_size}, {family.action_size}"),
        ("parameters of a task", sizes),
        ("terms of the reward", ", ".join(f"`{name}`" for name in family.reward_terms)),
        ("episode", f"{family.episode_length} steps, never ended early"),
    ]
    if model.nu:
        steps = f"{simulator.frame_skip} physics steps of {model.opt.timestep:g} s"
        noise = f"uniform noise of {simulator.noise:g} on positions"
        rows += [("step", f"{family.dt:g} s: {steps}"), ("start", f"at rest, with {noise}")]
    return table(("", ""), rows)


def generated(family: Family) -> str:
    """Return the generated part of a family's section."""
    (task,) = draw_tasks(family, 1, 0, np.random.default_rng(0))
    model = family.model(task)
    parts = [facts(family, task), "Observation:", observations(family, task)]
    if model.nu:
        parts += ["Action:", actions(model)]
    return "\n\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` return 1 if it lags behind the models."""
    blocks = {name: generated(family) for name, family in FAMILIES.items()}
    return update({PAGE: blocks}, arguments, "the models", "make environments")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
