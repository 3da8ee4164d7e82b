"""Prompt-DT: a decision transformer whose prompt is a few steps of another episode of the task.

Xu et al., *Prompting Decision Transformer for Few-Shot Policy Generalization* (ICML 2022); docs/methods/prompt_dt.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metadiffuser.baselines.shared.interface import MethodInfo, Records, Training
from metadiffuser.baselines.shared.prompting import PromptedAgent, Sequences, draw_windows, no_latents, train_prompted
from metadiffuser.baselines.shared.transformer import TARGETS, PromptedModel, PromptedParameters, Steps
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.warm_start import WarmStart

# ---- Config ----

METHOD = MethodInfo(title="Prompt-DT", colour="#6B46C1", calibrated=TARGETS)
LABEL = "train_baseline prompt_dt"


class Parameters(PromptedParameters):
    """Method ``prompt_dt``: a decision transformer with steps of another episode as a prompt."""


# ---- Networks ----


class Model(PromptedModel):
    """The prompted transformer as it is: nothing is given with the states.

    Args:
        sizes: of the family and the shared encoder.
        config: section ``baseline.prompt_dt``.
    """

    Config = Parameters


# ---- Loss ----

# The mean squared error of a window's actions: ``shared.prompting.prompted_loss``, which Meta-DT has too.


# ---- Train ----


def train(model: Model, training: Training) -> tuple[Model, Records]:
    """Imitate the episodes of ``qualities``; prompts are of any episodes of the task that contexts are of."""
    contexts = training.contexts()
    prompts = Sequences.of(contexts, no_latents(contexts))

    def prompts_of(tasks: Tensor) -> Steps:
        return draw_prompts(prompts, tasks, model.prompt, training.generator)

    def steps_of(part: Sequences, tasks: Tensor) -> Steps:
        return draw_windows(part, tasks, model.window, training.generator)

    data = training.pool(model.config.qualities)
    return model, train_prompted(model, training, data, no_latents, prompts_of, steps_of, LABEL)


def draw_prompts(data: Sequences, tasks: Tensor, length: int, generator: torch.Generator) -> Steps:
    """Draw ``length`` steps anywhere in a random episode of each row's task (B,)."""
    _, episodes, steps = data.returns.shape
    episode = torch.randint(episodes, tasks.shape, generator=generator)
    start = torch.randint(steps - length + 1, tasks.shape, generator=generator)
    return data.take(tasks, episode, start, length)


# ---- Adapt ----


def adapt(model: Model, warm_start: WarmStart, context: ContextModel, generator: torch.Generator) -> PromptedAgent:
    """Prompt with steps anywhere in the warm start; where they begin is part of the warm-start data."""
    steps = warm_start.order.shape[1] - model.prompt
    starts = warm_start.order[:, 0].clamp_max(steps)
    return PromptedAgent(model, lambda prompt, history: act(model, prompt, history), warm_start, starts)


# ---- Act ----


def act(model: Model, prompt: Steps, history: Steps) -> Tensor:
    """Return the actions (B, A) executed in the last states of a history: the prediction itself."""
    actions: Tensor = model(prompt, history)[0]
    return actions[:, -1]
