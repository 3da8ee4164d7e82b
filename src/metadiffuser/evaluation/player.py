"""One episode at a time, for people who watch: the planner on one task, with an expert episode as context."""

from __future__ import annotations

from metadiffuser.data.windows import TaskData
from metadiffuser.envs import Array, Family, Task
from metadiffuser.evaluation.cells import Cell, agent_inputs
from metadiffuser.evaluation.setup import EpisodeSetup
from metadiffuser.planning.agent import PlanningAgent
from metadiffuser.planning.planner import Planner


class LivePlayer:
    """The planning agent in one environment, stepped decision by decision.

    Args:
        family: environment family.
        task: the task played.
        guide: guide variant.
        planner: makes the plans.
        data: expert episodes of this task, for the context.
        root_seed: of every random number.
    """

    def __init__(self, family: Family, task: Task, guide: str, planner: Planner, data: TaskData, root_seed: int):
        self._family, self._task, self._guide, self._planner = family, task, guide, planner
        self._data, self._seed = data, root_seed
        self._episode = -1

    def reset(self) -> None:
        """Start the next episode and plan its first step."""
        self._episode += 1
        stream = ("view", self._family.name, str(self._task.index), str(self._episode))
        start = (*stream, "start")
        setup = EpisodeSetup(self._family, [self._task], 1, {"expert": self._data}, 1, self._seed, stream, start)
        inputs = agent_inputs(self._planner, Cell("metadiffuser", self._guide, "expert"), setup)
        self._agent = PlanningAgent(self._planner, inputs, setup.generator("noise"))
        self._envs = setup.envs(1)
        self._observation = self._envs.reset()
        self._step, self._return = 0, 0.0
        self._decide()

    def step(self) -> None:
        """Execute the planned action, then plan again."""
        successor, reward = self._envs.step(self._action)
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
        return self._envs.positions[0].astype(float)

    @property
    def plan(self) -> Array | None:
        """Planned world points (H, 3)."""
        assert self._agent.plan is not None
        return self._family.integrate(self._agent.plan.states[0].numpy().astype(float), self._start)

    @property
    def caption(self) -> str:
        """Task, guide, step and return so far."""
        return f"{self._task.description}\nguide {self._guide}, step {self._step}\nreturn {self._return:.1f}"
