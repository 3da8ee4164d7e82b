"""Which of many episodes are kept as mixed ones, and what is played next."""

from __future__ import annotations

import numpy as np
import pytest

from metadiffuser.behaviour.mixing import Choice, Mixture, first_choices, targets
from metadiffuser.data.episodes import Episodes


def episodes_of(returns: list[float]) -> Episodes:
    """Episodes of one step, which can be told apart by their reward."""
    rewards = np.array(returns, np.float32)[:, None]
    return Episodes(np.repeat(rewards[..., None], 2, axis=1), rewards[..., None] / np.float32(1000), rewards)


def test_targets_are_evenly_spaced_between_the_anchors() -> None:
    np.testing.assert_allclose(targets(-100.0, 0.0, 4), [-87.5, -62.5, -37.5, -12.5])


def test_the_nearest_episodes_are_kept_and_none_twice() -> None:
    mixture = Mixture(np.array([10.0, 20.0, 30.0]), 5)
    first = [Choice(number) for number in range(4)]
    mixture.add(first, episodes_of([29.0, 31.0, 30.0, 5.0]))
    assert mixture.episodes is not None
    assert mixture.episodes.returns.tolist() == [5.0, 29.0, 30.0]
    assert [choice.checkpoint for choice in mixture.choices] == [3, 0, 2]
    mixture.add([Choice(4, uniform=0.5), Choice(1)], episodes_of([18.0, 100.0]))
    assert mixture.episodes.returns.tolist() == [5.0, 18.0, 30.0]
    assert mixture.choices[1] == Choice(4, uniform=0.5)
    np.testing.assert_allclose(mixture.episodes.actions[:, 0, 0], [0.005, 0.018, 0.03])
    with pytest.raises(ValueError, match="expected 3 episodes"):
        Mixture(np.zeros(3), 5).add(first[:2], episodes_of([1.0, 2.0]))


def test_policies_like_those_that_came_near_are_played_for_what_is_missing() -> None:
    mixture = Mixture(targets(0.0, 100.0, 4), 10)
    mixture.add([Choice(2), Choice(3), Choice(8), Choice(9)], episodes_of([12.5, 37.0, 88.0, 87.5]))
    assert mixture.missing().tolist() == [2], "12.5, 37 and 88 serve their targets, 87.5 does not serve 62.5"
    drawn = [mixture.proposals(np.random.default_rng(seed)) for seed in range(40)]
    assert {len(several) for several in drawn} == {1}
    assert {several[0].checkpoint for several in drawn} == {2, 3, 4, 8, 9}, "those of 37 and 87.5 and their neighbours"
    assert all(several[0].sampled and 0.0 <= several[0].uniform <= 1.0 for several in drawn)
    mixture.add([Choice(5)], episodes_of([62.0]))
    assert mixture.proposals(np.random.default_rng(0)) == []


def test_all_checkpoints_begin_and_every_other_time_some_actions_are_uniform() -> None:
    choices = first_choices(5, 10)
    assert [choice.checkpoint for choice in choices] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert all(choice.uniform == 0.0 for choice in choices[::2])
    assert len({choice.uniform for choice in choices[1::2]}) == 5
    assert all(0.0 < choice.uniform < 1.0 for choice in choices[1::2])


def test_episodes_keep_their_policies_when_they_are_shuffled() -> None:
    mixture = Mixture(np.arange(20.0), 20)
    mixture.add([Choice(number) for number in range(20)], episodes_of(list(range(20))))
    episodes, choices = mixture.shuffled(np.random.default_rng(0))
    assert episodes.returns.tolist() == [choice.checkpoint for choice in choices]
    assert episodes.returns.tolist() != sorted(episodes.returns.tolist())
