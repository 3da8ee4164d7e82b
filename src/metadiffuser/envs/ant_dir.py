"""Ant-Dir: an ant that walks in a direction of the plane.

| index | name | joint | unit |
|---|---|---|---|
| 0 | height of the torso | root | m |
| 1-4 | orientation of the torso, quaternion w, x, y, z | root | 1 |
| 5, 6 | angles of the front left hip and ankle | hip_1, ankle_1 | rad |
| 7, 8 | angles of the front right hip and ankle | hip_2, ankle_2 | rad |
| 9, 10 | angles of the back left hip and ankle | hip_3, ankle_3 | rad |
| 11, 12 | angles of the back right hip and ankle | hip_4, ankle_4 | rad |
| 13-15 | velocity x, y, z of the torso in the world | root | m/s |
| 16-18 | angular velocity x, y, z of the torso in its own frame | root | rad/s |
| 19-26 | angular velocities of the hips and ankles in the order above | hip_1 to ankle_4 | rad/s |

Actions (8): torques of hip_4, ankle_4, hip_1, ankle_1, hip_2, ankle_2, hip_3, ankle_3, in [-1, 1] of their gear.
Directions (cos t, sin t) have t uniform in [0, 2 pi). Frame skip 5 of 0.01 s: dt = 0.05 s; episodes last 200 steps
and never end early, however the ant lies (environments.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import mujoco
import numpy as np

from metadiffuser.envs.shared.ant_symmetry import SYMMETRIES
from metadiffuser.envs.shared.base import Array, Family, Task
from metadiffuser.envs.shared.robots import EPISODE_LENGTH, RobotSimulator, asset, dead_reckoning, without_islands

FRAME_SKIP = 5
DT = 0.05  # seconds
CONTROL_COST = 0.5
CONTACT_COST = 0.0005
CONTACT_RANGE = 1.0  # N or N m, to which contact forces are clipped
SURVIVAL = 1.0
RESET_NOISE = 0.1  # m, rad or 1, and standard deviation of velocities, as in gymnasium's Ant


@cache
def robot() -> mujoco.MjModel:
    """Return gymnasium's ant (timestep 0.01 s)."""
    return without_islands(mujoco.MjModel.from_xml_path(asset("ant.xml")))


@cache
def contact_sensors() -> mujoco.MjModel:
    """Return the ant with sensors: its centre of mass (3), then for each body net contact force, torque and point.

    Its integrator is the fastest one, since only the beginning of a physics step is used.
    """
    spec = mujoco.MjSpec.from_file(asset("ant.xml"))
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_EULER
    kind, fields = mujoco.mjtSensor, mujoco.mjtConDataField
    wanted = sum(1 << int(field) for field in (fields.mjCONDATA_FORCE, fields.mjCONDATA_TORQUE, fields.mjCONDATA_POS))
    net_force, slots = 3, 1  # the reduction that sums all contacts of a body, and its number of results
    bodies = spec.bodies[1:]  # without the world, for which cfrc_ext is zero
    for index, body in enumerate(bodies):
        body.name = body.name or f"body{index}"
    common = {"objtype": mujoco.mjtObj.mjOBJ_BODY}
    spec.add_sensor(name="centre", type=kind.mjSENS_SUBTREECOM, objname="torso", **common)
    for body in bodies:
        sensor = spec.add_sensor(name=body.name, type=kind.mjSENS_CONTACT, objname=body.name, **common)
        sensor.intprm = [wanted, net_force, slots]
    return without_islands(spec.compile())


def contact_forces(readings: Array) -> Array:
    """Return MuJoCo's cfrc_ext without the world's row (B, 13, 6), torques first, of ``contact_sensors``' readings.

    The sensors give the force that the body exerts, with the torque about a point of contact; cfrc_ext is the force on
    the body, with the torque about the centre of mass.
    """
    centre, bodies = readings[:, None, :3], readings[:, 3:].reshape(len(readings), -1, 9)
    force, torque, arm = bodies[..., :3], bodies[..., 3:6], bodies[..., 6:] - centre
    return -np.concatenate([torque + np.cross(arm, force), force], axis=-1)


def world_points(positions: Array) -> Array:
    """Return the torso's world points (..., 3) of qpos (..., 15)."""
    return positions[..., :3]


def integrate(states: Array, start: Array) -> Array:
    """Return the torso's world points (..., T, 3) of states (..., T, 27) that begin at ``start`` (..., 3)."""
    plane = dead_reckoning(states[..., 13:15], start[..., :2], DT)
    return np.concatenate([plane, states[..., :1]], axis=-1)


def sample_directions(generator: np.random.Generator, count: int) -> list[dict[str, tuple[float, ...]]]:
    """Draw ``count`` directions (cos t, sin t), t uniform in [0, 2 pi)."""
    angles = [float(generator.uniform(0.0, 2.0 * np.pi)) for _ in range(count)]
    return [{"direction": (float(np.cos(angle)), float(np.sin(angle)))} for angle in angles]


class AntDirSimulator(RobotSimulator):
    """B ants stepped together, rewarded for walking in their direction."""

    frame_skip = FRAME_SKIP
    noise = RESET_NOISE

    def __init__(self, tasks: Sequence[Task], threads: int = 1):
        super().__init__(tasks, threads)
        self._directions = np.array([task.parameters["direction"] for task in self.tasks])

    @classmethod
    def model(cls, task: Task) -> mujoco.MjModel:
        """Return the robot: the same for every task."""
        return robot()

    @classmethod
    def sensors(cls) -> mujoco.MjModel:
        """Return the ant with contact sensors."""
        return contact_sensors()

    def observe(self, positions: Array, velocities: Array) -> Array:
        """Return observations (B, 27) of qpos (B, 15) and qvel (B, 14)."""
        return np.concatenate([positions[:, 2:], velocities], axis=1)

    def unobserve(self, observations: Array) -> tuple[Array, Array]:
        """Return qpos (B, 15) with the torso above the origin, and qvel (B, 14)."""
        plane = np.zeros((len(observations), 2))
        return np.concatenate([plane, observations[:, :13]], axis=1), observations[:, 13:]

    def reward_terms(self, velocity: Array, actions: Array) -> dict[str, Array]:
        """Return v . (cos t, sin t), -0.5 * |a|^2, -0.0005 * sum(clip(cfrc_ext, -1, 1)^2) and 1, each (B,).

        The contact forces are those of the state reached (deviation 24).
        """
        forces = np.clip(contact_forces(self._physics.sense(actions)), -CONTACT_RANGE, CONTACT_RANGE)
        return {
            "progress": (velocity * self._directions).sum(axis=1),
            "control": -CONTROL_COST * np.square(actions).sum(axis=1),
            "contact": -CONTACT_COST * np.square(forces).sum(axis=(1, 2)),
            "survival": np.full(len(actions), SURVIVAL),
        }


FAMILY = Family(
    name="ant_dir",
    title="Ant-Dir",
    colour="#805AD5",
    observation_size=27,
    action_size=8,
    episode_length=EPISODE_LENGTH,
    dt=DT,
    sample_tasks=sample_directions,
    simulator=AntDirSimulator,
    model=AntDirSimulator.model,
    reward_terms=("progress", "control", "contact", "survival"),
    world_points=world_points,
    integrate=integrate,
    symmetries=SYMMETRIES,
    beyond=lambda parameters: min(parameters["direction"]) > 0.0,  # a quadrant: forward and to the left
)
