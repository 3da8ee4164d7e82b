"""The episodes of an evaluation: what methods and training seeds share, and what they do not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from metadiffuser.config.schema import Evaluation
from metadiffuser.data.episodes import Episodes
from metadiffuser.envs import Task, get_family
from metadiffuser.envs.shared.tasks import draw_tasks
from metadiffuser.evaluation import setup as setups
from metadiffuser.evaluation.setup import EpisodeSetup, episode_setups
from tests.helpers.models import CONTEXT

FAMILY = get_family("cheetah_vel")  # initial states are drawn
TASKS = draw_tasks(FAMILY, 3, 2, np.random.default_rng(0))
SECTION = Evaluation(
    threads=1,
    episodes=2,
    contexts=["expert", "medium"],
    guides=["dual"],
    samplers=[],
    study_tasks=2,
    study_episodes=1,
)


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three episodes of noise a task and quality in place of stored datasets."""

    def read(_: Path, tasks: Sequence[Task], qualities: Sequence[str]) -> dict[str, dict[int, Episodes]]:
        def noise(quality: str, task: Task, *shape: int) -> np.ndarray:
            return np.random.default_rng([len(quality), task.index]).normal(size=shape).astype(np.float32)

        return {
            quality: {
                task.index: Episodes(
                    noise(quality, task, 3, 13, FAMILY.observation_size),
                    noise(quality, task, 3, 12, FAMILY.action_size),
                    noise(quality, task, 3, 12),
                    task.vector.astype(np.float32),
                )
                for task in tasks
            }
            for quality in qualities
        }

    monkeypatch.setattr(setups, "read_family", read)


def make(seed: str = "0", representation: str = "generalised", root: int = 0) -> tuple[EpisodeSetup, EpisodeSetup]:
    return episode_setups(FAMILY, TASKS, Path("data"), SECTION, root, representation, seed)


def drawn(setup: EpisodeSetup, context: str = "expert") -> torch.Tensor:
    return setup.warm_start(context, CONTEXT).contexts(6)[0]


def noise(setup: EpisodeSetup) -> list[float]:
    return torch.randn(8, generator=setup.generator("noise")).tolist()


def test_training_seeds_and_representations_share_initial_states_and_nothing_else() -> None:
    for part in range(2):
        own, again = make()[part], make()[part]
        assert torch.equal(drawn(own), drawn(again))
        assert noise(own) == noise(again)
        for other in (make(seed="1")[part], make(representation="corro")[part]):
            assert np.array_equal(own.envs(1).reset(), other.envs(1).reset())
            assert not torch.equal(drawn(own), drawn(other)), "the same contexts"
            assert noise(own) != noise(other)
        assert not np.array_equal(own.envs(1).reset(), make(root=1)[part].envs(1).reset())


def test_unseen_and_studied_tasks_are_those_of_their_split() -> None:
    unseen, studied = make()
    assert [task.index for task in unseen.tasks] == [3, 4]
    assert [task.index for task in studied.tasks] == [0, 1]
    assert (unseen.size, studied.size) == (4, 2)
    assert unseen.positions == [0, 0, 1, 1]
    assert set(unseen.data) == {"expert", "medium", "random"}
    assert set(studied.data) == {"expert"}
    assert noise(unseen) != noise(studied)


def test_episodes_of_a_task_differ_and_every_cell_starts_alike() -> None:
    unseen, _ = make()
    blocks = np.split(unseen.envs(3).reset(), 3)
    assert all(np.array_equal(block, blocks[0]) for block in blocks)
    assert len({tuple(row) for row in blocks[0].tolist()}) == 4
    assert not torch.equal(drawn(unseen), drawn(unseen, "medium"))


def test_returns_are_sorted_by_task() -> None:
    unseen, _ = make()
    assert unseen.returns_by_task([1.0, 2.0, 3.000004, 4.0]) == {"3": [1.0, 2.0], "4": [3.0, 4.0]}
