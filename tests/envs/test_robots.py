"""The robots' families: physics, rewards and tasks against MuJoCo and gymnasium themselves."""

from __future__ import annotations

import subprocess
import sys
from copy import copy as duplicate
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from metadiffuser.envs import FAMILIES, Array, Task, ant_dir, total_reward
from metadiffuser.envs.shared.camera import camera
from metadiffuser.envs.shared.physics import BatchedPhysics
from metadiffuser.envs.shared.robots import asset, dead_reckoning
from metadiffuser.envs.shared.tasks import draw_tasks, split
from tests.helpers.robots import PARAMS, tasks_of

ROBOTS = [name for name in FAMILIES if name != "point_robot"]
ORIGINALS: dict[str, tuple[str, dict[str, Any]]] = {
    "cheetah_vel": ("HalfCheetah-v5", {}),
    "cheetah_dir": ("HalfCheetah-v5", {}),
    "ant_dir": ("Ant-v5", {"terminate_when_unhealthy": False}),
    "hopper_param": ("Hopper-v5", {"terminate_when_unhealthy": False}),
    "walker_param": ("Walker2d-v5", {"terminate_when_unhealthy": False, "xml_file": asset("walker2d.xml")}),
}
SKIPS = {"cheetah_vel": 5, "cheetah_dir": 5, "ant_dir": 5, "hopper_param": 4, "walker_param": 4}


def terms_of(name: str, task: Task, model: mujoco.MjModel, data: mujoco.MjData, velocity: Array, action: Array) -> Any:
    """The reward's terms as environments.md has them, for one copy that has just been stepped."""
    effort = float(np.square(action).sum())
    parameters = task.parameters
    if name == "cheetah_vel":
        return {"speed": -abs(velocity[0] - parameters["speed"][0]), "control": -0.05 * effort}
    if name == "cheetah_dir":
        return {"progress": parameters["direction"][0] * velocity[0], "control": -0.05 * effort}
    if name == "ant_dir":
        data.qacc_warmstart[:] = 0.0
        mujoco.mj_forward(model, data)
        mujoco.mj_rnePostConstraint(model, data)
        return {
            "progress": float(velocity @ parameters["direction"]),
            "control": -0.5 * effort,
            "contact": -0.0005 * float(np.square(np.clip(data.cfrc_ext, -1, 1)).sum()),
            "survival": 1.0,
        }
    return {"progress": velocity[0], "control": -0.001 * effort, "survival": 1.0}


def observation_of(name: str, data: mujoco.MjData) -> Array:
    if name == "ant_dir":
        return np.concatenate([data.qpos[2:], data.qvel])
    if name in PARAMS:
        return np.concatenate([data.qpos[1:], np.clip(data.qvel, -10, 10)])
    return np.concatenate([data.qpos[1:], data.qvel, [data.qpos[0], 0.0, data.qpos[1] + 0.7]])


# --- physics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROBOTS)
def test_the_batch_is_a_plain_loop_of_mujoco_steps(name: str) -> None:
    family, tasks, steps = FAMILIES[name], tasks_of(name, 4), 30
    simulator = family.simulator(tasks, 2)
    simulator.reset(np.random.default_rng(5))
    copies = []
    for task, position in zip(tasks, simulator.positions, strict=True):
        model = family.model(task)
        data = mujoco.MjData(model)
        data.qpos[:] = position
        copies.append((task, model, data))
    # Copies start with the velocities that reset draws after the positions.
    again = np.random.default_rng(5)
    again.uniform(size=simulator.positions.shape)
    shape = (len(tasks), copies[0][1].nv)
    velocities = again.uniform(-0.005, 0.005, shape) if name in PARAMS else 0.1 * again.standard_normal(shape)
    for (_, _, data), velocity in zip(copies, velocities, strict=True):
        data.qvel[:] = velocity
    touched = 0.0
    for actions in np.random.default_rng(4).uniform(-1.3, 1.3, (steps, len(tasks), family.action_size)):
        observations, terms = simulator.step(actions)
        for copy, (task, model, data) in enumerate(copies):
            action = np.clip(actions[copy], -1, 1)
            before = data.qpos[:2].copy()
            data.qacc_warmstart[:] = 0.0
            data.ctrl[:] = action
            for _ in range(SKIPS[name]):
                mujoco.mj_step(model, data)
            assert np.array_equal(observations[copy], observation_of(name, data))
            assert np.array_equal(simulator.positions[copy], data.qpos)
            state = data.qpos.copy(), data.qvel.copy()
            expected = terms_of(name, task, model, data, (state[0][:2] - before) / family.dt, action)
            data.qpos[:], data.qvel[:] = state
            assert {key: values[copy] for key, values in terms.items()} == pytest.approx(expected, rel=1e-9, abs=1e-12)
            touched += abs(expected.get("contact", -1.0))
    assert touched > 0.0, "nothing ever touched the floor"


@pytest.mark.parametrize("name", ROBOTS)
def test_a_step_from_rest_is_gymnasiums(name: str) -> None:
    family = FAMILIES[name]
    task = tasks_of(name, 1)[0]
    if name in PARAMS:
        task = Task(0, "train", {key: tuple(0.0 for _ in values) for key, values in task.parameters.items()})
    gym_id, options = ORIGINALS[name]
    mujoco.set_mju_user_warning(lambda _: None)  # of the half-cheetah's file; otherwise it lands in a log file
    original: Any = gym.make(gym_id, **options).unwrapped
    mujoco.set_mju_user_warning(None)
    original.model.opt.timestep = family.model(task).opt.timestep
    assert original.dt == pytest.approx(family.dt)
    original.reset(seed=0)
    simulator = family.simulator([task], 1)
    simulator.reset(np.random.default_rng(0))
    assert np.abs(simulator.positions[0] - original.init_qpos).max() < 0.11
    start = original.data.qpos.copy(), original.data.qvel.copy()
    physics = BatchedPhysics([family.model(task)], SKIPS[name], 1)
    physics.reset(start[0], start[1])
    action = np.linspace(-0.9, 0.8, family.action_size)
    physics.step(action[None])
    original.step(action)
    assert np.allclose(physics.positions[0], original.data.qpos, rtol=0, atol=1e-9)
    assert np.allclose(physics.velocities[0], original.data.qvel, rtol=0, atol=1e-7)
    original.close()


@pytest.mark.parametrize("name", ROBOTS)
def test_the_step_lasts_as_long_as_declared(name: str) -> None:
    task = tasks_of(name, 1)[0]
    model = FAMILIES[name].model(task)
    assert model.opt.timestep == (0.004 if name in PARAMS else 0.01)
    assert FAMILIES[name].dt == pytest.approx(model.opt.timestep * SKIPS[name])
    assert FAMILIES[name].dt == (0.016 if name in PARAMS else 0.05)
    assert FAMILIES[name].episode_length == 200


@pytest.mark.parametrize("name", ROBOTS)
def test_robots_do_not_look_for_islands_and_states_are_the_same_with_them(name: str) -> None:
    family, (task,) = FAMILIES[name], tasks_of(name, 1)
    ours, plain = (duplicate(family.model(task)) for _ in range(2))
    assert ours.opt.disableflags == mujoco.mjtDisableBit.mjDSBL_ISLAND
    plain.opt.disableflags = 0
    controls = np.random.default_rng(5).uniform(-1.0, 1.0, (200, 1, ours.nu))
    states, most = [], 0
    for model in (ours, plain):
        physics = BatchedPhysics([model], SKIPS[name], 1)
        physics.reset(physics.initial_positions[None], np.zeros((1, model.nv)))
        data = mujoco.MjData(model)
        for control in controls:
            physics.step(control)
            states.append(np.concatenate([physics.positions[0], physics.velocities[0]]))
            data.qpos[:] = physics.positions[0]
            mujoco.mj_forward(model, data)
            most = max(most, data.nefc)
    assert most > 3  # there were constraints to look at
    assert np.array_equal(states[:200], states[200:])


def test_controls_of_another_shape_are_refused() -> None:
    physics = BatchedPhysics([ant_dir.robot()] * 3, 5, 1)
    with pytest.raises(ValueError, match=r"expected controls of shape \(3, 8\), got \(2, 8\)"):
        physics.step(np.zeros((2, 8)))


def test_loading_the_robots_is_silent_and_leaves_no_log(tmp_path: Path) -> None:
    code = (
        "import numpy as np\n"
        "from metadiffuser.envs import FAMILIES\n"
        "for family in FAMILIES.values():\n"
        "    from metadiffuser.envs.shared.tasks import draw_tasks\n"
        "    family.simulator(draw_tasks(family, 2, 0, np.random.default_rng(0)), 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ROBOTS)
def test_chosen_robots_start_anew_and_the_others_go_on(name: str) -> None:
    family = FAMILIES[name]
    simulator = family.simulator(tasks_of(name, 3), 1)
    simulator.reset(np.random.default_rng(0))
    before, _ = simulator.step(np.ones((3, family.action_size)))
    after = simulator.reset(np.random.default_rng(1), np.array([True, False, True]))
    assert np.array_equal(after[1], before[1])
    assert (after[[0, 2]] != before[[0, 2]]).any(axis=1).all()


# --- ant -------------------------------------------------------------------------------------------------------------


def test_sensors_give_mujocos_contact_forces_and_the_world_has_none() -> None:
    batch = 8
    physics = BatchedPhysics([ant_dir.robot()] * batch, 5, 1, ant_dir.contact_sensors())
    generator = np.random.default_rng(0)
    low = ant_dir.robot().qpos0 + generator.uniform(-0.1, 0.1, (batch, 15)) - 0.35 * (np.arange(15) == 2)
    physics.reset(low, generator.standard_normal((batch, 14)))
    actions = generator.uniform(-1, 1, (batch, 8))
    physics.step(actions)
    forces = ant_dir.contact_forces(physics.sense(actions))
    data = mujoco.MjData(ant_dir.robot())
    for copy in range(batch):
        data.qpos[:], data.qvel[:], data.ctrl[:] = physics.positions[copy], physics.velocities[copy], actions[copy]
        data.qacc_warmstart[:] = 0.0
        mujoco.mj_forward(ant_dir.robot(), data)
        mujoco.mj_rnePostConstraint(ant_dir.robot(), data)
        assert (data.cfrc_ext[0] == 0.0).all()
        assert np.allclose(forces[copy], data.cfrc_ext[1:], rtol=1e-9, atol=1e-9)
    assert np.abs(forces).max() > 10.0
    assert (np.abs(forces).max(axis=(0, 2)) > 0).sum() > 3, "too few bodies in contact to tell"


def test_sensing_changes_nothing() -> None:
    physics = BatchedPhysics([ant_dir.robot()] * 2, 5, 1, ant_dir.contact_sensors())
    physics.reset(np.tile(ant_dir.robot().qpos0, (2, 1)), np.zeros((2, 14)))
    before = physics.positions.copy(), physics.velocities.copy()
    physics.sense(np.ones((2, 8)))
    assert np.array_equal(physics.positions, before[0])
    assert np.array_equal(physics.velocities, before[1])


def test_directions_go_round_the_whole_circle() -> None:
    vectors = np.array([task.parameters["direction"] for task in tasks_of("ant_dir", 400)])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0)
    quarters, _ = np.histogram(np.arctan2(vectors[:, 1], vectors[:, 0]), bins=4, range=(-np.pi, np.pi))
    assert quarters.min() > 70


# --- cheetah ---------------------------------------------------------------------------------------------------------


def test_cheetah_dir_has_two_tasks_that_train_and_test() -> None:
    tasks = draw_tasks(FAMILIES["cheetah_dir"], 2, 2, np.random.default_rng(0))
    for name in ("train", "test"):
        assert [task.parameters["direction"] for task in split(tasks, name)] == [(-1.0,), (1.0,)]
    assert [task.index for task in split(tasks, "test")] == [2, 3]


# --- falls ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "gym_id"), [("hopper_param", "Hopper-v5"), ("walker_param", "Walker2d-v5")])
def test_a_robot_counts_as_healthy_where_gymnasiums_does(name: str, gym_id: str) -> None:
    original: Any = gym.make(gym_id).unwrapped
    heights = np.array([0.5, 0.69, 0.71, 0.79, 0.81, 1.25, 1.99, 2.01, 2.5])
    leans = np.array([-1.5, -1.01, -0.99, -0.5, -0.21, -0.19, 0.0, 0.19, 0.21, 0.5, 0.99, 1.01, 1.5])
    seen = np.zeros((len(heights) * len(leans), FAMILIES[name].observation_size))
    seen[:, :2] = [(height, lean) for height in heights for lean in leans]
    expected = []
    for height, lean in seen[:, :2]:
        state = original.init_qpos.copy()
        state[1:3] = height, lean
        original.set_state(state, np.zeros_like(original.init_qvel))
        expected.append(bool(original.is_healthy))
    original.close()
    healthy = FAMILIES[name].healthy
    assert healthy is not None
    assert healthy(seen).tolist() == expected
    backwards = np.array([lean < 0 for _, lean in seen[:, :2]])
    assert 0 < np.sum(np.array(expected)[backwards]) < backwards.sum(), "leaning back makes no difference"


# --- where the robot is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROBOTS)
def test_the_place_is_the_torsos_and_a_path_of_states_follows_it(name: str) -> None:
    family, tasks = FAMILIES[name], tasks_of(name, 3)
    simulator = family.simulator(tasks, 1)
    states, positions = [simulator.reset(np.random.default_rng(1))], [simulator.positions]
    for actions in 0.4 * np.random.default_rng(2).uniform(-1, 1, (40, 3, family.action_size)):
        states.append(simulator.step(actions)[0])
        positions.append(simulator.positions)
    places = family.world_points(np.stack(positions, axis=1))
    for copy, task in enumerate(tasks):
        model = family.model(task)
        data = mujoco.MjData(model)
        data.qpos[:] = positions[-1][copy]
        mujoco.mj_kinematics(model, data)
        assert np.allclose(places[copy, -1], data.body("torso").xpos, atol=1e-12)
    shift = np.array([10.0, 0.0 if name != "ant_dir" else -4.0, 0.0])
    reckoned = family.integrate(np.stack(states, axis=1), places[:, 0] + (0.0 if "cheetah" in name else shift))
    if "cheetah" not in name:
        reckoned = reckoned - shift
    length = np.abs(np.diff(places, axis=1)).sum(axis=(1, 2)).max()
    assert length > 0.3
    assert np.abs(reckoned - places).max() < 0.05 * length


def test_dead_reckoning_is_exact_for_steady_acceleration() -> None:
    time = np.arange(5) * 0.5
    velocities = np.stack([3.0 * time, -time], axis=-1)
    expected = np.stack([7.0 + 1.5 * time**2, 8.0 - 0.5 * time**2], axis=-1)
    assert np.allclose(dead_reckoning(velocities, np.array([7.0, 8.0]), 0.5), expected)
    assert np.allclose(dead_reckoning(velocities[None], np.array([[7.0, 8.0]]), 0.5)[0], expected)


@pytest.mark.parametrize("name", ROBOTS)
def test_the_camera_follows_the_robot_and_looks_down_on_those_that_roam(name: str) -> None:
    model = FAMILIES[name].model(tasks_of(name, 1)[0])
    near, far = (camera(model, np.array([[0.0, 0.0, 1.0], [x, y, 1.2]])) for x, y in ((0.0, 0.0), (5.0, -2.0)))
    assert np.allclose(far.lookat - near.lookat, [5.0, -2.0, 0.0])
    assert (near.elevation < -20.0) == (name == "ant_dir")


@pytest.mark.parametrize("name", ROBOTS)
def test_uniform_actions_give_finite_episodes_that_go_on_whatever_happens(name: str) -> None:
    family = FAMILIES[name]
    simulator = family.simulator(tasks_of(name, 6), 1)
    simulator.reset(np.random.default_rng(0))
    returns = np.zeros(6)
    for actions in np.random.default_rng(1).uniform(-1, 1, (family.episode_length, 6, family.action_size)):
        observations, terms = simulator.step(actions)
        returns += total_reward(terms)
    assert np.isfinite(observations).all()
    assert np.isfinite(returns).all()
    if name in PARAMS:
        assert (observations[:, 0] < 0.9).any(), "nobody fell, so that going on after a fall was not seen"
