"""B copies of a gymnasium environment stepped together through gymnasium's vector API."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from metadiffuser.envs.shared.base import Array, Task
from metadiffuser.errors import InputError, shortened

REWARD = "reward"  # the one term of the reward
LAST_SEED = 2**31 - 1

Mask = NDArray[np.bool_]
Place = Callable[[Array], Array]


@dataclass(frozen=True)
class Source:
    """Where the copies of an environment come from; see ``GymnasiumFamily`` for the attributes."""

    environment: str
    arguments: Callable[[Task], Mapping[str, Any]] | None
    apply: Callable[[Any, Task], None] | None
    reset_options: Callable[[Task], Mapping[str, Any]] | None
    restore: Callable[[Any, Array], None] | None

    def create(self, task: Task, render_mode: str | None) -> gym.Env[Any, Any]:
        """Return the environment with ``task`` applied, without a time limit."""
        arguments = dict(self.arguments(task)) if self.arguments else {}
        if render_mode is not None:
            arguments["render_mode"] = render_mode
        if self.environment.rpartition(":")[2].isidentifier() and ":" in self.environment:
            env = cast("gym.Env[Any, Any]", load_env_creator(self.environment)(**arguments))
        else:
            env = gym.make(self.environment, max_episode_steps=-1, disable_env_checker=True, **arguments)
        if self.apply:
            self.apply(env.unwrapped, task)
        return env


class TaskEnv(gym.Wrapper[Any, Any, Any, Any]):
    """One copy: resets with the task's options, actions in [-1, 1], and episodes without an end.

    Raises:
        InputError: the task's environment has other spaces than a family may have.
    """

    def __init__(self, source: Source, task: Task, render_mode: str | None = None):
        super().__init__(source.create(task, render_mode))
        self._restore = source.restore
        self._options = dict(source.reset_options(task)) if source.reset_options else None
        self._name = f"{source.environment}, task {task.index}"
        shown, bounds = self.env.observation_space, self.env.action_space
        if not isinstance(shown, gym.spaces.Box) or not isinstance(bounds, gym.spaces.Box) or not bounds.is_bounded():
            raise InputError(
                f"{self._name}: has the observation space {shortened(str(shown))} and the action space "
                f"{shortened(str(bounds))}; expected a Box, and a Box with bounds on both sides"
            )
        self._low, self._dtype = bounds.low.astype(float), bounds.dtype
        self._range = bounds.high.astype(float) - self._low
        # Bounds may differ between tasks; what the copies of a batch show does not.
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, shown.shape, np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, bounds.shape, np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; return the observation (S,)."""
        return self.env.reset(seed=seed, options=self._options)[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Apply an action (A,), clipped to [-1, 1] and scaled to the environment's bounds.

        Raises:
            InputError: the reward is not one finite number.
        """
        share = 0.5 * (np.clip(action, -1.0, 1.0) + 1.0)
        observation, reward, *_ = self.env.step((self._low + share * self._range).astype(self._dtype))
        try:
            paid = np.asarray(reward, float).item()
        except (TypeError, ValueError):
            paid = math.nan
        if not math.isfinite(paid):
            raise InputError(f"{self._name}: paid {shortened(repr(reward))}; expected one finite number as reward")
        return observation, paid, False, False, {}

    def restore(self, observation: Array) -> None:
        """Start an episode and, where the source can, put it into the state that the observation (S,) shows."""
        self.reset(seed=0)
        if self._restore:
            self._restore(self.env.unwrapped, observation)


class Batch(Protocol):
    """B copies, here or in other processes."""

    @property
    def observation_size(self) -> int:
        """S."""
        ...

    def reset(self, seeds: NDArray[np.int64], chosen: Mask) -> Array:
        """Start the ``chosen`` copies (B,) with ``seeds`` (B,); return observations (B, S) of all."""
        ...

    def restore(self, observations: Array) -> None:
        """Put every copy into the state that its observation (B, S) shows, where it can be."""
        ...

    def step(self, actions: Array) -> tuple[Array, Array]:
        """Apply actions (B, A); return observations (B, S) and rewards (B,)."""
        ...


class LocalBatch:
    """B copies in this process.

    Raises:
        InputError: observations or actions of two tasks have different sizes.
    """

    def __init__(self, source: Source, tasks: Sequence[Task], render_mode: str | None = None):
        copies = [TaskEnv(source, task, render_mode) for task in tasks]
        for kind in ("observation_space", "action_space"):
            first, *others = (getattr(copy, kind).shape for copy in copies)
            for task, shape in zip(tasks[1:], others, strict=True):
                if shape != first:
                    raise InputError(
                        f"{source.environment}: the {kind.replace('_', ' ')} of task {task.index} has the shape "
                        f"{shape}, that of task {tasks[0].index} {first}; tasks of a family share both spaces"
                    )
        self.envs = SyncVectorEnv(
            [partial(_itself, copy) for copy in copies], copy=False, autoreset_mode=AutoresetMode.DISABLED
        )

    @property
    def observation_size(self) -> int:
        """S."""
        return _width(self.envs.observation_space)

    def reset(self, seeds: NDArray[np.int64], chosen: Mask) -> Array:
        """See ``Batch``."""
        observations, _ = self.envs.reset(seed=seeds.tolist(), options={"reset_mask": chosen.copy()})
        return np.array(observations)

    def restore(self, observations: Array) -> None:
        """See ``Batch``."""
        for env, observation in zip(self.envs.envs, observations, strict=True):
            assert isinstance(env, TaskEnv)
            env.restore(observation)

    def step(self, actions: Array) -> tuple[Array, Array]:
        """See ``Batch``."""
        observations, rewards, *_ = self.envs.step(actions)
        return np.array(observations), np.array(rewards)


class Bundle(gym.Env[Array, Array]):
    """Several copies as one environment, for one worker process; an observation (n, S + 1) ends with the rewards."""

    def __init__(self, source: Source, first: int, tasks: Sequence[Task]):
        self._batch = LocalBatch(source, tasks)
        self._rows = slice(first, first + len(tasks))
        shown = (len(tasks), self._batch.observation_size + 1)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, shown, np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, self._batch.envs.action_space.shape, np.float64)
        self._shown = np.zeros(shown)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start own copies by the whole batch's ``options``: ``seeds`` and ``chosen`` (B,), or ``restored`` (B, S)."""
        assert options is not None
        if "restored" in options:
            self._batch.restore(options["restored"][self._rows])
        elif options["chosen"][self._rows].any():
            self._shown[:, :-1] = self._batch.reset(options["seeds"][self._rows], options["chosen"][self._rows])
        return self._shown, {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Apply actions (n, A)."""
        self._shown[:, :-1], self._shown[:, -1] = self._batch.step(action)
        return self._shown, 0.0, False, False, {}


class WorkerBatch:
    """B copies shared out evenly among processes, each of which steps its part as one environment."""

    def __init__(self, source: Source, tasks: Sequence[Task], workers: int):
        share = math.ceil(len(tasks) / workers)
        self._count, self._padding = len(tasks), -len(tasks) % share
        padded = [*tasks, *[tasks[-1]] * self._padding]  # parts of one size, as gymnasium's vector API wants them
        makers = [
            partial(Bundle, source, first, padded[first : first + share]) for first in range(0, len(padded), share)
        ]
        self._envs = AsyncVectorEnv(makers, context="spawn", autoreset_mode=AutoresetMode.DISABLED)

    @property
    def observation_size(self) -> int:
        """S."""
        return _width(self._envs.observation_space) - 1

    def _padded(self, rows: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([rows, np.repeat(rows[-1:], self._padding, axis=0)])

    def _rows(self, shown: Array) -> Array:
        """Return what the workers show (W, n, S + 1) as rows (B, S + 1)."""
        return shown.reshape(-1, shown.shape[-1])[: self._count]

    def reset(self, seeds: NDArray[np.int64], chosen: Mask) -> Array:
        """See ``Batch``."""
        shown, _ = self._envs.reset(options={"seeds": self._padded(seeds), "chosen": self._padded(chosen)})
        return self._rows(shown)[:, :-1]

    def restore(self, observations: Array) -> None:
        """See ``Batch``."""
        self._envs.reset(options={"restored": self._padded(observations)})

    def step(self, actions: Array) -> tuple[Array, Array]:
        """See ``Batch``."""
        parts = self._padded(actions).reshape(len(self._envs.processes), -1, actions.shape[-1])
        rows = self._rows(self._envs.step(parts)[0])
        return rows[:, :-1], rows[:, -1]


def _itself(copy: TaskEnv) -> TaskEnv:
    return copy


def _width(space: gym.Space[Any]) -> int:
    """Return the length of the last axis of a Box."""
    assert space.shape
    return space.shape[-1]


class GymnasiumSimulator:
    """B copies of a gymnasium environment, each with its task; see ``Simulator``.

    Args:
        source: where the copies come from.
        workers: processes that share the copies; 0 steps them here.
        tasks: the task of each copy.
        threads: not used: gymnasium's environments have one.
        render_mode: gymnasium's, for copies that are drawn.
    """

    def __init__(
        self, source: Source, workers: int, tasks: Sequence[Task], threads: int = 1, render_mode: str | None = None
    ):
        self.tasks = list(tasks)
        if workers and len(self.tasks) > 1:
            self._batch: Batch = WorkerBatch(source, self.tasks, workers)
        else:
            self._batch = LocalBatch(source, self.tasks, render_mode)
        self._restores = source.restore is not None
        self._observations: Array | None = None

    @property
    def positions(self) -> Array:
        """Observations (B, S), from which the family's sketch is drawn."""
        if self._observations is None:
            return np.zeros((len(self.tasks), self._batch.observation_size))
        return self._observations.copy()

    def reset(self, generator: np.random.Generator, chosen: Mask | None = None) -> Array:
        """Start all or the ``chosen`` copies (B,), with seeds drawn from ``generator``; return observations (B, S)."""
        seeds = generator.integers(LAST_SEED, size=len(self.tasks))
        if chosen is None or self._observations is None:
            chosen = np.ones(len(self.tasks), bool)
        if chosen.any() or self._observations is None:
            self._observations = self._batch.reset(seeds, chosen)
        return self._observations.copy()

    def restore(self, observations: Array) -> Mask:
        """Put every copy into the state that its observation (B, S) shows, if the family says how; else start it."""
        self._batch.restore(observations)
        self._observations = np.array(observations, float)
        return np.full(len(observations), self._restores)

    def step(self, actions: Array) -> tuple[Array, dict[str, Array]]:
        """Apply actions (B, A), clipped and scaled; return observations (B, S) and the reward (B,)."""
        self._observations, rewards = self._batch.step(np.asarray(actions, float))
        return self._observations.copy(), {REWARD: rewards}

    def render(self) -> Any:
        """Return what the first copy shows in its render mode."""
        assert isinstance(self._batch, LocalBatch)
        return self._batch.envs.envs[0].render()
