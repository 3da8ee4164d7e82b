"""The example package: its family and method are found by their entry points and work like those of the project."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from metadiffuser.baselines import get_method
from metadiffuser.baselines.shared.interface import Sizes, Training
from metadiffuser.config import plugins
from metadiffuser.config.loading import load
from metadiffuser.config.params import method_parameters
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.episodes import Episodes
from metadiffuser.envs import Family, get_family, register, total_reward
from metadiffuser.envs.shared.tasks import default_tasks, draw_tasks
from metadiffuser.errors import InputError
from metadiffuser.importing.replay import replay
from tests.conftest import ROOT
from tests.helpers.models import CONTEXT

EXAMPLE = ROOT / "examples" / "pendulum"
BROKEN = {
    "broken": "import nothing_of_this_name\n",
    "empty": "",
    "renamed": "from metadiffuser_pendulum.pendulum import *\n",
}


def entry_points() -> str:
    """What pip writes of the example's entry points, and of three families that are wrong."""
    declared = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    declared["metadiffuser.families"] |= {name: f"wrong_{name}" for name in BROKEN}
    groups = [f"[{group}]\n" + "".join(f"{n} = {m}\n" for n, m in names.items()) for group, names in declared.items()]
    return "\n".join(groups)


def write_distribution(folder: Path) -> None:
    """Make ``folder`` look as if the example had been installed into it."""
    shutil.copytree(EXAMPLE / "src" / "metadiffuser_pendulum", folder / "metadiffuser_pendulum")
    for name, source in BROKEN.items():
        (folder / f"wrong_{name}.py").write_text(source)
    information = folder / "metadiffuser_pendulum-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: metadiffuser-pendulum\nVersion: 0.1.0\n")
    (information / "entry_points.txt").write_text(entry_points())


@pytest.fixture(autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the example on the path of this process as an installed package."""
    folder = tmp_path_factory.mktemp("site")
    write_distribution(folder)
    monkeypatch.syspath_prepend(folder)
    before = dict(gym.registry)
    plugins._entry_points.cache_clear()
    register()
    yield folder
    plugins._entry_points.cache_clear()
    default_tasks.cache_clear()
    for added in gym.registry.keys() - before.keys():
        del gym.registry[added]
    for module in [
        name for name in sys.modules if name.partition(".")[0] in ("metadiffuser_pendulum", "wrong_renamed")
    ]:
        del sys.modules[module]


@pytest.fixture
def family() -> Family:
    return get_family("pendulum")


def test_names_are_known_and_nothing_is_imported(installed: Path) -> None:
    code = (
        "import sys, gymnasium, metadiffuser.envs\n"
        "from metadiffuser.config import plugins\n"
        "print('pendulum' in plugins.names('family'), 'nearest' in plugins.names('method'))\n"
        "print('metadiffuser/Pendulum-v0' in gymnasium.registry)\n"
        "kinds = ('metadiffuser_pendulum', 'metadiffuser.envs.', 'metadiffuser.baselines.', 'wrong_')\n"
        "found = [name for name in sys.modules if name.startswith(kinds)]\n"
        "print([name for name in found if not name.startswith('metadiffuser.envs.shared')])\n"
        "print(gymnasium.spec('metadiffuser/Pendulum-v0').max_episode_steps)\n"
    )
    path = f"{installed}:{ROOT / 'src'}"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["True True", "True", "[]", "100"], done.stderr


@pytest.mark.filterwarnings("ignore:.*A Box observation space (minimum|maximum) value is -?infinity.*")
def test_gymnasium_finds_nothing_wrong_and_the_last_tasks_are_unseen() -> None:
    env: Any = gym.make("metadiffuser/Pendulum-v0", task=3)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.spec.max_episode_steps == 100
    assert env.task.split == "train"
    env.task = len(default_tasks("pendulum")) - 1
    assert env.task.split == "test"
    env.close()
    vector = gym.make_vec("metadiffuser/Pendulum-v0", num_envs=2, task=1)
    assert vector.reset(seed=0)[0].shape == (2, 3)
    vector.close()


def test_a_batch_steps_as_gymnasiums_own_pendulum_does(family: Family) -> None:
    tasks = draw_tasks(family, 3, 0, np.random.default_rng(0))
    simulator = family.simulator(tasks, 1)
    seeds = np.random.default_rng(7).integers(2**31 - 1, size=3)
    observations = simulator.reset(np.random.default_rng(7))
    actions = np.random.default_rng(1).uniform(-1.3, 1.3, (12, 3, 1))
    pendulums: list[Any] = [gym.make("Pendulum-v1", g=task.parameters["gravity"][0]).unwrapped for task in tasks]
    for row, (pendulum, task) in enumerate(zip(pendulums, tasks, strict=True)):
        first, _ = pendulum.reset(seed=int(seeds[row]), options={"x_init": task.parameters["start"][0], "y_init": 1.0})
        assert np.array_equal(first, observations[row])
    for action in actions:
        observations, terms = simulator.step(action)
        for row, pendulum in enumerate(pendulums):
            expected, reward, *_ = pendulum.step((2.0 * np.clip(action[row], -1, 1)).astype(np.float32))
            assert np.array_equal(observations[row], expected)
            assert total_reward(terms)[row] == pytest.approx(reward, rel=1e-12)
    assert np.array_equal(family.world_points(simulator.positions), family.integrate(observations, np.zeros((3, 3))))


def test_equal_generators_give_equal_episodes_and_tasks_differ(family: Family) -> None:
    tasks = draw_tasks(family, 2, 0, np.random.default_rng(0))
    runs = []
    for _ in range(2):
        simulator = family.simulator(tasks, 1)
        seen = [simulator.reset(np.random.default_rng(2))]
        seen += [simulator.step(np.full((2, 1), 0.3))[0] for _ in range(5)]
        runs.append(np.stack(seen))
    assert np.array_equal(runs[0], runs[1])
    assert sorted(tasks[0].parameters) == ["gravity", "start"]
    same = family.simulator([tasks[0], tasks[0], tasks[1]], 1)
    assert same.restore(np.tile(runs[0][0, :1], (3, 1))).all()
    reached, _ = same.step(np.zeros((3, 1)))
    assert np.array_equal(reached[0], reached[1])
    assert not np.allclose(reached[0], reached[2])


def test_stored_steps_are_replayed_from_their_observations(family: Family) -> None:
    (task,) = draw_tasks(family, 1, 0, np.random.default_rng(0))
    simulator = family.simulator([task], 1)
    states, actions, rewards = [simulator.reset(np.random.default_rng(0))[0]], [], []
    for action in np.random.default_rng(1).uniform(-1, 1, (20, 1)):
        observation, terms = simulator.step(action[None])
        states.append(observation[0])
        actions.append(action)
        rewards.append(total_reward(terms)[0])
    again = replay(family, task, np.stack(states[:-1]), np.stack(actions), 1)
    assert again.restored.all()
    assert np.allclose(again.successors, states[1:], atol=1e-5)
    assert np.allclose(again.rewards, rewards, atol=1e-4)


def test_the_method_learns_the_actions_of_the_data(tmp_path: Path) -> None:
    method = get_method("nearest")
    config = method_parameters("nearest").model_validate(
        {"memory": 256, "steps": 120, "batch_size": 64, "learning_rate": 0.05}
    )
    generator = torch.Generator().manual_seed(0)
    context = ContextModel(3, 1, CONTEXT, (), "generalised", 2)
    draw = np.random.default_rng(0)

    def episodes() -> Episodes:
        observations = draw.normal(size=(6, 21, 3)).astype(np.float32)
        actions = np.tanh(2.0 * observations[:, :-1, :1])
        return Episodes(observations, actions, draw.normal(size=(6, 20)).astype(np.float32))

    data: dict[str, dict[int, Episodes]] = {
        quality: {0: episodes(), 1: episodes()} for quality in dict.fromkeys([*config.qualities, *CONTEXT.qualities])
    }
    training = Training(data, [0, 1], context, generator, tmp_path / "state.safetensors")
    model = method.Model(Sizes(3, 1, context.latent_size, 20), config)
    trained, records = method.train(model, training)
    assert records[-1]["validation"] < 0.5 * records[0]["validation"]
    trained.save(tmp_path / "model.safetensors", {})
    loaded, _ = method.Model.load(tmp_path / "model.safetensors")
    states, latents = torch.randn(5, 3, generator=generator), torch.zeros(5, context.latent_size)
    assert torch.equal(loaded(states, latents), trained(states, latents))
    assert (loaded(states, latents).abs() <= 1.0).all()


def test_the_preset_loads_and_is_the_examples_own() -> None:
    params = load(EXAMPLE / "pendulum.yaml")
    assert (params.families, params.baselines) == (["pendulum"], ["bc", "nearest"])
    assert params.section("tasks", "pendulum").test >= 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", r"family 'broken': the plug-in module wrong_broken .*fails to import: ModuleNotFoundError"),
        ("empty", r"family 'empty': expected FAMILY = Family\(...\) in its module wrong_empty, found NoneType"),
        ("renamed", r"family 'renamed': its module wrong_renamed calls the family 'pendulum'; expected the same name"),
    ],
)
def test_a_broken_plug_in_is_named_when_it_is_used_and_breaks_no_other(name: str, said: str) -> None:
    for use in (lambda: get_family(name), lambda: gym.make(f"metadiffuser/{name.title()}-v0")):
        with pytest.raises(InputError, match=said) as refused:
            use()
        assert "\n" not in str(refused.value)
    gym.make("metadiffuser/Pendulum-v0").close()
    gym.make("metadiffuser/PointRobot-v0").close()
