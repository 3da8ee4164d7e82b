"""What every baseline owes: one file, one seed one result, a batch that plays as its rows would alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from metadiffuser.baselines import get_method
from metadiffuser.baselines.shared.interface import BaselineModel, MethodInfo, Sizes, Training
from metadiffuser.baselines.shared.latents import LatentAgent
from metadiffuser.config import plugins
from metadiffuser.config.loading import load
from metadiffuser.config.schema import Window
from metadiffuser.context.training import draw_latents
from metadiffuser.data.agent import Agent
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData, draw_contexts
from metadiffuser.errors import InputError
from metadiffuser.evaluation.warm_start import draw_warm_start
from metadiffuser.progress import Progress
from tests.conftest import ROOT
from tests.helpers.models import CONTEXT, A, S, Z, make_context, make_data

METHODS = plugins.names("method")
SECTIONS: dict[str, Any] = dict(load(ROOT / "presets" / "smoke.yaml").baseline)
T = 12
SIZES = Sizes(S, A, Z, T)
HEADINGS = ["Config", "Networks", "Loss", "Train", "Adapt", "Act"]
FOLDER = ROOT / "src" / "metadiffuser" / "baselines"


def build(method: str) -> BaselineModel:
    """A model of the smoke preset's size, initialised from one seed, with the shared normaliser."""
    torch.manual_seed(0)
    model = get_method(method).Model(SIZES, SECTIONS[method])
    model.normaliser.load_state_dict(make_context().normaliser.state_dict())
    return model


def prepare(folder: Path) -> Training:
    """Data of every quality, with a seeded generator."""
    names = ("expert", "medium", "random", "mixed")
    episodes = {name: by_task(make_data(seed=seed)) for seed, name in enumerate(names)}
    generator = torch.Generator().manual_seed(0)
    return Training(episodes, list(range(4)), make_context(), generator, folder / "training.safetensors")


def by_task(data: TaskData) -> dict[int, Episodes]:
    parts = [part.numpy() for part in (data.observations, data.actions, data.rewards)]
    return {task: Episodes(*(part[task] for part in parts)) for task in range(4)}


def trained(method: str, folder: Path) -> BaselineModel:
    return get_method(method).train(build(method), prepare(folder))[0]


def draw(
    context: str = "expert", positions: tuple[int, ...] = (0, 2, 1, 3, 2), window: Window = "scattered"
) -> WarmStart:
    episodes = {"expert": make_data(seed=0), "medium": make_data(seed=1)}
    drawn_as = CONTEXT.model_copy(update={"window": window})
    return draw_warm_start(context, episodes, positions, drawn_as, torch.Generator().manual_seed(3))


def rollout(agent: Agent, size: int, rows: slice = slice(None), steps: int = 5, travelled: float = 0.0) -> np.ndarray:
    """Actions (B, steps, A) in states and rewards that are made up, row by row; entry 1 begins at ``travelled``."""
    generator = np.random.default_rng(7)
    states = 0.3 * generator.standard_normal((steps + 1, size, S)).astype(np.float32)
    states[..., 1] += np.float32(travelled)
    rewards = generator.standard_normal((steps, size)).astype(np.float32)
    played = []
    for step in range(steps):
        actions = agent.act(states[step, rows])
        agent.observe(states[step, rows], actions, rewards[step, rows], states[step + 1, rows])
        played.append(actions)
    return np.stack(played, axis=1)


def adapt(model: BaselineModel, method: str, warm_start: WarmStart) -> Agent:
    return get_method(method).adapt(model, warm_start, make_context(), torch.Generator().manual_seed(5))


def mixed_warm_starts() -> WarmStart:
    """Expert, medium and zero-shot rows in one batch."""
    return WarmStart.join([draw("expert"), draw("medium"), draw("zero_shot")])


def test_methods_and_files_are_the_same() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert set(METHODS) == files == set(SECTIONS)
    with pytest.raises(InputError, match="unknown method 'focall'; did you mean 'focal'"):
        get_method("focall")


def test_titles_and_colours_tell_methods_apart() -> None:
    found = [get_method(method).METHOD for method in METHODS]
    assert len({info.title for info in found}) == len({info.colour.lower() for info in found}) == len(found)
    with pytest.raises(ValueError, match="expected a title and a colour"):
        MethodInfo(title="Mine", colour="red")


@pytest.mark.parametrize("method", METHODS)
def test_a_method_has_its_six_headings_in_order_and_a_page(method: str) -> None:
    text = (FOLDER / f"{method}.py").read_text(encoding="utf-8")
    assert re.findall(r"^# ---- (\w+) ----$", text, re.M) == HEADINGS
    assert get_method(method).Model.Config is get_method(method).Parameters is type(SECTIONS[method])
    assert (ROOT / "docs" / "methods" / f"{method}.md").is_file()


@pytest.mark.parametrize("method", METHODS)
def test_training_is_a_function_of_its_seed_and_goes_on_where_it_was_killed(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, records = get_method(method).train(build(method), prepare(tmp_path / "whole"))
    expected, before = model.state_dict(), build(method).state_dict()
    assert records[-1]["step"] == SECTIONS[method].steps
    assert all(np.isfinite(list(record.values())).all() for record in records)
    assert any(not torch.equal(before[key], value) for key, value in expected.items())

    monkeypatch.setattr("metadiffuser.checkpointing.INTERVAL", 0.0)
    advance, left = Progress.advance, [round(0.7 * len(records))]

    def interrupted(self: Progress, **shown: float) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        advance(self, **shown)

    monkeypatch.setattr(Progress, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        get_method(method).train(build(method), prepare(tmp_path / "killed"))
    assert list((tmp_path / "killed").iterdir()), "nothing to go on from"
    resumed, again = get_method(method).train(build(method), prepare(tmp_path / "killed"))
    assert again == records
    assert all(torch.equal(resumed.state_dict()[key], value) for key, value in expected.items())


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_plays_as_its_rows_would_alone(method: str, tmp_path: Path) -> None:
    model, warm_start = trained(method, tmp_path).eval(), mixed_warm_starts()
    size = len(warm_start)
    together = rollout(adapt(model, method, warm_start), size)
    assert together.shape == (size, 5, A)
    assert together.dtype == np.float32
    assert np.abs(together).max() <= 1.0
    assert np.abs(together - together[:1]).max() > 0, "actions depend on the row"
    for row in (1, 7, size - 1):
        one = slice(row, row + 1)
        alone = WarmStart(*(tensor[one] for tensor in vars(warm_start).values()))
        assert rollout(adapt(model, method, alone), size, one) == pytest.approx(together[one], abs=2e-5)


@pytest.mark.parametrize("method", METHODS)
def test_play_is_a_function_of_its_seed_and_survives_a_round_trip(method: str, tmp_path: Path) -> None:
    model, warm_start = trained(method, tmp_path).eval(), mixed_warm_starts()
    first = rollout(adapt(model, method, warm_start), len(warm_start))
    model.save(tmp_path / "model.safetensors", {"family": "test"})
    loaded, header = get_method(method).Model.load(tmp_path / "model.safetensors")
    assert header["family"] == "test"
    assert np.array_equal(rollout(adapt(loaded, method, warm_start), len(warm_start)), first)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_the_warm_start_changes_what_is_done(method: str, tmp_path: Path) -> None:
    model = trained(method, tmp_path).eval()
    one, other = (rollout(adapt(model, method, draw(positions=(task,) * 3)), 3) for task in (0, 3))
    assert np.abs(one - other).max() > 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_how_far_a_robot_has_travelled_changes_no_action(method: str) -> None:
    def played(travelled: float, unbounded: bool) -> np.ndarray:
        model, context = build(method), make_context()
        for normaliser in (model.normaliser, context.normaliser):
            normaliser.local_mask[1] = float(not unbounded)
        model.eval().requires_grad_(False)
        generator = torch.Generator().manual_seed(5)
        agent = get_method(method).adapt(model, mixed_warm_starts(), context, generator)
        return rollout(agent, len(mixed_warm_starts()), travelled=travelled)

    near, far = (played(travelled, unbounded=True) for travelled in (0.0, 4.0))
    np.testing.assert_allclose(far, near, rtol=0, atol=1e-4)
    near, far = (played(travelled, unbounded=False) for travelled in (0.0, 4.0))
    assert np.abs(far - near).max() > 1e-3, "of any other entry of the state it matters"


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    make_context().save(tmp_path / "context.safetensors", {})
    with pytest.raises(InputError, match=r"not a bc checkpoint .*; run train_baseline again"):
        get_method("bc").Model.load(tmp_path / "context.safetensors")


@pytest.mark.parametrize("window", get_args(Window))
def test_every_method_is_told_what_the_planner_is_draw(window: Window) -> None:
    positions = torch.tensor([0, 2, 1, 3, 2])
    warm_start = draw(window=window)
    contexts, mask = warm_start.contexts(6)
    generator = torch.Generator().manual_seed(3)
    planner, planner_mask = draw_contexts(make_data(seed=0), positions, 6, generator, full=True, window=window)
    assert torch.equal(contexts, planner)
    assert torch.equal(mask, planner_mask)
    assert torch.equal(warm_start.order.sort(dim=1).values, torch.arange(T).expand(5, T))


def test_a_warm_start_is_of_the_task_or_of_the_next_if_it_is_to_be_wrong() -> None:
    wrong = draw("wrong_task", (3,))
    task_of = wrong.transitions[0, :, S + A] - wrong.transitions[0, :, S + A + 1]
    assert torch.allclose(task_of, torch.zeros(T), atol=1e-5), "task 3 is given data of task 0"
    assert torch.equal(draw().transitions[:, :-1, S + A + 1 :], draw().transitions[:, 1:, :S]), "in the order of time"


@pytest.mark.parametrize(
    ("window", "expected"), [("scattered", [0, 1, 2, 4, 5, 6]), ("consecutive", [1, 2, 3, 4, 5, 6])]
)
def test_zero_shot_has_nothing_at_first_and_then_what_it_gathers(window: Window, expected: list[int]) -> None:
    context, nothing = make_context(), draw("zero_shot", (0, 1))
    assert not nothing.contexts(6)[1].any()
    seen: list[torch.Tensor] = []

    def policy(states: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        seen.append(latents.clone())
        return states[:, :A].tanh()

    agent = LatentAgent(policy, context.encode, nothing, CONTEXT.model_copy(update={"window": window}))
    actions = rollout(agent, 2, steps=8)
    assert torch.equal(seen[0], torch.zeros(2, Z))
    assert not torch.equal(seen[1], seen[0])
    generator = np.random.default_rng(7)
    states = 0.3 * generator.standard_normal((9, 2, S)).astype(np.float32)
    rewards = generator.standard_normal((8, 2)).astype(np.float32)
    rows = [np.concatenate([states[t], actions[:, t], rewards[t][:, None], states[t + 1]], axis=1) for t in range(7)]
    contexts = torch.from_numpy(np.stack([rows[index] for index in expected], axis=1))
    assert torch.allclose(seen[7], context.encode(contexts, torch.ones(2, 6, dtype=torch.bool)), atol=1e-6)
    assert CONTEXT.context_length == 6


def test_latents_are_drawn_from_the_rows_own_task() -> None:
    latents = torch.arange(3.0)[:, None, None].expand(3, 5, 2)
    tasks = torch.tensor([2, 0, 1, 2])
    drawn = draw_latents(latents, tasks, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, tasks[:, None].float().expand(4, 2))


def test_pooling_joins_episodes_task_by_task(tmp_path: Path) -> None:
    training = prepare(tmp_path)
    pooled = training.pool(["medium", "expert"])
    assert isinstance(pooled, TaskData)
    assert pooled.rewards.shape == (4, 10, T)
    assert torch.equal(pooled.actions[:, :5], make_data(seed=1).actions)
    assert torch.equal(pooled.transitions[:, 5:], make_data(seed=0).transitions)
