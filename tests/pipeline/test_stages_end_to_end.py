"""Every stage in one process, from the first task to the report: a few steps of every method on Point-Robot."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metadiffuser import paths
from metadiffuser.artifacts import read_json
from metadiffuser.baselines import get_method
from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.data.agent import Agent
from metadiffuser.data.minari_store import read_family
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.envs import Family, Task, get_family
from metadiffuser.envs.shared.tasks import read_tasks
from metadiffuser.evaluation.rollout import BatchedEnvs
from metadiffuser.pipeline import dag
from metadiffuser.pipeline.run import execute
from metadiffuser.planning.agent import AgentInputs, PlanningAgent
from metadiffuser.planning.planner import Planner
from metadiffuser.viewing import player as viewing
from tests.conftest import ROOT

PLACE = {"preset": "smoke", "family": "point_robot", "representation": "generalised", "method": "bc", "seed": "0"}


def small() -> Params:
    """The smoke preset with one family, cut down to what a test can wait for."""
    tree = load(ROOT / "presets" / "smoke.yaml").model_dump()
    tree["families"] = ["point_robot"]
    tree["behaviour"] |= {"steps": 800, "warmup_steps": 400}
    tree["context"]["steps"] = tree["diffusion"]["steps"] = 20
    tree["evaluation"]["episodes"] = 2
    for section in tree["baseline"].values():
        section["steps"] = 5
    return Params.model_validate(tree)


PARAMS = small()


@dataclass(frozen=True)
class Start:
    """What a batch of episodes starts from.

    Attributes:
        tasks: indices of the tasks of each block (R,).
        blocks: number of blocks.
        numbers: the first random numbers of the stream of initial states, the same for every block.
    """

    tasks: list[int]
    blocks: int
    numbers: list[float]


@dataclass
class Played:
    """What the agents of one evaluation began with, in the order of play: one entry a batch."""

    warm_starts: list[WarmStart] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)


@dataclass(frozen=True)
class Whole:
    """A folder in which every job was run.

    Attributes:
        root: the folder.
        played: by stage and method.
    """

    root: Path
    played: dict[tuple[str, str], Played]

    def path(self, template: str, **changes: str) -> Path:
        return self.root / template.format(**PLACE | changes)

    def record(self, template: str, **changes: str) -> Any:
        return read_json(self.path(template, **changes))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """All jobs, with what the agents of the evaluations began with."""
    found = Whole(tmp_path_factory.mktemp("whole"), {})
    now = [("", "")]

    def noted() -> Played:
        return found.played.setdefault(now[0], Played())

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found.root)
        make, begin = BatchedEnvs.__init__, PlanningAgent.__init__

        def noted_make(
            envs: BatchedEnvs,
            family: Family,
            tasks: Sequence[Task],
            blocks: int,
            generators: Callable[[], np.random.Generator],
            threads: int,
        ) -> None:
            noted().starts.append(Start([task.index for task in tasks], blocks, generators().random(4).tolist()))
            make(envs, family, tasks, blocks, generators, threads)

        def noted_begin(
            agent: PlanningAgent, planner: Planner, inputs: AgentInputs, generator: torch.Generator, blocks: int = 1
        ) -> None:
            noted().warm_starts.append(inputs.warm_start)
            begin(agent, planner, inputs, generator, blocks)

        patch.setattr(BatchedEnvs, "__init__", noted_make)
        patch.setattr(PlanningAgent, "__init__", noted_begin)
        for name in PARAMS.baselines:
            module = importlib.import_module(f"metadiffuser.baselines.{name}")
            patch.setattr(module, "adapt", noting(module.adapt, noted))
        for job in dag.jobs(PARAMS):
            now[0] = job.stage.name, job.wildcards.get("method", "")
            execute(job, PARAMS)
        yield found


def noting(adapt: Callable[..., Agent], noted: Callable[[], Played]) -> Callable[..., Agent]:
    """Return a method's ``adapt`` that notes the warm-start data."""

    def adapted(model: Any, warm_start: WarmStart, *rest: Any) -> Agent:
        noted().warm_starts.append(warm_start)
        return adapt(model, warm_start, *rest)

    return adapted


def rows(warm_start: WarmStart, cell: int, size: int) -> WarmStart:
    """The warm-start data of one cell of ``size`` episodes."""
    return WarmStart(*(tensor[cell * size : (cell + 1) * size] for tensor in vars(warm_start).values()))


def test_every_job_writes_what_it_declares(whole: Whole) -> None:
    for job in dag.jobs(PARAMS):
        for output in job.outputs:
            assert (whole.root / output).exists(), f"{job.name}: {output}"


def test_datasets_hold_the_policies_that_their_quality_names(whole: Whole) -> None:
    metrics = whole.record(paths.DATASET_METRICS)
    tasks = read_tasks(whole.path(paths.TASKS))
    assert list(metrics["returns"]) == sorted(PARAMS.dataset.qualities)
    for quality, policies in metrics["policies"].items():
        assert {policy["role"] for policy in policies} == {quality}
        assert ("checkpoints" in policies[0]) == (quality == "mixed")
    stored = read_family(whole.path(paths.DATASET), tasks, PARAMS.dataset.qualities)
    for quality, by_task in stored.items():
        for index, episodes in by_task.items():
            assert len(episodes) == PARAMS.dataset.episodes
            assert episodes.returns.tolist() == pytest.approx(metrics["returns"][quality][str(index)])
    different = {tuple(stored[quality][0].returns.tolist()) for quality in stored}
    assert len(different) == len(PARAMS.dataset.qualities), "two qualities hold the same episodes"


def test_behaviour_is_trained_and_its_curve_written(whole: Whole) -> None:
    for shard in map(str, PARAMS.shards):
        curve = whole.path(paths.BEHAVIOUR_CURVE, shard=shard) / "metrics.json"
        assert read_json(curve)["step"] == PARAMS.behaviour.steps


@pytest.mark.parametrize("method", PARAMS.baselines)
def test_a_baseline_starts_where_the_planner_does_with_the_same_warm_start(whole: Whole, method: str) -> None:
    """Row by row: tasks, initial states and warm-start data, on unseen and on training tasks."""
    planner, baseline = whole.played["evaluate", ""], whole.played["evaluate_baseline", method]
    section = PARAMS.evaluation
    unseen, studied = PARAMS.tasks.test * section.episodes, section.study_tasks * section.study_episodes
    sources = [name for name in section.contexts if name != "oracle"]
    assert [len(batch) for batch in baseline.warm_starts] == [unseen * len(sources), studied]

    # The planner plays its cells, those of contexts first; then other planners; then training tasks.
    cells = planner.starts[0]
    training = next(batch for batch in planner.starts if set(batch.tasks) != set(cells.tasks))
    ours_unseen, ours_studied = baseline.starts
    assert (ours_unseen.tasks, ours_unseen.numbers) == (cells.tasks, cells.numbers), "other initial states"
    assert (ours_studied.tasks, ours_studied.numbers) == (training.tasks, training.numbers), "other initial states"
    assert cells.numbers != training.numbers
    assert (ours_unseen.blocks, ours_studied.blocks) == (len(sources), 1)
    for cell, source in enumerate(sources):
        own = rows(planner.warm_starts[0], section.contexts.index(source), unseen)
        given = rows(baseline.warm_starts[0], cell, unseen)
        for ours, theirs in zip(vars(own).values(), vars(given).values(), strict=True):
            assert torch.equal(ours, theirs), f"other warm-start data: {source}"
    ours_given = planner.warm_starts[planner.starts.index(training) - 1]  # the random planner is given none
    for ours, theirs in zip(vars(ours_given).values(), vars(baseline.warm_starts[1]).values(), strict=True):
        assert torch.equal(ours, theirs), "other warm-start data on training tasks"


@pytest.mark.parametrize("method", PARAMS.baselines)
def test_a_baselines_cells_are_the_planners(whole: Whole, method: str) -> None:
    planner, baseline = whole.record(paths.PLANNER_METRICS), whole.record(paths.BASELINE_METRICS, method=method)
    own = {
        cell["context"]: cell
        for cell in planner["cells"]
        if (cell["method"], cell["guide"]) == ("metadiffuser", "dual")
    }
    assert {cell["context"] for cell in baseline["cells"]} == set(own) - {"oracle"}
    for cell in [*baseline["cells"], *baseline["training_tasks"]]:
        compared = planner["training_tasks"][0] if cell in baseline["training_tasks"] else own[cell["context"]]
        shape = {task: len(values) for task, values in compared["returns"].items()}
        assert {task: len(values) for task, values in cell["returns"].items()} == shape
        assert cell["method"] == method
    decisions = whole.record(paths.TIMING, job=f"evaluate_baseline-point_robot-{method}-0")["decisions"]
    episodes = PARAMS.tasks.test * PARAMS.evaluation.episodes * len(baseline["cells"])
    assert decisions == episodes * get_family("point_robot").episode_length


def test_metrics_say_how_reporting_is_to_show_their_family_and_method(whole: Whole) -> None:
    family = get_family("point_robot")
    shown = {"family": family.name, "family_title": family.title, "family_colour": family.colour}
    for template in (paths.DATASET_METRICS, paths.CONTEXT_METRICS, paths.PLANNER_METRICS, paths.BASELINE_METRICS):
        assert shown.items() <= whole.record(template).items()
    for name in PARAMS.baselines:
        info = get_method(name).METHOD
        record = whole.record(paths.BASELINE_METRICS, method=name)
        assert (record["method"], record["method_title"], record["method_colour"]) == (name, info.title, info.colour)
    assert "method" not in whole.record(paths.PLANNER_METRICS)


def test_the_planner_that_is_watched_has_the_calibrated_settings(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    values = {"return_scale": 7.25, "candidates": 3}
    asked = Path(paths.CALIBRATION.format(**PLACE))
    monkeypatch.setattr(viewing, "LivePlayer", lambda *arguments: given.extend(arguments))
    monkeypatch.setattr(viewing, "read_chosen", lambda path: {asked: values}[path])
    viewing.make_player(PARAMS, get_family("point_robot"), read_tasks(whole.path(paths.TASKS))[-1], "dual")
    planner = next(argument for argument in given if isinstance(argument, Planner))
    assert planner.config == PARAMS.section("planning", "point_robot").model_copy(update=values)


def test_the_trained_planner_can_be_watched(whole: Whole) -> None:
    task = read_tasks(whole.path(paths.TASKS))[-1]
    player = viewing.make_player(PARAMS, get_family("point_robot"), task, "dual")
    player.reset()
    first = player.positions
    horizon = whole.record(paths.PLANNER_METRICS)["horizon"]
    assert player.plan is not None
    assert player.plan.shape == (horizon, 3)
    for _ in range(3):
        player.step()
    assert not np.array_equal(player.positions, first)
    assert "step 3" in player.caption
    player.reset()
    assert "step 0" in player.caption
