"""Inconsistent combinations of parameters that are valid one by one: refused before a job starts, not hours later."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial

from metadiffuser.config.params import Params

READ = ("expert", "medium", "random")  # qualities that every evaluation draws warm-start data from
SHOWN = ("dual", "none")  # guides that render_rollouts shows side by side
TRUE_TASK = "true_task"  # the representation without an encoder
CONTRASTING = ("corro", "focal")  # representations that are trained to tell tasks apart

Name = Callable[[str, str], str]


def inconsistencies(params: Params, protocol: bool = True) -> Iterator[str]:
    """Yield one sentence, which names the keys, for each combination that is inconsistent, family by family.

    Args:
        params: the parameters.
        protocol: whether to check the evaluation as well. A trial of ``metadiffuser tune`` has one guide and no videos,
            and its unseen tasks are held-out training tasks, whose number is not in the parameters.
    """
    for family in params.families:
        name = partial(_name, params, family)
        yield from _repetitions(params, family, name)
        yield from _tasks(params, family, name)
        yield from _behaviour(params, family, name)
        yield from _qualities(params, family, name)
        yield from _planner(params, family, name)
        if protocol:
            yield from _protocol(params, family, name)
    if params.representations[0] == TRUE_TASK:
        yield (
            f"representations: '{TRUE_TASK}' is first, but baselines use the encoder of the first, and this one has "
            "none; put another first"
        )


def _name(params: Params, family: str, section: str, key: str) -> str:
    """Return the dotted name of ``key``, below ``overrides`` if the family's value comes from there."""
    return f"overrides.{family}.{section}.{key}" if key in params.override(section, family) else f"{section}.{key}"


def _repeated(values: Sequence[Hashable]) -> bool:
    return len(set(values)) < len(values)


def _repetitions(params: Params, family: str, name: Name) -> Iterator[str]:
    lists = {"dataset": ["qualities"], "context": ["qualities"], "diffusion": ["qualities"]}
    lists |= {"evaluation": ["contexts", "guides"], "calibration": ["contexts"]} | {
        f"baseline.{method}": ["qualities"] for method in params.baselines
    }
    for section, keys in lists.items():
        for key in keys:
            values = getattr(params.section(section, family), key)
            if _repeated(values):
                yield f"{name(section, key)}: the list {values} names something twice; remove the repetition"
    samplers = [f"{each.sampler} {each.steps}" for each in params.section("evaluation", family).samplers]
    if _repeated(samplers):
        yield f"{name('evaluation', 'samplers')}: {samplers} names something twice; remove the repetition"


def _tasks(params: Params, family: str, name: Name) -> Iterator[str]:
    tasks = params.section("tasks", family)
    if tasks.imported is None:  # how many there are of imported ones, 'import' knows
        yield from _few_training_tasks(params, tasks.train, name("tasks", "train"))


def _few_training_tasks(params: Params, count: int, named: str) -> Iterator[str]:
    """Yield what ``count`` training tasks are too few for; ``named`` says whose number that is."""
    if count < 2:
        for representation in CONTRASTING:
            if representation in params.representations:
                yield (
                    f"{named} is {count}, but the representation {representation} tells tasks apart and needs two or "
                    "more"
                )
    for method in params.baselines:
        least = params.typed_section(f"baseline.{method}").least_tasks
        if count < least:
            yield f"{named} is {count}, but {method} needs {least} or more"


def _few_unseen_tasks(count: int, named: str, name: Name) -> Iterator[str]:
    """Yield what ``count`` unseen tasks are too few for; ``named`` says whose number that is."""
    if count < 2:
        yield (
            f"{named} is {count}, but wrong_task in {name('evaluation', 'contexts')} takes data of another unseen "
            "task; expected two or more"
        )


def too_few_tasks(params: Params, family: str, train: int, test: int, source: str) -> Iterator[str]:
    """Yield one sentence for each thing that a family's imported tasks are too few for, as for drawn ones.

    Args:
        params: the parameters in force.
        family: whose data are imported.
        train: training tasks.
        test: unseen tasks.
        source: the file or folder that they come from.
    """
    name, number = partial(_name, params, family), f"{source}: the number of tasks with the split"
    for sentence in _few_training_tasks(params, train, f"{number} 'train'"):
        yield f"{sentence}; add tasks, or take it out of params.yaml"
    if "wrong_task" in params.section("evaluation", family).contexts:
        yield from _few_unseen_tasks(test, f"{number} 'test'", name)


def _behaviour(params: Params, family: str, name: Name) -> Iterator[str]:
    behaviour = params.section("behaviour", family)
    if params.section("tasks", family).imported is not None:
        return  # nothing is trained
    rounds = math.ceil(behaviour.steps / behaviour.copies)
    if behaviour.checkpoints > rounds:
        yield (
            f"{name('behaviour', 'checkpoints')} is {behaviour.checkpoints}, but {name('behaviour', 'steps')} of "
            f"{behaviour.steps} are {rounds} steps of each of the {behaviour.copies} copies; expected one or more "
            "between checkpoints"
        )
    if behaviour.warmup_steps >= behaviour.steps:
        yield (
            f"{name('behaviour', 'warmup_steps')} is {behaviour.warmup_steps}, but {name('behaviour', 'steps')} is "
            f"{behaviour.steps}; expected less, as there are no updates in warm-up"
        )


def _qualities(params: Params, family: str, name: Name) -> Iterator[str]:
    made = params.section("dataset", family).qualities
    for quality in READ:
        if quality not in made:
            yield f"{name('dataset', 'qualities')}: {quality} is missing; every evaluation reads {', '.join(READ)}"
    for section in ("context", "diffusion", *(f"baseline.{method}" for method in params.baselines)):
        for quality in params.section(section, family).qualities:
            if quality not in made:
                key = name("dataset", "qualities")
                yield f"{name(section, 'qualities')}: {quality} is not collected; add it to {key} or take it out"


def _planner(params: Params, family: str, name: Name) -> Iterator[str]:
    diffusion, planning = params.section("diffusion", family), params.section("planning", family)
    halvings = len(diffusion.multipliers) - 1
    if diffusion.horizon % 2**halvings:
        yield (
            f"{name('diffusion', 'horizon')} is {diffusion.horizon}, but the {halvings + 1} levels of "
            f"{name('diffusion', 'multipliers')} halve it {halvings} times; expected a multiple of {2**halvings}"
        )
    if planning.actions_per_plan > diffusion.horizon:
        yield (
            f"{name('planning', 'actions_per_plan')} is {planning.actions_per_plan}, but a plan has "
            f"{diffusion.horizon} actions ({name('diffusion', 'horizon')}); lower it"
        )
    if planning.sampling_steps > diffusion.denoising_steps:
        yield (
            f"{name('planning', 'sampling_steps')} is {planning.sampling_steps}, but "
            f"{name('diffusion', 'denoising_steps')} is {diffusion.denoising_steps}; expected at most as many"
        )


def _protocol(params: Params, family: str, name: Name) -> Iterator[str]:
    tasks, evaluation = params.section("tasks", family), params.section("evaluation", family)
    if tasks.imported is None and "wrong_task" in evaluation.contexts:
        yield from _few_unseen_tasks(tasks.test, name("tasks", "test"), name)
    guides = evaluation.guides
    if guides[0] != SHOWN[0] or SHOWN[1] not in guides:
        yield (
            f"{name('evaluation', 'guides')} is {guides}; expected '{SHOWN[0]}' first and '{SHOWN[1]}' among them, "
            "the two that render_rollouts shows"
        )
