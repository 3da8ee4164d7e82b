"""One episode at a time, for people who watch: the planner on one task, told of it by an expert episode."""

from __future__ import annotations

from metadiffuser.data.windows import TaskData
from metadiffuser.envs import Array, Family, Task
from metadiffuser.evaluation.cells import Cell, instruct
from metadiffuser.evaluation.rollout import BatchedEnvs
from metadiffuser.planning.agent import PlanningAgent
from metadiffuser.planning.planner import Planner
from metadiffuser.seeding import numpy_generator, torch_generator


class LivePlayer:
    """The planning agent in one environment, stepped decision by decision.

    Args:
        family: environment family.
        task: the task played.
        guide: guide variant.
        planner: makes the plans.
        warm_start: expert episodes of the task alone, for the context.
        root_seed: of every random number.
    """

    def __init__(self, family: Family, task: Task, guide: str, planner: Planner, warm_start: TaskData, root_seed: int):
        self._family, self._task, self._guide, self._planner = family, task, guide, planner
        self._warm_start, self._seed = warm_start, root_seed
        self._episode = -1

    def reset(self) -> None:
        """Start the next episode and plan its first step."""
        self._episode += 1
        stream = ("view", self._family.name, self._task.index, self._episode)
        self._group = BatchedEnvs(
            self._family, [self._task], 1, lambda: numpy_generator(self._seed, *stream, "start"), 1
        )
        context = self._planner.context
        told = instruct(
            Cell("metadiffuser", self._guide, "expert"),
            {"expert": self._warm_start},
            [0],
            self._planner.config,
            context.config.context_length,
            torch_generator(self._seed, *stream, "context"),
            context.config.window,
        )
        self._agent = PlanningAgent(self._planner, told, torch_generator(self._seed, *stream, "noise"))
        self._observation = self._group.reset()
        self._step, self._return = 0, 0.0
        self._decide()

    def step(self) -> None:
        """Execute the planned action, then plan again."""
        successor, reward = self._group.step(self._action)
        self._agent.observe(self._observation, self._action, reward, successor)
        self._observation = successor
        self._step += 1
        self._return += float(reward[0])
        self._decide()

    def _decide(self) -> None:
        """Choose the next action, and note where a new plan begins."""
        before = self._agent.plan
        self._action = self._agent.act(self._observation)
        if self._agent.plan is not before:
            self._start = self._family.world_points(self.positions)

    @property
    def positions(self) -> Array:
        """Generalised positions qpos (Q,)."""
        return self._group.positions[0].astype(float)

    @property
    def plan(self) -> Array | None:
        """Planned world points (H, 3)."""
        assert self._agent.plan is not None
        return self._family.integrate(self._agent.plan.states[0].numpy().astype(float), self._start)

    @property
    def caption(self) -> str:
        """Task, guide, step and return so far."""
        return f"{self._task.description}\nguide {self._guide}, step {self._step}\nreturn {self._return:.1f}"
