"""How much work a job is, by its parameters: what ``costs`` multiplies with measured rates.

Work is counted in the unit that drives its stage: environment steps, and multiply-adds of the networks in a forward
pass (the backward pass is a constant multiple, which the measured rate holds). Every job has environment steps and at
most one other kind of work, so a rate can be told from one timing record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from metadiffuser.config.schema import Params
from metadiffuser.errors import InputError
from metadiffuser.pipeline import dag

FLOAT = 4  # bytes
PHYSICS = "environment_steps"
EMBEDDING = 64  # of the denoiser's step and task (diffusion/unet.py)
EPISODE = 3000  # bytes that HDF5 spends on an episode beside its arrays, about
TABLE, HEAD = 24, 128  # outputs of the encoder's embedding, inputs of its head (context/encoder.py)
WORLD_BATCH = 256  # transitions in one step of Meta-DT's world model (baselines/meta_dt.py)
TOKENS = 3  # of a step: return, state, action
ANCHORED = 7  # episodes for each that an anchor has: of two anchors and five finalists (behaviour/collection.py)
MIXED_AGAIN = 2  # episodes played for each that mixed data keep, beside it, about (behaviour/mixing.py)
WARM_START = ("expert", "medium", "random")  # what the evaluation reads


@dataclass(frozen=True)
class Shape:
    """Sizes of a family: S, A and steps of an episode."""

    observation: int
    action: int
    episode: int

    @property
    def row(self) -> int:
        """Numbers of a stored transition: s, a, r."""
        return self.observation + self.action + 1


@dataclass(frozen=True)
class Work:
    """What a job takes.

    Attributes:
        amounts: {kind of work: how much}; ``environment_steps/<family>`` and one other at most.
        held: bytes in memory that grow with the parameters.
        written: what its outputs grow with, in a unit of the stage's own.
    """

    amounts: Mapping[str, float] = field(default_factory=dict)
    held: float = 0.0
    written: float = 1.0


@dataclass(frozen=True)
class _Case:
    """One job with its sections (the family's overrides merged in) and the family's sizes."""

    job: dag.Job
    params: Params
    shape: Shape

    def section(self, name: str) -> Any:
        return self.params.section(name, self.job.wildcards["family"])

    @property
    def physics(self) -> str:
        return f"{PHYSICS}/{self.job.wildcards['family']}"

    def stored(self, tasks: int, qualities: Iterable[str]) -> float:
        """Bytes of the episodes of some tasks and qualities."""
        count = tasks * len(set(qualities)) * self.section("dataset").episodes
        return float(count * self.shape.episode * self.shape.row * FLOAT)


def macs(sizes: Sequence[int]) -> int:
    """Return the multiply-adds of a perceptron with layers of these sizes; nearly its parameters, too."""
    return sum(inputs * outputs for inputs, outputs in pairwise(sizes))


def denoiser(shape: Shape, section: Any, latent_size: int) -> tuple[float, float]:
    """Return multiply-adds for one segment, and parameters, of the temporal U-Net (diffusion/unet.py)."""
    channels = [section.width * multiplier for multiplier in section.multipliers]
    transition, last = shape.observation + shape.action, channels[-1]
    halved = [section.horizon / 2**level for level in range(len(channels))]
    layers = [(3 * transition * channels[0], halved[0]), (6 * last * last, halved[-1])]
    layers += [(6 * size * size, steps) for size, steps in zip(channels, halved, strict=True)]  # down
    layers += [(11 * size * size, steps) for size, steps in zip(channels, halved, strict=True)]  # up, of twice as many
    layers += [(2 * a * b, steps) for (a, b), steps in zip(pairwise(channels), halved[1:], strict=True)] * 2
    layers += [(3 * channels[0] * transition, halved[0])]
    modulated = 2 * (2 * sum(channels) + last)
    condition = EMBEDDING * (section.denoising_steps + 1 + 2 * EMBEDDING + latent_size + modulated)
    return sum(weights * steps for weights, steps in layers), sum(weights for weights, _ in layers) + condition


def _encoder(shape: Shape, section: Any, length: int) -> int:
    """Multiply-adds of the context encoder for one context."""
    width = section.encoder_width
    embed = macs([shape.row + shape.observation, 2 * width, width, TABLE])
    return length * embed + macs([HEAD, 2 * width, section.latent_size])


def _models(shape: Shape, section: Any) -> int:
    """Multiply-adds of the reward and dynamics models for one transition."""
    inputs = shape.observation + shape.action + section.latent_size
    return macs([inputs, *section.hidden, 1]) + macs([inputs, *section.hidden, shape.observation])


def _train_behaviour(case: _Case) -> Work:
    section, shape, tasks = case.section("behaviour"), case.shape, case.section("tasks")
    shards = len(case.params.shards)
    indices = range(tasks.train + tasks.test)[int(case.job.wildcards["shard"]) :: shards]
    count, training = len(indices), sum(index < tasks.train for index in indices)
    if not count or tasks.imported is not None:
        return Work({}, written=1)
    teachers = min(section.teachers, training) + (training < count)  # one agent for the unseen tasks
    members = teachers if section.sharing == "task_conditioned" else count
    played = section.checkpoints * section.evaluation_episodes * count * shape.episode
    updates = max(section.steps - section.warmup_steps, 0) * section.updates_per_step
    actor = macs([shape.observation, *section.hidden, 2 * shape.action])
    critic = macs([shape.observation + shape.action, *section.hidden, 1])
    # Two critics: forward, backward and their targets; the actor looks ahead each time, and learns now and then.
    update = 8 * critic + actor + (3 * actor + 4 * critic) / section.actor_interval
    capacity = min(section.replay_capacity, section.steps)
    return Work(
        {
            case.physics: members * section.steps + played,
            "train_behaviour": updates * members * section.batch_size * update,
        },
        held=members * capacity * (2 * shape.observation + shape.action + 2) * FLOAT,
        written=section.checkpoints * members * actor,
    )


def _collect_dataset(case: _Case) -> Work:
    tasks, section = case.section("tasks"), case.section("dataset")
    size = case.stored(tasks.train + tasks.test, section.qualities)
    steps = size / FLOAT / case.shape.row
    apart = (tasks.train + tasks.test) * ANCHORED * section.anchor_episodes * case.shape.episode
    if "mixed" in section.qualities:
        apart += steps / len(section.qualities) * MIXED_AGAIN
    return Work({case.physics: steps + apart}, size, size + EPISODE * steps / case.shape.episode)


def _train_context(case: _Case) -> Work:
    section, shape = case.section("context"), case.shape
    encoder = _encoder(shape, section, section.context_length)
    models = _models(shape, section)
    match case.job.wildcards["representation"]:
        case "generalised":
            first = encoder
        case "focal":
            first = 2 * encoder
        case "corro":  # a relabeller, then contexts as often as there are tasks in a step
            first = section.target_batch * models + _contrast(encoder, models, section)
        case _:
            first = 0
    step = section.task_batch * (first + section.target_batch * models)
    parameters = _encoder(shape, section, 1) + models
    held = case.stored(case.section("tasks").train, section.qualities)
    return Work({"train_context": section.steps * step}, held, parameters)


def _contrast(encoder: int, models: int, section: Any, length: int | None = None) -> int:
    """Multiply-adds of CORRO's loss for one task: two contexts, and one relabelled for each task of the step."""
    relabelled = (length or section.context_length) * models
    return 2 * encoder + section.task_batch * (encoder + relabelled)


def _train_diffusion(case: _Case) -> Work:
    section, context = case.section("diffusion"), case.section("context")
    segment, parameters = denoiser(case.shape, section, context.latent_size)
    held = case.stored(case.section("tasks").train, (*section.qualities, *context.qualities))
    return Work({"train_diffusion": section.steps * section.batch_size * segment}, held, parameters)


def _evaluate(case: _Case) -> Work:
    section, planning, shape = case.section("evaluation"), case.section("planning"), case.shape
    diffusion, context, tasks = case.section("diffusion"), case.section("context"), case.section("tasks")
    warm = any(source in (*WARM_START, "wrong_task") for source in section.contexts)
    cells = len(section.contexts) + len(section.guides) - 1 + 1 + warm  # evaluation/cells.py; random is beside them
    one = tasks.test * section.episodes * shape.episode
    studied = min(section.study_tasks, tasks.train) * section.study_episodes * shape.episode
    segment, _ = denoiser(shape, diffusion, context.latent_size)
    guide = diffusion.horizon * _models(shape, context)

    def plan(steps: int) -> float:
        made = min(steps, diffusion.denoising_steps) * (1 - planning.warm_start)
        guided = max(made - planning.unguided_steps, 0)
        return (2 * made * segment + 3 * guided * guide) * planning.candidates / planning.actions_per_plan

    work = cells * one * plan(planning.sampling_steps) + sum(studied * plan(s.steps) for s in section.samplers)
    return Work(
        {case.physics: (cells + 1) * one + len(section.samplers) * studied, "evaluate": work},
        held=case.stored(tasks.test + min(section.study_tasks, tasks.train), WARM_START),
        written=tasks.test * shape.episode * shape.row,
    )


def _train_baseline(case: _Case) -> Work:
    method, shape = case.job.wildcards["method"], case.shape
    section, context = case.section(f"baseline.{method}"), case.section("context")
    if method not in METHODS:
        place = "METHODS in src/metadiffuser/workload.py"
        raise InputError(f"baseline {method}: its work is not known; add it to {place} (docs/extending.md)")
    work, parameters = METHODS[method](shape, section, context)
    held = case.stored(case.section("tasks").train, (*section.qualities, *context.qualities))
    return Work({f"train_baseline/{method}": work}, held, parameters)


def _evaluate_baseline(case: _Case) -> Work:
    section, tasks = case.section("evaluation"), case.section("tasks")
    contexts = [source for source in section.contexts if source != "oracle"]
    decisions = len(contexts) * tasks.test * section.episodes * case.shape.episode
    kind = f"evaluate_baseline/{case.job.wildcards['method']}"
    return Work({case.physics: decisions, kind: decisions}, case.stored(tasks.test, WARM_START))


def _render_rollouts(case: _Case) -> Work:
    section = case.section("rendering")
    frames = min(section.tasks, case.section("tasks").test) * min(section.frames, case.shape.episode)
    pixels = frames * section.width * section.height
    return Work({"render_rollouts": pixels}, written=pixels)


def _cloning(shape: Shape, section: Any, context: Any) -> tuple[float, float]:
    policy = macs([shape.observation + context.latent_size, *section.hidden, shape.action])
    return section.steps * section.batch_size * policy, policy


def _actor_critic(shape: Shape, section: Any, context: Any) -> tuple[float, float]:
    inputs = shape.observation + section.latent_size
    policy = macs([inputs, *section.hidden, 2 * shape.action])
    critic = macs([inputs + shape.action, *section.hidden, 1])
    step = section.batch_size * (3 * policy + 4 * critic)  # actor twice, behaviour; critics, their targets, the actor's
    encoder = 2 * _encoder(shape, section, context.context_length)
    first = section.encoder_steps * section.task_batch * encoder
    return section.steps * step + first, 2 * policy + 4 * critic


def _contrastive(shape: Shape, section: Any, context: Any) -> tuple[float, float]:
    work, parameters = _actor_critic(shape, section, context)
    encoder, models = _encoder(shape, section, context.context_length), _models(shape, section)
    contrast = _contrast(encoder, models, section, context.context_length) - 2 * encoder  # which are counted already
    return work + section.encoder_steps * section.task_batch * contrast, parameters


def _prompted(shape: Shape, section: Any, context: Any) -> tuple[float, float]:
    blocks = 12 * section.layers * section.width**2
    return section.steps * section.batch_size * TOKENS * (section.window + section.prompt) * blocks, blocks


def _world_model(shape: Shape, section: Any, context: Any) -> tuple[float, float]:
    work, parameters = _prompted(shape, section, context)
    width, inputs = section.encoder_width, shape.row + shape.observation
    recurrent = 3 * width * (inputs + width)
    heads = 2 * macs([inputs + section.latent_size, width, width, shape.observation])
    world = WORLD_BATCH * (section.context_length * recurrent + heads)
    return work + section.steps * world, parameters + recurrent + heads


def _meta_learned(shape: Shape, section: Any, context: Any) -> tuple[float, float]:
    networks = 2 * macs([shape.observation, *section.hidden, shape.action])
    # The inner step, differentiated through, and the outer one.
    return section.steps * section.task_batch * section.batch_size * 3 * networks, networks


def _variational(shape: Shape, section: Any, context: Any) -> tuple[float, float]:
    segment = section.horizon * (shape.observation + shape.action)
    condition = shape.observation + context.latent_size
    encoder = macs([segment + condition, *section.hidden, 2 * section.code_size])
    decoder = macs([section.code_size + condition, *reversed(section.hidden), segment])
    return section.steps * section.batch_size * (encoder + decoder), encoder + decoder


METHODS: Mapping[str, Callable[[Shape, Any, Any], tuple[float, float]]] = {
    "bc": _cloning,
    "focal": _actor_critic,
    "corro": _contrastive,
    "prompt_dt": _prompted,
    "meta_dt": _world_model,
    "macaw": _meta_learned,
    "cvae_planner": _variational,
}

PER_FAMILY: Mapping[str, Callable[[_Case], Work]] = {
    "train_behaviour": _train_behaviour,
    "collect_dataset": _collect_dataset,
    "train_context": _train_context,
    "train_diffusion": _train_diffusion,
    "evaluate": _evaluate,
    "train_baseline": _train_baseline,
    "evaluate_baseline": _evaluate_baseline,
    "render_rollouts": _render_rollouts,
}


def work_of(job: dag.Job, params: Params, shapes: Mapping[str, Shape]) -> Work:
    """Return the work of a job; one that is not listed above takes the same time whatever it is told.

    Raises:
        InputError: a baseline or family of which nothing is known here.
    """
    name = job.stage.name
    if name in PER_FAMILY:
        family = job.wildcards["family"]
        if family not in shapes:
            raise InputError(
                f"family {family}: its sizes are not in workflow/costs.json; "
                "run 'metadiffuser plan --measure', which adds them (docs/extending.md)"
            )
        return PER_FAMILY[name](_Case(job, params, shapes[family]))
    match name:
        case "make_tables":
            return Work({name: len(job.inputs) * params.report.bootstrap_samples})
        case "make_figures":
            return Work({name: len(job.inputs)})
        case _:
            return Work({name: 1.0} if job.stage.timed else {})
