"""docs/environments.md says what the models say."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from metadiffuser.envs import FAMILIES
from metadiffuser.envs.shared.tasks import draw_tasks
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "environments.md"
ROBOTS = [name for name in FAMILIES if name != "point_robot"]
PLACES = {"x": 0, "y": 1, "z": 2}


@cache
def rows(name: str) -> dict[str, list[list[str]]]:
    """The rows of a family's tables by the title of their second column."""
    (text,) = re.findall(f"<!-- {name}:begin -->(.*?)<!-- {name}:end -->", PAGE.read_text("utf-8"), re.S)
    tables: dict[str, list[list[str]]] = {}
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        cells = [
            [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")] for line in block.splitlines()
        ]
        tables["/".join(cells[0])] = cells[2:]
    return tables


def test_the_readme_steps_the_ant_and_renders_it() -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    (shown,) = (code for code in snippets if 'gymnasium.make("metadiffuser/AntDir-v0", task=3' in code)
    assert "env.step(" in shown, "test_house.py runs what stands there"
    assert "env.render()" in shown


def test_every_family_is_registered_and_on_the_page() -> None:
    text = PAGE.read_text("utf-8")
    for family in FAMILIES.values():
        assert family.gym_id in gym.registry
        assert f"## {family.title}\n" in text
        assert f"`{family.gym_id}`" in text
        assert all(f"`{term}`" in text for term in family.reward_terms)


def test_the_page_is_that_of_the_models() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs/write_environments.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FAMILIES)
def test_every_entry_of_observation_and_action_has_its_row(name: str) -> None:
    tables = rows(name)
    seen = tables["index/joint/quantity/unit"]
    assert [row[0] for row in seen] == [str(index) for index in range(FAMILIES[name].observation_size)]
    if name in ROBOTS:
        moved = tables["index/joint/torque at 1/range"]
        assert [row[0] for row in moved] == [str(index) for index in range(FAMILIES[name].action_size)]
        assert all(row[3] == "[-1, 1]" for row in moved)


def value(data: mujoco.MjData, joint: str, quantity: str) -> float:
    """What MuJoCo itself has of a joint under the words of the table."""
    match = re.fullmatch(
        r"(always|(?:angular )?velocity|position|orientation|angle)(?: (\S+?),? ?(?:of the \w+)?)?(?: \+ (\S+))?"
        r"(?:, clipped to ±(\S+))?",
        quantity,
    )
    assert match is not None, quantity
    kind, part, offset, limit = match.groups()
    if kind == "always":
        return float(part)
    state = data.joint(joint).qvel if "velocity" in kind else data.joint(joint).qpos
    at = 0
    if len(state) > 1:
        at = {"orientation": 3, "angular velocity": 3}.get(kind, 0)
        at += ["w", "x", "y", "z"].index(part) if kind == "orientation" else PLACES[part]
    found = float(state[at]) + float(offset or 0.0)
    return float(np.clip(found, -float(limit), float(limit))) if limit else found


@pytest.mark.parametrize("name", ROBOTS)
def test_rows_name_the_joints_that_the_observation_shows(name: str) -> None:
    family, tasks = FAMILIES[name], draw_tasks(FAMILIES[name], 1, 0, np.random.default_rng(0))
    simulator = family.simulator(tasks, 1)
    generator = np.random.default_rng(1)
    simulator.reset(generator)
    clipped = 0
    for _ in range(40):
        actions = generator.uniform(-1, 1, (1, family.action_size))
        observation = simulator.step(actions)[0][0]
        data = mujoco.MjData(family.model(tasks[0]))
        data.qpos[:] = simulator.positions[0]
        data.qvel[:] = simulator._physics.velocities[0]  # type: ignore[attr-defined]
        expected = [value(data, joint, quantity) for _, joint, quantity, _ in rows(name)["index/joint/quantity/unit"]]
        np.testing.assert_allclose(observation, expected, rtol=0, atol=1e-12)
        clipped += int((np.abs(data.qvel) > 10.0).any())
    assert clipped > 0 or not name.endswith("_param"), "no velocity was large enough to be clipped"


@pytest.mark.parametrize("name", ROBOTS)
def test_actions_are_torques_of_the_named_joints(name: str) -> None:
    model = FAMILIES[name].model(draw_tasks(FAMILIES[name], 1, 0, np.random.default_rng(0))[0])
    data = mujoco.MjData(model)
    for index, joint, torque, _ in rows(name)["index/joint/torque at 1/range"]:
        data.ctrl[:] = 0.0
        data.ctrl[int(index)] = 0.5
        mujoco.mj_forward(model, data)
        assert data.joint(joint).qfrc_actuator[0] == pytest.approx(0.5 * float(torque.removesuffix(" N m")))
        assert np.count_nonzero(data.qfrc_actuator) == 1
