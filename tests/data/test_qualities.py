"""Medium data: half way between random and expert, in the committed results and by the code that picks them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from metadiffuser import paths
from metadiffuser.artifacts import read_json
from metadiffuser.behaviour.collection import BAND, SHARES, Collector, disturbed
from metadiffuser.behaviour.policies import Policies, Trained
from metadiffuser.data.dataset import Collected
from metadiffuser.envs import get_family
from metadiffuser.envs.shared.tasks import draw_tasks
from tests.conftest import ROOT

POINT = get_family("point_robot")
TASKS = draw_tasks(POINT, 4, 0, np.random.default_rng(0))
COMMITTED = sorted((ROOT / "results").glob("*/metrics/dataset/*.json"))
EPISODES = 20


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: str(path.relative_to(ROOT / "results")))
def test_medium_is_half_way_in_the_results_that_the_repository_shows(path: Path) -> None:
    metrics = read_json(path)
    if metrics["source"] == "imported":
        pytest.skip("imported data are labelled by their owner, or ranked")
    ends = np.array([[anchor["random"], anchor["expert"]] for anchor in metrics["anchors"].values()])
    medium = np.array([np.mean(metrics["returns"]["medium"][index]) for index in metrics["anchors"]])
    low, high = ends.T
    assert (high > low).all()
    assert 0.35 <= (medium - low).sum() / (high - low).sum() <= 0.65, "of the gap, averaged over returns"
    assert 0.35 <= ((medium - low) / (high - low)).mean() <= 0.65, "of the gap, averaged over tasks"


def test_every_generated_dataset_of_the_results_is_looked_at() -> None:
    template = Path(paths.DATASET_METRICS.format(preset="quick", family="point_robot"))
    assert ROOT / template in COMMITTED


def trained(speeds: list[float]) -> Trained:
    """Checkpoints that walk straight to the goal, which they see, at a share of the full speed."""
    layers = []
    for speed in speeds:
        # Two layers: relu(+-d) and relu(+-d - slack) of each coordinate's distance d give a clipped d.
        first, bias = torch.zeros(4, 8), torch.zeros(1, 8)
        for axis in range(2):
            for side, sign in enumerate((1.0, -1.0)):
                for slack in range(2):
                    unit = 4 * axis + 2 * side + slack
                    first[axis, unit], first[2 + axis, unit] = -sign, sign
                    bias[0, unit] = -0.1 * slack
        second, last = torch.zeros(8, 4), torch.full((1, 4), -9.0)
        last[0, :2] = 0.0
        for axis in range(2):
            for side, sign in enumerate((1.0, -1.0)):
                for slack in range(2):
                    second[4 * axis + 2 * side + slack, axis] = sign * (-1.0) ** slack * 10.0 * np.arctanh(speed)
        layers.append((first, bias, second, last))
    stacked = [torch.stack(parts) for parts in zip(*layers, strict=True)]
    count = len(speeds)
    policies = Policies(
        [(stacked[0], stacked[1]), (stacked[2], stacked[3])], torch.zeros(count, 1, 4), torch.ones(count, 1, 4)
    )
    indices = [task.index for task in TASKS]
    shard = Trained(
        "point_robot", {"symmetries": False}, indices, True, list(range(count)), np.zeros((count, len(TASKS))), policies
    )
    measured = Collector(POINT, TASKS, [shard], 1, 0, 1)
    for number in range(count):
        measured.deterministic[:] = np.arange(count) == number
        found = measured.expert()
        shard.returns[number] = [found.mean_return(index) for index in indices]
    return shard


def shares_of(collector: Collector) -> tuple[Collected, dict[int, float]]:
    """The medium episodes, and where between random and expert each task's lie."""
    random, expert = collector.random(), collector.expert()
    medium = collector.medium(random, expert)
    low, high = ({task.index: found.mean_return(task.index) for task in TASKS} for found in (random, expert))
    return medium, {i: (medium.mean_return(i) - low[i]) / (high[i] - low[i]) for i in low}


def test_a_checkpoint_that_is_half_as_good_is_taken_as_it_is() -> None:
    collector = Collector(POINT, TASKS, [trained([0.02, *np.linspace(0.1, 0.4, 7).tolist(), 0.999])], EPISODES, 0, 1)
    medium, shares = shares_of(collector)
    assert all(abs(share - 0.5) <= BAND for share in shares.values())
    assert all(1 <= policy["checkpoint"] <= 7 for policy in medium.policies.values())
    assert not any("uniform" in policy for policy in medium.policies.values())


def test_where_training_leapt_over_half_way_the_expert_is_disturbed() -> None:
    collector = Collector(POINT, TASKS, [trained([0.95, 0.97, 0.999])], EPISODES, 0, 1)
    medium, shares = shares_of(collector)
    assert abs(np.mean(list(shares.values())) - 0.5) <= BAND, shares
    assert all(0.25 <= share <= 0.75 for share in shares.values()), shares
    for policy in medium.policies.values():
        assert policy["uniform"] in SHARES
        assert policy["actions"] == "mean disturbed by uniform ones"
    assert {len(episodes) for episodes in medium.episodes.values()} == {EPISODES}
    again, _ = shares_of(collector)
    for index, episodes in medium.episodes.items():
        np.testing.assert_array_equal(again.episodes[index].actions, episodes.actions)


def test_only_the_tasks_that_are_asked_for_are_played_again() -> None:
    collector = Collector(POINT, TASKS, [trained([0.33, 0.999])], EPISODES, 0, 1)
    found = collector._disturbed_expert({task.index: -8.0 for task in TASKS}, [2])
    assert list(found.episodes) == list(found.policies) == [2]
    assert collector.random().mean_return(2) < found.mean_return(2) < collector.expert().mean_return(2)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_actions_are_uniform_at_the_share_of_steps(share: float) -> None:
    meant = np.full((4000, 2), 5.0, np.float32)
    control = disturbed(lambda observations: meant, np.full(4000, share), 2, np.random.default_rng(0))
    acted = control(np.zeros((4000, 3)))
    slipped = (acted != 5.0).all(axis=1)
    assert ((acted != 5.0).any(axis=1) == slipped).all()
    assert slipped.mean() == pytest.approx(share, abs=0.03)
    assert np.abs(acted[slipped]).max(initial=0.0) <= 1.0
