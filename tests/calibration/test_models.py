"""The learned models as a judge: what a step is paid, and where it is believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metadiffuser.calibration.judge import ROLLOUT, LearnedModels
from metadiffuser.calibration.models import DOUBT, ModelEnvs, Models
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.windows import TaskData
from metadiffuser.evaluation.setup import EpisodeSetup
from tests.evaluation.test_evaluate_stage import make_setup, models, read_family


@pytest.fixture
def judge() -> Models:
    return Models.of(models()[1], make_setup())


def test_an_episode_begins_where_a_held_out_one_did_and_z_is_its_tasks(judge: Models) -> None:
    setup = make_setup()
    assert judge.starts.shape == (setup.size, 2)
    assert judge.latents.shape == (2, judge.model.latent_size)
    assert not torch.equal(judge.latents[0], judge.latents[1])
    again = Models.of(models()[1], make_setup())
    assert torch.equal(again.stored, judge.stored)
    assert again.scale == judge.scale > 0


def test_a_step_pays_the_predicted_reward_less_doubt_and_the_last_one_the_value_too(judge: Models) -> None:
    model, positions = judge.model, make_setup().positions
    envs = ModelEnvs(judge, positions * 2, 2, beyond=True)
    observations = envs.reset()
    assert observations.shape == (8, 2)
    np.testing.assert_allclose(observations, judge.starts.repeat(2, 1), atol=1e-6)
    latents = judge.latents[positions * 2]
    state = model.normaliser.state(torch.from_numpy(observations))
    for last in (False, True):
        actions = np.full((8, 2), 5.0, np.float32)  # clipped to 1
        observations, rewards = envs.step(actions)
        expected = model.predict_rewards(state, torch.ones(8, 2), latents)
        expected = expected - DOUBT * judge.doubt(state, torch.ones(8, 2))
        state = model.predict_states(state, torch.ones(8, 2), latents)
        if last:
            expected = expected + model.predict_values(state, latents)
        np.testing.assert_allclose(rewards, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(observations, model.normaliser.denormalise_state(state), rtol=1e-4, atol=1e-5)


def test_doubt_grows_away_from_the_data_and_is_none_in_their_midst(judge: Models) -> None:
    states, actions = judge.stored.split([2, 2], dim=-1)
    assert judge.doubt(states, actions).tolist() == [0.0] * len(states)
    far = [float(judge.doubt(states[:1] + distance, actions[:1])) for distance in (3.0, 6.0, 12.0)]
    assert 0 < far[0] < far[1] < far[2]


def test_a_long_episode_is_judged_by_its_first_steps(judge: Models) -> None:
    setup = make_setup()
    assert LearnedModels(setup, judge).steps == setup.family.episode_length < ROLLOUT


def test_held_out_episodes_alone_begin_an_episode() -> None:
    found = read_family(Path(), make_setup().tasks, ["expert"])
    data = TaskData.stack(found, [0, 1])
    data.observations[:, 1:, 0] = 77.0  # the first of three is held out
    setup = make_setup()
    moved = EpisodeSetup(*(setup.family, setup.tasks, 2, {"expert": data}, 1, 0, ("evaluate",), ("start",)))
    context: ContextModel = models()[1]
    assert float(Models.of(context, moved).starts.abs().max()) < 1


def test_the_scale_of_doubt_is_what_all_but_one_in_twenty_held_out_pairs_stay_below(judge: Models) -> None:
    held = make_setup().data["expert"].split_episodes()[1]
    pairs = torch.cat([judge.model.normaliser.state(held.observations[:, :, :-1]), held.actions], dim=-1)
    distances = torch.cdist(pairs.flatten(0, 2), judge.stored).amin(dim=1)
    assert float((distances < judge.scale).float().mean()) == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize("length", [2, 3])
def test_a_value_follows_where_an_episode_is_cut_and_none_where_it_ends(
    judge: Models, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr("metadiffuser.calibration.judge.ROLLOUT", 2)
    setup = make_setup()
    setup = replace(setup, family=replace(setup.family, episode_length=length))
    played = LearnedModels(setup, judge).environments(1), ModelEnvs(judge, setup.positions, 2, beyond=False)
    for envs in played:
        envs.reset()
        envs.step(np.zeros((4, 2), np.float32))
    (_, last), (_, alone) = (envs.step(np.zeros((4, 2), np.float32)) for envs in played)
    assert np.array_equal(last, alone) == (length == 2)
