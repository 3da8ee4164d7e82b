"""Episodes, contexts, segments and normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metadiffuser.data.episodes import Episodes, transition_rows
from metadiffuser.data.normaliser import Normaliser
from metadiffuser.data.windows import TaskData, draw_contexts, draw_segments, draw_transitions
from metadiffuser.errors import InputError
from tests.helpers.models import A, S, make_data


def test_one_context_layout_is_s_a_r_s() -> None:
    rows = transition_rows(np.array([[1.0, 2]]), np.array([[3.0]]), np.array([4.0]), np.array([[5.0, 6]]))
    assert rows.tolist() == [[1, 2, 3, 4, 5, 6]]


def test_training_contexts_use_the_same_layout_as_gathered_ones() -> None:
    data = make_data(tasks=1, episodes=1)
    states, actions, rewards = data.observations[0, 0], data.actions[0, 0], data.rewards[0, 0]
    rows = transition_rows(states[:-1].numpy(), actions.numpy(), rewards.numpy(), states[1:].numpy())
    assert torch.equal(data.transitions[0, 0], torch.from_numpy(rows))


def test_episodes_refuse_shapes_that_disagree() -> None:
    with pytest.raises(ValueError, match="expected observations"):
        Episodes(np.zeros((2, 5, 3), np.float32), np.zeros((2, 5, 1), np.float32), np.zeros((2, 5), np.float32))


def numbered(task: int, episodes: int, first: int, steps: int = 3) -> Episodes:
    """Episodes whose every entry tells its task, episode and step."""
    tags = 100.0 * task + 10.0 * (first + np.arange(episodes))[:, None, None] + np.arange(steps + 1)[None, :, None]
    observations = np.concatenate([tags, -tags], axis=-1).astype(np.float32)
    return Episodes(observations, observations[:, :-1, :1] + 0.25, observations[:, :-1, 0] + 0.5)


def test_stacking_puts_every_episode_in_its_task() -> None:
    episodes = {
        "expert": {task: numbered(task, 2, 0) for task in range(4)},
        "random": {task: numbered(task, 3, 2) for task in range(4)},
    }
    data = TaskData.stack(episodes, [3, 1])
    assert repr(data) == "TaskData(N=2, E=5, T=3)"
    for row, task in enumerate([3, 1]):
        for number in range(5):
            tags = 100.0 * task + 10.0 * number + torch.arange(4)
            assert torch.equal(data.observations[row, number, :, 0], tags)
            assert torch.equal(data.transitions[row, number, :, 4], tags[1:])  # after s (2), a (1) and r
    assert torch.equal(data.actions[..., 0] + 0.25, data.rewards)
    assert all(part.is_contiguous() for part in (data.observations, data.actions, data.rewards, data.transitions))


def test_tasks_of_unequal_numbers_of_episodes_are_refused() -> None:
    uneven = {"expert": {0: numbered(0, 2, 0), 1: numbered(1, 4, 0), 2: numbered(2, 3, 0)}}
    with pytest.raises(InputError, match="2 to 4 episodes"):
        TaskData.stack(uneven, [0, 1, 2])  # nine episodes would divide among three tasks


def test_contexts_come_from_one_episode_of_the_right_task_without_repetition() -> None:
    data = make_data()
    tasks = torch.tensor([0, 1, 2, 3] * 20)
    contexts, mask = draw_contexts(data, tasks, 6, torch.Generator().manual_seed(0))
    assert set(mask.sum(dim=1).tolist()) == set(range(1, 7))
    for row, task in zip(contexts, tasks, strict=True):
        matches = (data.transitions[task][:, :, None] == row).all(-1)  # (E, T, K)
        assert matches.any(dim=1).all(dim=1).any(), "all K transitions lie in one episode of the task"
        assert len(torch.unique(row, dim=0)) == len(row)


def test_contexts_of_a_short_episode_take_all_of_it() -> None:
    contexts, mask = draw_contexts(make_data(steps=4), torch.tensor([0]), 10, torch.Generator(), full=True)
    assert contexts.shape[1] == 4
    assert bool(mask.all())


def test_transitions_come_from_the_right_task() -> None:
    data = make_data()
    drawn = draw_transitions(data, torch.tensor([2, 0]), 50, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn[0, :, S + A + 1] - drawn[0, :, S + A], torch.tensor(2.0), atol=1e-5)
    assert torch.allclose(drawn[1, :, S + A + 1] - drawn[1, :, S + A], torch.tensor(0.0), atol=1e-5)


def test_segments_reach_the_last_step_and_mask_what_lies_beyond() -> None:
    rows = torch.arange(3 * 2 * 13.0).view(3, 2, 13, 1)  # 12 steps, each row the number of itself
    tasks, segments, mask = draw_segments(rows, 8, 500, torch.Generator().manual_seed(0))
    lengths = mask.sum(dim=1)
    assert (int(lengths.min()), int(lengths.max())) == (1, 8)
    assert torch.equal(tasks, segments[:, 0, 0].long() // 26)
    assert set(segments[:, 0, 0].long().tolist()) == {row for row in range(78) if row % 13 < 12}, "any step of any task"
    last = segments[:, :1, 0] // 13 * 13 + 12
    assert torch.equal(segments[..., 0], torch.minimum(segments[:, :1, 0] + torch.arange(8), last))
    assert torch.equal(mask, segments[..., 0] < last)


def test_held_out_episodes_are_not_trained_on() -> None:
    data = make_data(episodes=20)
    kept, held = data.split_episodes(0.1)
    assert (kept.rewards.shape[1], held.rewards.shape[1]) == (18, 2)
    assert not (kept.rewards[0][:, None] == held.rewards[0][None]).all(-1).any()


def test_every_tenth_episode_is_held_out_of_pooled_qualities_too() -> None:
    pooled = {"expert": {0: numbered(0, 20, 0)}, "random": {0: numbered(0, 20, 20)}}
    kept, held = TaskData.stack(pooled, [0]).split_episodes()
    assert (held.observations[0, :, 0, 0] / 10).tolist() == [0, 10, 20, 30]
    assert (kept.observations[0, :, 0, 0] / 10).tolist() == [number for number in range(40) if number % 10]


def test_normaliser_standardises_and_inverts() -> None:
    data = make_data()
    normaliser = Normaliser(S).fit(data.observations, data.rewards)
    states = normaliser.state(data.observations)
    assert torch.allclose(states.mean((0, 1, 2)), torch.zeros(S), atol=1e-5)
    assert torch.allclose(states.flatten(0, 2).std(0), torch.ones(S), atol=1e-4)
    assert torch.allclose(normaliser.denormalise_state(states), data.observations, atol=1e-5)
    assert torch.allclose(normaliser.raw_reward(normaliser.reward(data.rewards)), data.rewards, atol=1e-5)
    assert torch.allclose(normaliser.raw_delta(normaliser.delta(data.observations)), data.observations, atol=1e-5)
    rewards = normaliser.reward(data.rewards)
    assert (float(rewards.mean()), float(rewards.std())) == pytest.approx((0.0, 1.0), abs=1e-4)
    changes = normaliser.delta(data.observations.diff(dim=2)).flatten(0, 2)
    assert torch.allclose(changes.mean(0), torch.zeros(S), atol=1e-5), "statistics of changes are of something else"
    assert torch.allclose(changes.std(0), torch.ones(S), atol=1e-4)


def test_normaliser_survives_a_constant_coordinate() -> None:
    data = make_data()
    constant = data.observations.clone()
    constant[..., 1] = 7.0
    assert torch.isfinite(Normaliser(S).fit(constant, data.rewards).state(constant)).all()


def test_travelled_coordinates_count_steps_and_hide_from_models() -> None:
    data = make_data()
    normaliser = Normaliser(S, unbounded_dims=[1]).fit(data.observations, data.rewards)
    step = (data.observations[..., 1:, 1] - data.observations[..., :-1, 1]).square().mean().sqrt()
    assert float(normaliser.state_std[1]) == pytest.approx(10 * float(step), rel=1e-4)
    assert float(normaliser.state_mean[1]) == 0.0
    states = torch.tensor([[1.0, 50.0, 2.0]])
    assert normaliser.origin(states).tolist() == [[0.0, 50.0, 0.0]]
    assert float(normaliser.local(normaliser.state(states))[0, 1]) == 0.0


def test_consecutive_contexts_are_one_stretch_that_may_lie_anywhere() -> None:
    data = make_data(tasks=1, episodes=1)
    contexts, mask = draw_contexts(
        data, torch.zeros(200, dtype=torch.long), 6, torch.Generator().manual_seed(0), window="consecutive"
    )
    assert torch.equal(contexts[:, :-1, S + A + 1 :], contexts[:, 1:, :S]), "each starts where the last one ended"
    starts = (contexts[:, :1] == data.transitions[0, 0]).all(-1).int().argmax(dim=1)
    assert set(starts.tolist()) == set(range(12 - 6 + 1))
    assert set(mask.sum(dim=1).tolist()) == set(range(1, 7))


def test_parameters_stay_with_their_task() -> None:
    data = make_data()
    assert data.parameters.tolist() == [[0.0], [1.0], [2.0], [3.0]]
    assert all(torch.equal(part.parameters, data.parameters) for part in data.split_episodes(0.2))


def test_transitions_are_drawn_from_every_step_of_every_episode_each_by_itself() -> None:
    data = TaskData.stack({"expert": {0: numbered(0, 4, 0)}}, [0])
    drawn = draw_transitions(data, torch.tensor([0]), 3000, torch.Generator().manual_seed(0))[0, :, 0]
    found, times = drawn.unique(return_counts=True)
    assert found.tolist() == [10 * episode + step for episode in range(4) for step in range(3)]
    assert times.tolist() == pytest.approx([3000 / 12] * 12, rel=0.25)
