"""Symmetries are no matter of opinion: relabelled, the physics and the rewards must come out the same."""

from __future__ import annotations

import numpy as np
import pytest

from metadiffuser.behaviour.policies import relabelled
from metadiffuser.behaviour.training import standard_tasks
from metadiffuser.data.episodes import Floats
from metadiffuser.envs import FAMILIES, Array, Family, Task, total_reward
from metadiffuser.envs.shared.ant_symmetry import MIRROR, QUARTER_TURN
from metadiffuser.envs.shared.symmetry import generated, signed_permutation
from metadiffuser.envs.shared.tasks import draw_tasks

SYMMETRIC = [family for family in FAMILIES.values() if family.symmetries]


def test_some_family_has_symmetries() -> None:
    assert [family.name for family in SYMMETRIC] == ["ant_dir"]


@pytest.mark.parametrize("family", SYMMETRIC, ids=lambda family: family.name)
@pytest.mark.parametrize("number", range(8))
def test_a_relabelled_episode_is_an_episode(family: Family, number: int) -> None:
    symmetry = family.symmetries[number]
    draw = np.random.default_rng(number)
    (name,) = (parameters := family.sample_tasks(draw, 1)[0])
    task = Task(0, "train", parameters)
    turned = Task(0, "train", {name: tuple(symmetry.tasks @ task.vector)})
    first, second = family.simulator([task], 1), family.simulator([turned], 1)
    assert second.restore(first.reset(draw) @ symmetry.observations.T).all()
    for _ in range(25):
        action = draw.uniform(-1.0, 1.0, (1, family.action_size))
        seen, paid = first.step(action)
        seen_turned, paid_turned = second.step(action @ symmetry.actions.T)
        np.testing.assert_allclose(seen_turned, seen @ symmetry.observations.T, atol=1e-9)
        assert total_reward(paid_turned) == pytest.approx(total_reward(paid), abs=1e-9)


def test_the_ant_has_eight_symmetries_and_four_without_mirror() -> None:
    group = generated([QUARTER_TURN, MIRROR])
    assert len(group) == 8
    assert len(generated([QUARTER_TURN])) == 4
    np.testing.assert_array_equal(group[0].observations, np.eye(27))
    assert len({symmetry.tasks.tobytes() for symmetry in group}) == 8


def test_signed_permutation_names_where_entries_come_from() -> None:
    matrix = signed_permutation(3, {0: (2, -1.0), 2: (0, 1.0)})
    np.testing.assert_array_equal(matrix @ [1.0, 2.0, 3.0], [-3.0, 2.0, 1.0])


def test_standard_directions_lie_in_one_eighth_of_the_plane() -> None:
    family = FAMILIES["ant_dir"]
    tasks = draw_tasks(family, 40, 0, np.random.default_rng(0))
    standard, symmetries = standard_tasks(family, tasks)
    for task, image, symmetry in zip(tasks, standard, symmetries, strict=True):
        x, y = image.vector
        assert x >= y >= 0.0
        assert np.hypot(x, y) == pytest.approx(1.0)
        np.testing.assert_array_equal(symmetry.tasks @ task.vector, image.vector)
        assert (image.index, image.split) == (task.index, task.split)
    cheetah = FAMILIES["cheetah_vel"]
    plain = draw_tasks(cheetah, 3, 0, np.random.default_rng(0))
    assert standard_tasks(cheetah, plain) == (plain, [])


def test_a_relabelled_controller_earns_what_the_plain_one_earns_in_the_standard_task() -> None:
    family = FAMILIES["ant_dir"]
    tasks = draw_tasks(family, 8, 0, np.random.default_rng(1))
    standard, symmetries = standard_tasks(family, tasks)
    mixing = np.random.default_rng(2).normal(size=(27, 8)) * 0.3

    def controller(observations: Array) -> Floats:
        return np.tanh(observations @ mixing).astype(np.float32)

    simulator = family.simulator(tasks, 1)
    starts = simulator.reset(np.random.default_rng(3))
    image = family.simulator(standard, 1)
    seen = np.stack([s.observations @ start for s, start in zip(symmetries, starts, strict=True)])
    assert image.restore(seen).all()
    through = relabelled(controller, symmetries)
    for _ in range(20):
        starts, paid = simulator.step(through(starts).astype(float))
        seen, paid_image = image.step(controller(seen).astype(float))
        np.testing.assert_allclose(total_reward(paid), total_reward(paid_image), atol=1e-5)
