"""A published planner as an agent for gymnasium's environments, one or a vector of them.

It is the evaluation's own agent (``planning.agent``) with the evaluation's own draw of warm-start data; here are only
the beginnings and ends of episodes, and arrays with and without a first axis for environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import SupportsFloat, get_args

import numpy as np
from numpy.typing import ArrayLike

from metadiffuser.config.schema import Guide
from metadiffuser.data.episodes import Episodes, Floats
from metadiffuser.data.windows import TaskData
from metadiffuser.envs import Family, Task
from metadiffuser.errors import InputError, nearest, shortened
from metadiffuser.evaluation.cells import Cell, agent_inputs
from metadiffuser.evaluation.setup import EpisodeSetup
from metadiffuser.planning.agent import PlanningAgent
from metadiffuser.pretrained import given
from metadiffuser.pretrained.bundle import Bundle
from metadiffuser.pretrained.precision import single_precision

STREAM = "pretrained"  # of the random numbers; then the family and the number of the episode
ZERO_SHOT, OWN = "zero_shot", "own"
RATING: tuple[Guide, ...] = ("dual", "return")  # guides that rate plans, which V(s, z) beyond their horizon adds to


@dataclass(frozen=True)
class _Source:
    """Where warm-start data come from: what the evaluation calls the context, the tasks and their episodes."""

    context: str
    tasks: tuple[Task, ...]
    data: TaskData


class PretrainedAgent:
    """Plays episodes with a published planner: few-shot after ``warm_start``, else zero-shot.

    With one environment, observations are (S,) and actions (A,); with a vector of B environments, (B, S) and (B, A),
    and one plan is made for all at once. The environments of a vector play in step: their episodes begin and end
    together, as those of this project do.

    Args:
        bundle: the published models.
        seed: root of the random numbers: equal seeds and equal observations give equal actions.
        guide: ``dual``, ``return``, ``dynamics`` or ``none``.
        value: whether plans are rated by V(s, z) beyond their horizon, which is not the paper's.

    Attributes:
        tasks: {index: task} of the unseen tasks, which are those that ``warm_start`` knows.

    Raises:
        InputError: an unknown guide, one without the return where plans are rated by V, no settings of a planner with a
            value, or a seed that is no whole number from 0.
    """

    def __init__(self, bundle: Bundle, seed: int, guide: str, value: bool):
        if guide not in get_args(Guide):
            raise InputError(f"guide '{shortened(str(guide))}': unknown{nearest(str(guide), get_args(Guide))}")
        if value and guide not in RATING:
            raise InputError(
                f"guide '{guide}': rates no plan by its return or value; with value=True use dual or return"
            )
        self.tasks: Mapping[int, Task] = bundle.tasks
        self._bundle, self._planner = bundle, bundle.planner(value)
        self._seed, self._guide = given.whole_seed(seed), guide
        self._source: _Source | None = None
        self._playing: PlanningAgent | None = None
        self._episode = 0
        self._size = 0
        self._end: Floats | None = None

    @property
    def family(self) -> Family:
        """The models' family; ``family.gym_id`` names its environment."""
        return self._bundle.family

    def __repr__(self) -> str:
        context = "zero-shot" if self._source is None else f"context: {self._source.context}"
        return f"PretrainedAgent({self.family.name}, guide={self._guide}, {context})"

    @single_precision()
    def warm_start(self, task: given.TaskName | Sequence[given.TaskName] | None, quality: str = "expert") -> None:
        """Give the agent a stored episode of another policy on a task, drawn for each episode; then ``reset``.

        Args:
            task: an unseen task or its index, for all environments; several, one for each environment of a vector;
                None takes the warm start away.
            quality: of the policy that played: ``expert``, ``medium`` or ``random``.

        Raises:
            InputError: an unknown task or quality, or a ``Task`` that differs from the unseen task of its index.
        """
        source = None
        if task is not None:
            tasks = tuple(map(self._bundle.task, given.task_indices(task, self.tasks)))
            source = _Source(quality, tasks, self._bundle.data(quality, tasks))
        self._source = source
        self.reset()

    @single_precision()
    def warm_start_from(self, observations: ArrayLike, actions: ArrayLike, rewards: ArrayLike) -> None:
        """Give the agent an episode of yours on the task, or one for each environment of a vector; then ``reset``.

        Args:
            observations: s_0, ..., s_T: (T + 1, S) or (B, T + 1, S), in the environment's units.
            actions: (T, A) or (B, T, A), in [-1, 1].
            rewards: (T,) or (B, T).

        Raises:
            InputError: the arrays do not have such shapes, or such values.
        """
        sizes = self.family.observation_size, self.family.action_size
        arrays = given.episodes(observations, actions, rewards, *sizes)
        count = len(arrays[2])
        episodes = {row: Episodes(*(array[row, None] for array in arrays)) for row in range(count)}
        task = next(iter(self.tasks.values()))
        self._source = _Source(OWN, (task,) * count, TaskData.stack({OWN: episodes}, range(count)))
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode in every environment: drop their own transitions, keep the warm start.

        An episode that ``observe`` has seen end needs no call of this.

        Args:
            seed: root of the random numbers from now on; None goes on with the present one.

        Raises:
            InputError: the seed is no whole number from 0.
        """
        if seed is not None:
            self._seed, self._episode = given.whole_seed(seed), 0
        elif self._playing is not None:
            self._episode += 1
        self._playing = self._end = None

    @single_precision()
    def act(self, observation: ArrayLike) -> Floats:
        """Return actions (A,) for an observation (S,), or (B, A) for (B, S); in [-1, 1].

        Raises:
            InputError: the observation has another shape or is not finite, or the warm start is of another number of
                environments.
        """
        found = given.numbers("observation", observation)
        rows = np.atleast_2d(found)
        if found.ndim > 2 or rows.shape[1] != self.family.observation_size or not len(rows):
            size = self.family.observation_size
            raise InputError(f"observation of shape {found.shape}: expected ({size},) or (B, {size})")
        if self._playing is None:
            self._playing, self._size = self._begin(len(rows)), len(rows)
        elif len(rows) != self._size:
            raise InputError(f"{len(rows)} observations, and the episode began with {self._size}; call reset first")
        actions = self._playing.act(rows)
        return actions[0] if found.ndim == 1 else actions

    @single_precision()
    def observe(
        self,
        observation: ArrayLike,
        action: ArrayLike,
        reward: ArrayLike | SupportsFloat,
        next_observation: ArrayLike,
        terminated: ArrayLike = False,
        truncated: ArrayLike = False,
    ) -> None:
        """Take note of what a step did, as the environment returned it; the end of an episode begins the next one.

        Vectors of environments can reset in the step after an episode's end (``AutoresetMode.NEXT_STEP``). That
        step begins where the episode ended and pays nothing; it is no transition, and is left out.

        Args:
            observation: (S,) or (B, S) before the step.
            action: (A,) or (B, A).
            reward: a number or (B,).
            next_observation: (S,) or (B, S).
            terminated: a truth value or (B,).
            truncated: a truth value or (B,).

        Raises:
            InputError: before the first ``act``, values of other shapes or not finite, or some environments end and
                others go on.
        """
        if self._playing is None:
            raise InputError("observe before act: an episode begins with act")
        count, size = self._size, self.family.observation_size
        before = given.rows("observation", observation, (count, size))
        taken = given.rows("action", action, (count, self.family.action_size))
        paid = given.rows("reward", reward, (count,))
        after = given.rows("next_observation", next_observation, (count, size))
        ended = given.ends(terminated, truncated, count)
        end, self._end = self._end, None
        if end is not None and np.array_equal(before, end) and not paid.any():
            self._playing = None
        elif ended.all():
            self.reset()
            self._end = after
        elif ended.any():
            raise InputError(
                f"{int(ended.sum())} of {count} environments ended their episodes and the others go on; give them "
                "one time limit, or load an agent for each environment"
            )
        else:
            self._playing.observe(before, taken, paid, after)

    def _begin(self, size: int) -> PlanningAgent:
        """Return the evaluation's agent for an episode in ``size`` environments."""
        source = self._source_for(size)
        stream = (STREAM, self.family.name, str(self._episode))
        data = {source.context: source.data}
        setup = EpisodeSetup(self.family, source.tasks, 1, data, 1, self._seed, stream, (*stream, "start"))
        inputs = agent_inputs(self._planner, Cell("metadiffuser", self._guide, source.context), setup)
        return PlanningAgent(self._planner, inputs, setup.generator("noise"))

    def _source_for(self, size: int) -> _Source:
        """Return the warm-start data of ``size`` environments."""
        if self._source is None:  # of some task: of its data only the sizes count
            tasks = (next(iter(self.tasks.values())),) * size
            return _Source(ZERO_SHOT, tasks, self._bundle.data(next(iter(self._bundle.episodes)), tasks))
        tasks, data = self._source.tasks, self._source.data
        if len(tasks) == size:
            return self._source
        if len(tasks) != 1:
            raise InputError(f"{size} environments, and the warm start is of {len(tasks)}; give one task, or {size}")
        parts = (data.observations, data.actions, data.rewards, data.transitions, data.parameters)
        return _Source(
            self._source.context, tasks * size, TaskData(*(part.repeat_interleave(size, 0) for part in parts))
        )
