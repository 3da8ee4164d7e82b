"""Transitions played again: every family's stored rewards and next states against its own simulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metadiffuser.data.episodes import Episodes
from metadiffuser.envs import FAMILIES, Array, Task, total_reward
from metadiffuser.envs.shared.dynamics import BASES
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.errors import InputError
from metadiffuser.importing import replay as module
from metadiffuser.importing.assemble import assemble
from metadiffuser.importing.comparison import Agreement, Tolerances
from metadiffuser.importing.replay import replay
from metadiffuser.importing.store import Imported
from metadiffuser.importing.tasklist import read_task_list

TOLERANCES = Tolerances(reward=1e-3, state=2e-2)
PARAMS = ("hopper_param", "walker_param")
EPISODES = 3


def tasks_of(name: str, train: int, test: int) -> list[Task]:
    return draw_tasks(FAMILIES[name], train, test, np.random.default_rng(3))


@cache
def played(name: str) -> dict[int, Episodes]:
    """Episodes of two tasks as float32, some of them wild enough for a hopper's velocities to be clipped."""
    family, tasks = FAMILIES[name], tasks_of(name, 1, 1)
    generator = np.random.default_rng(6)
    simulator = family.simulator([task for task in tasks for _ in range(EPISODES)], 1)
    observations, actions, rewards = [simulator.reset(generator)], [], []
    effort = np.tile([0.1, 0.5, 1.0], len(tasks))[:, None]
    for _ in range(family.episode_length):
        drawn = effort * generator.uniform(-1, 1, (len(effort), family.action_size))
        actions.append(drawn.astype(np.float32))
        observation, terms = simulator.step(actions[-1].astype(float))
        observations.append(observation)
        rewards.append(total_reward(terms))
    parts = [np.stack(part, axis=1).astype(np.float32) for part in (observations, actions, rewards)]
    rows = {task.index: slice(EPISODES * row, EPISODES * row + EPISODES) for row, task in enumerate(tasks)}
    return {index: Episodes(*(part[where] for part in parts)) for index, where in rows.items()}


def write(folder: Path, name: str, change: Callable[[dict[str, Any]], Any] = lambda arrays: None) -> None:
    """Write one file a task and the list of tasks; ``change`` edits the arrays of the first."""
    entries = []
    for task in tasks_of(name, 1, 1):
        episodes = played(name)[task.index]
        arrays: dict[str, Any] = {
            "observations": episodes.observations[:, :-1].copy(),
            "actions": episodes.actions.copy(),
            "rewards": episodes.rewards.copy(),
            "next_observations": episodes.observations[:, 1:].copy(),
        }
        if task.index == 0:
            change(arrays)
        np.savez(folder / f"task{task.index}.npz", **arrays)
        record = task.to_json()
        entries.append({"data": f"task{task.index}.npz", **{key: record[key] for key in ("split", "parameters")}})
    (folder / "tasks.json").write_text(json.dumps({"tasks": entries}))


def imported(folder: Path, name: str, tolerances: Tolerances = TOLERANCES) -> Imported:
    return assemble(read_task_list(folder, None, FAMILIES[name]), FAMILIES[name], tolerances)


def refusal(folder: Path, name: str) -> str:
    with pytest.raises(InputError) as refused:
        imported(folder, name)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_restored_state_goes_on_as_the_one_that_was_observed(name: str) -> None:
    family, tasks = FAMILIES[name], tasks_of(name, 5, 0)
    generator = np.random.default_rng(0)
    simulator, other = family.simulator(tasks, 1), family.simulator(tasks, 1)
    state = simulator.reset(generator)
    compared = 0
    for _ in range(12):
        actions = 0.3 * generator.uniform(-1, 1, (5, family.action_size))
        restored = other.restore(state)
        assert restored.all() or name in PARAMS
        reached, terms = simulator.step(actions)
        again, others = other.step(actions)
        np.testing.assert_allclose(again[restored], reached[restored], rtol=0, atol=1e-8)
        for term, values in terms.items():
            np.testing.assert_allclose(others[term][restored], values[restored], rtol=0, atol=1e-8)
        state = reached
        compared += int(restored.sum())
    assert compared > 30


@pytest.mark.parametrize("name", FAMILIES)
def test_generated_episodes_agree_with_their_simulator(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    notes = imported(tmp_path, name, Tolerances(reward=1e-4, state=5e-3)).notes  # what rounding to float32 costs
    assert notes["steps"] == 2 * EPISODES * FAMILIES[name].episode_length
    assert 0 < notes["reward_difference"] < 1e-4
    assert 0 < notes["state_difference"] < 5e-3
    if name in PARAMS:
        first = np.concatenate([episodes.observations[:, :-1] for episodes in played(name).values()])
        clipped = (np.abs(first[..., first.shape[-1] // 2 :]) == 10.0).any(axis=-1)
        assert notes["not_restored"] == clipped.sum() > 0
    else:
        assert notes["not_restored"] == 0


def wrong(task: Task) -> dict[str, list[float]]:
    """Other parameters of a task."""
    scale = {name: 0.8 if name in BASES else -1.0 for name in task.parameters}
    return {name: [scale[name] * value for value in values] for name, values in task.parameters.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_of_another_task_are_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    record = json.loads((tmp_path / "tasks.json").read_text())
    record["tasks"][0]["parameters"] = wrong(tasks_of(name, 1, 1)[0])
    (tmp_path / "tasks.json").write_text(json.dumps(record))
    said = refusal(tmp_path, name)
    array = "next_observations" if name in PARAMS else "rewards"
    assert f"task0.npz: {array}[" in said
    assert f"{FAMILIES[name].title}" in said
    assert " task 0, the largest difference of " in said


@pytest.mark.parametrize("name", FAMILIES)
def test_a_wrong_reward_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, lambda arrays: arrays["rewards"].__setitem__((0, 7), arrays["rewards"][0, 7] + 0.002))
    assert "task0.npz: rewards[0, 7] is " in refusal(tmp_path, name)
    loose = Tolerances(reward=0.01, state=TOLERANCES.state)
    assert imported(tmp_path, name, loose).notes["reward_difference"] == pytest.approx(0.002, rel=0.1)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_action_that_leads_elsewhere_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, lambda arrays: arrays["actions"].__setitem__((0, 5), -np.sign(arrays["actions"][0, 5])))
    said = refusal(tmp_path, name)
    assert "task0.npz: next_observations[0, 5] has " in said
    assert said.endswith("(if it is meant to differ: --state-tolerance)")
    loose = Tolerances(reward=100.0, state=100.0)
    assert imported(tmp_path, name, loose).notes["state_difference"] > TOLERANCES.state


@pytest.mark.parametrize("name", PARAMS)
def test_steps_from_clipped_velocities_are_left_alone_and_counted(tmp_path: Path, name: str) -> None:
    episodes = played(name)[0]
    clipped = (np.abs(episodes.observations[:, :-1, episodes.observations.shape[-1] // 2 :]) == 10.0).any(axis=-1)
    where = tuple(int(i) for i in np.argwhere(clipped)[0])
    write(tmp_path, name, lambda arrays: arrays["rewards"].__setitem__(where, 1e3))
    notes = imported(tmp_path, name).notes
    assert notes["reward_difference"] < TOLERANCES.reward
    assert notes["not_restored"] >= clipped.sum()


def test_data_of_which_nothing_can_be_compared_say_so() -> None:
    nothing = Agreement(None, None, 5, 5)
    assert Agreement.join([nothing, nothing]) == Agreement(None, None, 10, 10)
    assert Agreement.join([nothing, Agreement(0.1, 0.0, 3, 1), Agreement(0.0, 0.2, 3, 0)]) == Agreement(0.1, 0.2, 11, 6)


@pytest.mark.parametrize("most", [7, 600, 4096])
def test_pieces_and_threads_do_not_matter(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    family, task, episodes = FAMILIES["hopper_param"], tasks_of("hopper_param", 1, 1)[0], played("hopper_param")[0]
    states = episodes.observations[:, :20].reshape(-1, 11).astype(float)
    actions = episodes.actions[:, :20].reshape(-1, 3).astype(float)
    whole = replay(family, task, states, actions, 1)
    monkeypatch.setattr(module, "MOST_COPIES", most)
    pieces = replay(family, task, states, actions, 2)
    for name in ("rewards", "successors", "restored"):
        np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))


def test_states_that_explode_are_silent_and_leave_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    family = FAMILIES["ant_dir"]
    states: Array = np.tile(played("ant_dir")[0].observations[0, 0].astype(float), (3, 1))
    states[1, 20] = 1e30
    found = replay(family, tasks_of("ant_dir", 1, 1)[0], states, np.zeros((3, 8)), 2)
    np.testing.assert_array_equal(found.successors[0], found.successors[2])
    assert not np.allclose(found.successors[1], found.successors[0])
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
