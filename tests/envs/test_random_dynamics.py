"""Tasks that change a robot's dynamics: which elements, by how much, and what follows from them."""

from __future__ import annotations

import json

import mujoco
import numpy as np
import pytest

from metadiffuser.envs import FAMILIES, Task, hopper_param
from metadiffuser.envs.shared.dynamics import BASES, randomised
from metadiffuser.errors import InputError
from tests.helpers.robots import PARAMS, tasks_of


@pytest.mark.parametrize("name", PARAMS)
def test_every_element_has_a_multiplier_of_its_own(name: str) -> None:
    nominal = PARAMS[name]()
    for task in tasks_of(name, 3):
        model = FAMILIES[name].model(task)
        for array, base in BASES.items():
            before, after = getattr(nominal, array), getattr(model, array)
            acting = before != 0.0
            assert np.array_equal(after == 0.0, ~acting)
            exponents = np.log(after[acting] / before[acting]) / np.log(base)
            assert np.allclose(exponents, task.parameters[array])
            assert len(np.unique(exponents)) == acting.sum()
    assert BASES == {"body_mass": 1.5, "body_inertia": 1.5, "geom_friction": 1.5, "dof_damping": 1.3}


@pytest.mark.parametrize("name", PARAMS)
def test_exponents_fill_their_range(name: str) -> None:
    drawn = np.stack([task.vector for task in tasks_of(name, 300)])
    assert drawn.shape[1] == {"hopper_param": 34, "walker_param": 58}[name]
    assert (np.abs(drawn) <= 3.0).all()
    assert (drawn.min(axis=0) < -2.8).all()
    assert (drawn.max(axis=0) > 2.8).all()
    assert np.abs(np.corrcoef(drawn.T) - np.eye(drawn.shape[1])).max() < 0.3, "elements are not independent"


@pytest.mark.parametrize("name", PARAMS)
def test_randomisation_does_not_compound(name: str) -> None:
    nominal = PARAMS[name]()
    before = {array: getattr(nominal, array).copy() for array in (*BASES, "body_subtreemass", "dof_invweight0")}
    first, second = tasks_of(name, 2)
    once = FAMILIES[name].model(first)
    FAMILIES[name].simulator([second, first, second], 1).reset(np.random.default_rng(0))
    again = FAMILIES[name].model(first)
    for array, value in before.items():
        assert np.array_equal(getattr(nominal, array), value)
        assert np.array_equal(getattr(once, array), getattr(again, array))


@pytest.mark.parametrize("name", PARAMS)
def test_what_follows_from_masses_follows_from_the_drawn_ones(name: str) -> None:
    model = FAMILIES[name].model(tasks_of(name, 1)[0])
    assert model.body_subtreemass[0] == pytest.approx(model.body_mass.sum())
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    inertia = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, inertia)
    assert np.allclose(np.linalg.inv(inertia).diagonal(), model.dof_invweight0)


@pytest.mark.parametrize("name", PARAMS)
def test_a_task_survives_json_to_the_bit(name: str) -> None:
    task = tasks_of(name, 1)[0]
    back = Task.from_json(json.loads(json.dumps(task.to_json())))
    assert np.array_equal(back.vector, task.vector)
    assert np.array_equal(back.vector, np.concatenate([task.parameters[key] for key in sorted(BASES)]))
    for array in BASES:
        assert np.array_equal(getattr(FAMILIES[name].model(back), array), getattr(FAMILIES[name].model(task), array))


@pytest.mark.parametrize("name", PARAMS)
def test_inertia_about_axes_in_the_plane_and_friction_of_rolling_change_nothing(name: str) -> None:
    family, task = FAMILIES[name], tasks_of(name, 1)[0]
    other, acting = {}, 0
    for array, values in task.parameters.items():
        idle = np.arange(len(values)) % 3 != {"body_inertia": 1, "geom_friction": 0}.get(array, 0)
        idle &= array in ("body_inertia", "geom_friction")
        acting += int((~idle).sum())
        other[array] = tuple(np.where(idle, -np.array(values), values).tolist())
    simulator = family.simulator([task, Task(1, "train", other)], 1)
    assert acting == {"hopper_param": 16, "walker_param": 28}[name]
    simulator.reset(np.random.default_rng(0))
    simulator._physics.positions[1] = simulator._physics.positions[0]  # type: ignore[attr-defined]
    simulator._physics.velocities[1] = simulator._physics.velocities[0]  # type: ignore[attr-defined]
    for action in np.random.default_rng(1).uniform(-1, 1, (30, family.action_size)):
        observations, _ = simulator.step(np.stack([action, action]))
    assert np.allclose(observations[0], observations[1], rtol=0, atol=1e-6)


def test_exponents_of_another_robot_are_refused() -> None:
    with pytest.raises(InputError, match="task 0: body_inertia has 21 exponents; this robot has 12"):
        randomised(hopper_param.robot(), tasks_of("walker_param", 1)[0])
    with pytest.raises(InputError, match="body_inertia has 0 exponents"):
        randomised(hopper_param.robot(), Task(1, "train", {}))
