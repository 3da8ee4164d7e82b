"""Families, their batched simulators and their gymnasium environments."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import gymnasium.envs.mujoco
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from metadiffuser.artifacts import write_json
from metadiffuser.envs import FAMILIES, Array, Task, total_reward
from metadiffuser.envs.gym.env import FamilyEnv
from metadiffuser.envs.point_robot import EPISODE_LENGTH, STEP, optimal_return
from metadiffuser.envs.shared import gl
from metadiffuser.envs.shared.cheetah import FRAME_SKIP, RESET_NOISE, robot
from metadiffuser.envs.shared.physics import BatchedPhysics
from metadiffuser.envs.shared.tasks import default_task, draw_tasks, read_tasks
from metadiffuser.errors import InputError
from metadiffuser.seeding import numpy_generator

UNBOUNDED = ".*A Box observation space (minimum|maximum) value is -?infinity.*"  # true, and meant


def tasks_of(name: str, count: int) -> list[Task]:
    return draw_tasks(FAMILIES[name], count, 0, np.random.default_rng(3))


def actions_of(name: str, batch: int, steps: int) -> Array:
    """Actions (T, B, A), some of them out of range."""
    return np.random.default_rng(4).uniform(-1.3, 1.3, (steps, batch, FAMILIES[name].action_size))


def play(name: str, batch: int, steps: int, threads: int = 1) -> tuple[Array, Array, list[dict[str, Array]]]:
    """Return observations (T + 1, B, S), positions (T + 1, B, Q) and reward terms of each step."""
    simulator = FAMILIES[name].simulator(tasks_of(name, batch), threads)
    observations = [simulator.reset(np.random.default_rng(5))]
    positions, terms = [simulator.positions], []
    for action in actions_of(name, batch, steps):
        observation, gained = simulator.step(action)
        observations.append(observation)
        positions.append(simulator.positions)
        terms.append(gained)
    return np.stack(observations), np.stack(positions), terms


# --- every family ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_shapes_and_terms_are_as_declared(name: str) -> None:
    family = FAMILIES[name]
    observations, positions, terms = play(name, 3, 4)
    assert observations.shape == (5, 3, family.observation_size)
    assert positions.shape == (5, 3, family.model(tasks_of(name, 1)[0]).nq)
    for gained in terms:
        assert tuple(gained) == family.reward_terms
        assert all(values.shape == (3,) for values in gained.values())
        assert np.array_equal(total_reward(gained), sum(gained.values()))
    assert family.world_points(positions).shape == (5, 3, 3)
    assert family.integrate(observations[:, 1], family.world_points(positions[0, 1])).shape == (5, 3)


@pytest.mark.parametrize("name", FAMILIES)
def test_actions_out_of_range_count_as_clipped(name: str) -> None:
    family = FAMILIES[name]
    wild = 3.0 * np.sign(np.random.default_rng(0).normal(size=(2, family.action_size)))
    results = []
    for action in (wild, np.clip(wild, -1, 1)):
        simulator = family.simulator(tasks_of(name, 2), 1)
        simulator.reset(np.random.default_rng(1))
        observation, terms = simulator.step(action)
        results.append((observation, total_reward(terms)))
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("name", FAMILIES)
def test_one_and_two_threads_give_the_same_bytes(name: str) -> None:
    one, two = (play(name, 5, 12, threads) for threads in (1, 2))
    assert one[0].tobytes() == two[0].tobytes()
    assert [total_reward(terms).tobytes() for terms in one[2]] == [total_reward(terms).tobytes() for terms in two[2]]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_copy_does_not_depend_on_its_neighbours(name: str) -> None:
    family, tasks, actions = FAMILIES[name], tasks_of(name, 3), actions_of(name, 3, 6)
    together = family.simulator(tasks, 1)
    together.reset(np.random.default_rng(5))
    for action in actions:
        observations, _ = together.step(action)
    # The same task in the last place of a batch of its own kind, from the same draw of initial states.
    alone = family.simulator([tasks[2]] * 3, 1)
    alone.reset(np.random.default_rng(5))
    for action in actions:
        others, _ = alone.step(np.repeat(action[2:], 3, axis=0))
    assert np.array_equal(observations[2], others[2])


@pytest.mark.parametrize("name", FAMILIES)
def test_task_parameters_decide_the_reward(name: str) -> None:
    family = FAMILIES[name]
    first, second = tasks_of(name, 2)
    renumbered = Task(7, "test", first.parameters)
    simulator = family.simulator([first, renumbered, second], 1)
    start = simulator.reset(np.random.default_rng(0))[:1]
    assert simulator.restore(np.repeat(start, 3, axis=0)).all()  # copies differ in nothing but the task
    actions = np.random.default_rng(1).uniform(-1, 1, (5, 1, family.action_size))
    paid = np.sum([total_reward(simulator.step(np.repeat(action, 3, axis=0))[1]) for action in actions], axis=0)
    assert paid[0] == paid[1]
    assert abs(paid[0] - paid[2]) > 1e-6


# --- gymnasium -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=FAMILIES)
def env(request: pytest.FixtureRequest) -> Iterator[gym.Env[Any, Any]]:
    made: gym.Env[Any, Any] = gym.make(FAMILIES[request.param].gym_id, task=3)
    yield made
    made.close()


@pytest.mark.filterwarnings(f"ignore:{UNBOUNDED}")
def test_gymnasium_finds_nothing_wrong(env: gym.Env[Any, Any]) -> None:
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.filterwarnings(f"ignore:{UNBOUNDED}")
@pytest.mark.parametrize("name", FAMILIES)
def test_gymnasium_finds_nothing_wrong_with_frames(name: str) -> None:
    if gl.backend() is None:
        assert os.environ.get("CI") != "true", gl.REMEDY
        pytest.skip(gl.REMEDY)
    made = gym.make(FAMILIES[name].gym_id, task=3, render_mode="rgb_array")
    check_env(made.unwrapped)
    made.close()


def test_episodes_are_truncated_and_never_end(env: gym.Env[Any, Any]) -> None:
    assert isinstance(env.unwrapped, FamilyEnv)
    family = env.unwrapped.family
    env.reset(seed=0)
    for step in range(1, family.episode_length + 1):
        *_, terminated, truncated, info = env.step(env.action_space.sample() * 0)
        assert not terminated
        assert truncated == (step == family.episode_length)
        assert tuple(info["reward_terms"]) == family.reward_terms


def test_gymnasium_agrees_with_the_batched_simulator(env: gym.Env[Any, Any]) -> None:
    assert isinstance(env.unwrapped, FamilyEnv)
    family, task = env.unwrapped.family, env.unwrapped.task
    simulator = family.simulator([task], 1)
    first, _ = env.reset(seed=11)
    assert np.array_equal(first, simulator.reset(np.random.Generator(np.random.PCG64(11)))[0])
    for action in np.random.default_rng(2).uniform(-1, 1, (10, family.action_size)).astype(np.float32):
        observation, reward, *_ = env.step(action)
        expected, terms = simulator.step(action[None].astype(float))
        assert np.array_equal(observation, expected[0])
        assert reward == total_reward(terms)[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_drawn_tasks_are_read_back_as_they_are(name: str, tmp_path: Path) -> None:
    tasks = tasks_of(name, 5)
    write_json(tmp_path / "tasks.json", {"family": name, "tasks": [task.to_json() for task in tasks]})
    assert read_tasks(tmp_path / "tasks.json") == tasks


@pytest.mark.parametrize("name", FAMILIES)
def test_an_index_means_the_task_that_the_pipeline_draws_with_root_seed_0(name: str) -> None:
    drawn = draw_tasks(FAMILIES[name], 45, 5, numpy_generator(0, "define_tasks", name))
    for index in (0, 7, 44):
        assert default_task(name, index) == drawn[index]
    given = Task(2, "test", drawn[5].parameters)
    assert FamilyEnv(name, given).task is given


@pytest.mark.window
def test_render_simply_works_on_a_machine_without_a_screen(tmp_path: Path) -> None:
    if gl.backend() is None:
        assert os.environ.get("CI") != "true", gl.REMEDY
        pytest.skip(gl.REMEDY)
    code = (
        "import gymnasium, metadiffuser.envs\n"
        f"for name in {[family.gym_id for family in FAMILIES.values()]}:\n"
        "    env = gymnasium.make(name, task=3, render_mode='rgb_array')\n"
        "    env.reset(seed=0)\n"
        "    first = env.render()\n"
        "    for _ in range(5): env.step(env.action_space.high)\n"
        "    second = env.render()\n"
        "    print(first.shape, first.dtype, first.std() > 5, bool((first != second).any()))\n"
        "    env.close()\n"
    )
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "PYOPENGL_PLATFORM")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["(480, 480, 3) uint8 True True"] * len(FAMILIES)
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_render_names_the_package_where_no_library_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gl, "backend", lambda: None)
    drawn = FamilyEnv("cheetah_vel", 0, "rgb_array")
    with pytest.raises(InputError, match="libosmesa6"):
        drawn.render()
    drawn.close()
    assert FamilyEnv("cheetah_vel", 0).render() is None


# --- half-cheetah ----------------------------------------------------------------------------------------------------


def test_the_robot_is_gymnasiums_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where MuJoCo logs its warning of the file as it is
    source = Path(gymnasium.envs.mujoco.__file__).parent / "assets" / "half_cheetah.xml"
    original, ours = mujoco.MjModel.from_xml_path(str(source)), robot()
    assert ours.body_mass.sum() == pytest.approx(14.0)
    compared = 0
    for name in dir(original):
        value = getattr(original, name)
        if isinstance(value, np.ndarray):
            assert np.array_equal(value, getattr(ours, name)), name
            compared += 1
    assert compared > 200


def test_cheetah_observations_are_posture_velocities_and_the_torsos_place() -> None:
    observations, positions, _ = play("cheetah_vel", 2, 8)
    model = robot()
    data = mujoco.MjData(model)
    for step in range(9):
        for copy in range(2):
            data.qpos[:] = positions[step, copy]
            mujoco.mj_kinematics(model, data)
            assert np.array_equal(observations[step, copy, :8], data.qpos[1:])
            assert np.allclose(observations[step, copy, 17:], data.body("torso").xpos, atol=1e-12)
    assert np.array_equal(FAMILIES["cheetah_vel"].integrate(observations, np.zeros((9, 3))), observations[..., 17:])
    assert np.array_equal(FAMILIES["cheetah_vel"].world_points(positions), observations[..., 17:])


def test_cheetah_reward_is_that_of_the_method() -> None:
    batch, steps = 4, 10
    _, positions, terms = play("cheetah_vel", batch, steps)
    actions = np.clip(actions_of("cheetah_vel", batch, steps), -1.0, 1.0)
    targets = np.array([task.parameters["speed"][0] for task in tasks_of("cheetah_vel", batch)])
    for step in range(steps):
        speed = (positions[step + 1, :, 0] - positions[step, :, 0]) / 0.05
        assert np.allclose(terms[step]["speed"], -np.abs(speed - targets))
        assert np.allclose(terms[step]["control"], -0.05 * (actions[step] ** 2).sum(axis=1))


def test_the_step_is_a_twentieth_of_a_second() -> None:
    assert robot().opt.timestep * FRAME_SKIP == FAMILIES["cheetah_vel"].dt == 0.05
    assert BatchedPhysics([robot()], FRAME_SKIP, 1).dt == 0.05


def test_cheetahs_start_near_rest_and_each_elsewhere() -> None:
    batch = 500
    simulator = FAMILIES["cheetah_vel"].simulator(tasks_of("cheetah_vel", batch), 1)
    observations = simulator.reset(np.random.default_rng(0))
    offsets = simulator.positions - robot().qpos0
    velocities = observations[:, 8:17]
    assert RESET_NOISE == 0.1
    assert np.abs(offsets).max() <= 0.1
    assert (np.abs(offsets).max(axis=0) > 0.095).all(), "the noise is not spread over all of its range"
    assert np.allclose(velocities.std(axis=0), 0.1, rtol=0.15)
    assert len(np.unique(observations, axis=0)) == batch
    assert np.array_equal(observations, simulator.reset(np.random.default_rng(0)))
    assert not np.array_equal(observations, simulator.reset(np.random.default_rng(1)))


def test_target_speeds_and_goals_fill_their_ranges() -> None:
    speeds = np.array([task.vector for task in tasks_of("cheetah_vel", 400)])
    assert speeds.shape == (400, 1)
    assert 0.075 <= speeds.min() < 0.15
    assert 2.9 < speeds.max() < 3.0
    goals = np.array([task.vector for task in tasks_of("point_robot", 400)])
    assert goals.shape == (400, 2)
    assert (np.abs(goals) <= 1.0).all()
    assert (goals.min(axis=0) < -0.95).all()
    assert (goals.max(axis=0) > 0.95).all()


# --- point robot -----------------------------------------------------------------------------------------------------


def test_the_point_moves_by_a_tenth_of_its_action_and_pays_its_distance() -> None:
    observations, _, terms = play("point_robot", 3, 6)
    assert (observations[0] == 0.0).all()
    moves = 0.1 * np.clip(actions_of("point_robot", 3, 6), -1.0, 1.0)
    assert np.allclose(observations[1:], np.cumsum(moves, axis=0))
    goals = np.array([task.parameters["goal"] for task in tasks_of("point_robot", 3)])
    for step in range(6):
        assert np.allclose(terms[step]["distance"], -np.linalg.norm(observations[step + 1] - goals, axis=1))


def brute_force(goal: tuple[float, float]) -> float:
    """Return the optimum by dynamic programming over a lattice of half moves."""
    pitch = STEP / 2
    side = np.arange(-44, 45) * pitch
    x, y = np.meshgrid(side, side, indexing="ij")
    gain = -np.hypot(x - goal[0], y - goal[1])
    value = np.zeros_like(gain)
    for _ in range(EPISODE_LENGTH):
        after = np.full((93, 93), -np.inf)  # two points of margin: the reach of a move
        after[2:-2, 2:-2] = gain + value
        moves = [after[i : i + 89, j : j + 89] for i in range(5) for j in range(5)]
        value = np.max(moves, axis=0)
    return float(value[44, 44])


@pytest.mark.parametrize("goal", [(0.0, 0.0), (0.35, -0.8), (1.0, 1.0), (-0.05, 0.95)])
def test_the_points_optimum_is_what_brute_force_finds(goal: tuple[float, float]) -> None:
    assert optimal_return(np.array(goal)) == pytest.approx(brute_force(goal), abs=1e-9)


def test_going_straight_to_the_goal_reaches_the_optimum() -> None:
    tasks = tasks_of("point_robot", 6)
    simulator = FAMILIES["point_robot"].simulator(tasks, 1)
    position = simulator.reset(np.random.default_rng(0))
    goals = np.array([task.parameters["goal"] for task in tasks])
    gained = np.zeros(6)
    for _ in range(EPISODE_LENGTH):
        position, terms = simulator.step((goals - position) / STEP)
        gained += total_reward(terms)
    assert np.allclose(gained, [optimal_return(goal) for goal in goals])
