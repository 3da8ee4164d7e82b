"""Half-cheetah families: Cheetah-Vel (run at a target speed).

| observation | meaning | unit |
|---|---|---|
| 0-7 | qpos[1:]: torso height and pitch, then thigh, shin, foot of the back and of the front leg | m, rad |
| 8-16 | qvel: torso x, z, pitch, then the six joints in the same order | m/s, rad/s |
| 17-19 | torso position x, y, z | m |

Actions (6): torques of back thigh, shin, foot, front thigh, shin, foot, in [-1, 1] of their gear.
Frame skip 5 of 0.01 s: dt = 0.05 s; episodes last 200 steps and never end early (method section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import gymnasium.envs.mujoco
import mujoco
import numpy as np

from metadiffuser.envs.base import Array, Family, Task
from metadiffuser.envs.physics import BatchedPhysics

FRAME_SKIP = 5
EPISODE_LENGTH = 200
CONTROL_COST = 0.05
TORSO_HEIGHT = 0.7  # metres: the torso's z where qpos is zero
RESET_NOISE = 0.1  # rad or m, and standard deviation of velocities, as in gymnasium's HalfCheetah
SPEEDS = (0.075, 3.0)  # m/s: range of target speeds


@cache
def robot() -> mujoco.MjModel:
    """Return gymnasium's half-cheetah (timestep 0.01 s).

    Its file states the total mass by an attribute of which MuJoCo warns on the terminal and in a log file;
    the call that the warning recommends gives the same model, bit for bit.
    """
    assets = Path(gymnasium.envs.mujoco.__file__).parent / "assets"
    spec = mujoco.MjSpec.from_file(str(assets / "half_cheetah.xml"))
    mass = spec.compiler.settotalmass
    spec.compiler.settotalmass = -1.0
    model = spec.compile()
    mujoco.mj_setTotalmass(model, mass)
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def observe(positions: Array, velocities: Array) -> Array:
    """Return observations (B, 20) of qpos (B, 9) and qvel (B, 9)."""
    torso = np.stack([positions[:, 0], np.zeros(len(positions)), positions[:, 1] + TORSO_HEIGHT], axis=1)
    return np.concatenate([positions[:, 1:], velocities, torso], axis=1)


def path(observations: Array) -> Array:
    """Return the torso's world points (..., 3) of observations (..., 20)."""
    return observations[..., 17:20]


def sample_speeds(generator: np.random.Generator, count: int) -> list[dict[str, tuple[float, ...]]]:
    """Draw ``count`` target speeds, uniform in [0.075, 3) m/s."""
    return [{"speed": (float(generator.uniform(*SPEEDS)),)} for _ in range(count)]


class CheetahVelSimulator:
    """B half-cheetahs stepped together, rewarded for running at their target speed."""

    def __init__(self, tasks: Sequence[Task], threads: int = 1):
        self.tasks = list(tasks)
        self._speeds = np.array([task.parameters["speed"][0] for task in self.tasks])
        self._physics = BatchedPhysics([robot()] * len(self.tasks), FRAME_SKIP, threads)

    @property
    def positions(self) -> Array:
        """qpos (B, 9)."""
        return self._physics.positions.copy()

    def reset(self, generator: np.random.Generator) -> Array:
        """Start near the rest pose, as gymnasium does; return observations (B, 20)."""
        size = len(self.tasks)
        rest = self._physics.initial_positions
        positions = rest + generator.uniform(-RESET_NOISE, RESET_NOISE, (size, rest.size))
        velocities = RESET_NOISE * generator.standard_normal((size, robot().nv))
        self._physics.reset(positions, velocities)
        return observe(self._physics.positions, self._physics.velocities)

    def step(self, actions: Array) -> tuple[Array, dict[str, Array]]:
        """Return observations (B, 20) and the terms -abs(v - v*) and -0.05 * |a|^2, each (B,)."""
        actions = np.clip(actions, -1.0, 1.0)
        before = self._physics.positions[:, 0].copy()
        self._physics.step(actions)
        velocity = (self._physics.positions[:, 0] - before) / self._physics.dt
        terms = {
            "speed": -np.abs(velocity - self._speeds),
            "control": -CONTROL_COST * np.square(actions).sum(axis=1),
        }
        return observe(self._physics.positions, self._physics.velocities), terms


CHEETAH_VEL = Family(
    name="cheetah_vel",
    title="Cheetah-Vel",
    gym_id="metadiffuser/CheetahVel-v0",
    observation_size=20,
    action_size=6,
    episode_length=EPISODE_LENGTH,
    dt=0.05,
    sample_tasks=sample_speeds,
    simulator=CheetahVelSimulator,
    model=lambda task: robot(),
    reward_terms=("speed", "control"),
    path=path,
    travelled=(17,),
)
