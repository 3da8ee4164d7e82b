"""What experts lose with another task's parameters: all else is equal, and the loss is that of the parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metadiffuser.behaviour.policies import Policies
from metadiffuser.behaviour.transfer import OTHERS, transfer_by_teacher, transfer_returns
from metadiffuser.envs import Family, Task, get_family
from metadiffuser.envs.shared.symmetry import Symmetry
from metadiffuser.envs.shared.tasks import draw_tasks

POINT = get_family("point_robot")
GOALS = [(0.8, 0.0), (-0.8, 0.0), (0.0, 0.6)]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def goals(count: int = 3) -> tuple[list[Task], np.ndarray]:
    tasks = [Task(5 + index, "train", {"goal": goal}) for index, goal in enumerate(GOALS[:count])]
    return tasks, np.array(GOALS[:count], np.float32)


def linear(weight: torch.Tensor) -> Policies:
    """One policy whose action is tanh of ``weight`` (I, A) times its input, hardly spread."""
    inputs, actions = weight.shape
    full = torch.cat([weight, torch.zeros(inputs, actions)], dim=1)[None]
    bias = torch.cat([torch.zeros(actions), torch.full((actions,), -5.0)])[None, None]
    return Policies([(full, bias)], torch.zeros(1, 1, inputs), torch.ones(1, 1, inputs))


def seeker() -> Policies:
    """Goes to the goal that it is given."""
    return linear(20 * torch.cat([-torch.eye(2), torch.eye(2)]))


def robots(family: Family, count: int = 2) -> tuple[list[Task], np.ndarray]:
    tasks = draw_tasks(family, count, 0, generator(5))
    return tasks, np.stack([task.vector for task in tasks]).astype(np.float32)


def test_the_wrong_goal_costs_what_reaching_it_costs() -> None:
    tasks, features = goals()
    found = transfer_returns(POINT, tasks, seeker(), [0, 0, 0], features, generator(), episodes=2)
    assert set(found) == {"own", "wrong", "mean"}
    assert set(found["own"]) == {"5", "6", "7"}
    for task, goal in zip(tasks, GOALS, strict=True):
        own, wrong = found["own"][str(task.index)], found["wrong"][str(task.index)]
        assert len(own) == 2
        assert len(wrong) == 2 * min(OTHERS, 2)
        assert POINT.optimum is not None
        assert own == pytest.approx([POINT.optimum(task)] * 2, abs=0.5)
        distances = {np.hypot(goal[0] - x, goal[1] - y) for x, y in GOALS} - {0.0}
        assert max(wrong) < -10 * min(distances), "half of the episode or more, that far away"


def test_another_tasks_parameters_are_those_of_the_other_task() -> None:
    tasks, features = goals(2)
    found = transfer_returns(POINT, tasks, seeker(), [0, 0], features, generator())
    swapped = transfer_returns(POINT, tasks, seeker(), [0, 0], features[::-1].copy(), generator())
    assert found["wrong"] == swapped["own"]
    assert found["own"] == swapped["wrong"]
    assert found["own"] != found["wrong"]
    between = transfer_returns(POINT, tasks, seeker(), [0, 0], np.zeros_like(features), generator())
    assert found["mean"] == between["own"], "the mean of the two goals is the origin"


def test_each_task_keeps_its_own_expert() -> None:
    tasks, features = goals(2)
    both = Policies.join([seeker(), linear(torch.zeros(4, 2))])
    found = transfer_returns(POINT, tasks, both, [0, 1], features, generator())
    assert found["own"]["6"] == found["wrong"]["6"] == found["mean"]["6"], "this one stays where it is"
    assert found["own"]["5"] != found["wrong"]["5"]


@pytest.mark.parametrize("stochastic", [False, True])
def test_parameters_that_a_policy_does_not_use_change_nothing_to_the_bit(stochastic: bool) -> None:
    family = get_family("hopper_param")
    tasks, features = robots(family)
    weight = 0.5 * torch.randn(11 + features.shape[1], 3, generator=torch.Generator().manual_seed(0))
    weight[11:] = 0.0
    policies = linear(weight)
    found = transfer_returns(family, tasks, policies, [0, 0], features, generator(), 2, stochastic=stochastic)
    for task in tasks:
        own = found["own"][str(task.index)]
        assert own[0] != own[1], "starts differ"
        assert found["mean"][str(task.index)] == own
        assert found["wrong"][str(task.index)] == own, "with the same starts and noise"
    assert found == transfer_returns(family, tasks, policies, [0, 0], features, generator(), 2, stochastic=stochastic)


def test_another_tasks_parameters_come_with_its_symmetry() -> None:
    tasks, _ = goals(2)
    mirror = -np.eye(2)
    through = [Symmetry(np.eye(2), np.eye(2), np.eye(2)), Symmetry(mirror, mirror, mirror)]
    standard = np.array([GOALS[0], GOALS[0]], np.float32)  # both tasks are the first, one of them mirrored
    found = transfer_returns(POINT, tasks, seeker(), [0, 0], standard, generator(), symmetries=through)
    plain = transfer_returns(POINT, tasks, seeker(), [0, 0], goals(2)[1], generator())
    assert set(found) == {"own", "wrong"}
    for name in found:
        for task in ("5", "6"):
            assert found[name][task] == pytest.approx(plain[name][task], abs=1e-4)


def test_the_other_tasks_are_those_of_the_same_teacher() -> None:
    tasks = [Task(5 + index, "train", {"goal": goal}) for index, goal in enumerate([*GOALS, (0.0, -0.6), (0.1, 0.1)])]
    features = np.array([task.parameters["goal"] for task in tasks], np.float32)
    teachers = ["left", "right", "left", "right", "alone"]
    args = POINT, tasks, seeker(), [0] * 5, features, teachers
    found = transfer_by_teacher(*args, generator())
    assert all(set(by_task) == {"5", "6", "7", "8"} for by_task in found.values()), "one task has no other"
    for pair in ((0, 2), (1, 3)):
        some = [tasks[row] for row in pair]
        alone = transfer_returns(POINT, some, seeker(), [0, 0], features[list(pair)], generator())
        for given, by_task in alone.items():
            for task, returns in by_task.items():
                assert found[given][task] == pytest.approx(returns, abs=1e-5)
    assert found == transfer_by_teacher(*args, generator())
    nothing = np.zeros((5, 0), np.float32)
    assert transfer_by_teacher(POINT, tasks, seeker(), [0] * 5, nothing, teachers, generator()) == {}


def test_policies_that_are_given_no_parameters_have_nothing_to_be_told() -> None:
    tasks, _ = goals()
    with pytest.raises(ValueError, match="expected features"):
        transfer_returns(POINT, tasks, linear(torch.zeros(2, 2)), [0] * 3, np.zeros((3, 0), np.float32), generator())
