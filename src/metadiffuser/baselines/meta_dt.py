"""Meta-DT: a decision transformer given z by a world model, and the prompt that this model predicts worst.

Wang et al., *Meta-DT: Offline Meta-RL as Conditional Sequence Modeling with World Model Disentanglement* (NeurIPS
2024); docs/methods/meta_dt.md.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from metadiffuser.baselines.shared.interface import MethodInfo, Records, Sizes, Training
from metadiffuser.baselines.shared.prompting import PromptedAgent, Sequences, draw_windows, no_latents, train_prompted
from metadiffuser.baselines.shared.transformer import TARGETS, PromptedModel, PromptedParameters, Steps
from metadiffuser.config.schema import Count
from metadiffuser.context.encoder import mlp
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.episodes import Floats
from metadiffuser.data.normaliser import Normaliser
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData
from metadiffuser.training import fit_first

# ---- Config ----

METHOD = MethodInfo(title="Meta-DT", colour="#B794F4", calibrated=TARGETS)
LABEL = "train_baseline meta_dt"
WORLD_BATCH = 256  # transitions in one step of the world model (ours)
WORLD_RATE = 1e-3  # step size of the world model, as published
VALIDATION_TRANSITIONS = 1024
SWAPPED = 0.5  # share of training windows whose z is of any episode of the task (ours)
CHUNK = 256  # episodes that z is computed of at once, so that memory stays small


class Parameters(PromptedParameters):
    """Method ``meta_dt``: a decision transformer with z of a world model, and its worst predicted steps as a prompt."""

    latent_size: Count = Field(16, description="Z of the world model")
    context_length: Count = Field(4, description="transitions that z is computed from")
    encoder_width: Count = Field(128, description="features of the world model's recurrent unit and hidden layers")


# ---- Networks ----


class WorldModel(nn.Module):
    """z_t of the h transitions before t; r_t and s_{t+1} of s_t, a_t and z_t, in normalised units.

    Args:
        sizes: of the family.
        config: section ``baseline.meta_dt``.
    """

    def __init__(self, sizes: Sizes, config: Parameters):
        super().__init__()
        self.sizes = [sizes.observation, sizes.action, 1, sizes.observation]
        self.length = config.context_length
        width, latent = config.encoder_width, config.latent_size
        self.recurrent = nn.GRU(sum(self.sizes), width, batch_first=True)
        self.head = nn.Linear(width, latent)
        inputs = sizes.observation + sizes.action + latent
        self.reward = mlp([inputs + sizes.observation, width, width, 1])
        self.change = mlp([inputs, width, width, sizes.observation])

    def features(self, transitions: Tensor, normaliser: Normaliser) -> Tensor:
        """Normalise transitions (..., 2S + A + 1); s' becomes the change of state."""
        state, action, reward, successor = transitions.split(self.sizes, dim=-1)
        local, change = normaliser.local(normaliser.state(state)), normaliser.delta(successor - state)
        return torch.cat([local, action, normaliser.reward(reward), change], dim=-1)

    def encode(self, features: Tensor) -> Tensor:
        """Return z (B, Z) of the features (B, h, F) of h transitions in order; those before an episode are zeros."""
        latents: Tensor = self.head(self.recurrent(features)[1][0])
        return latents

    def predict(self, features: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return r (...) and s' - s (..., S) predicted of transitions' features (..., F) and z (..., Z).

        The reward sees the change of state, the change sees neither.
        """
        state, action, _, change = features.split(self.sizes, dim=-1)
        given = torch.cat([state, action, latents], dim=-1)
        return self.reward(torch.cat([given, change], dim=-1))[..., 0], self.change(given)


class Model(PromptedModel):
    """A world model, and the prompted transformer that is given its z with every state.

    Args:
        sizes: of the family and the shared encoder.
        config: section ``baseline.meta_dt``.
    """

    Config = Parameters

    def __init__(self, sizes: Sizes, config: Parameters):
        super().__init__(sizes, config, config.latent_size)
        self.world = WorldModel(sizes, config)


# ---- Loss ----


def world_errors(world: WorldModel, features: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Return the signed errors of rewards (...) and changes of state (..., S), in normalised units."""
    _, _, reward, change = features.split(world.sizes, dim=-1)
    predicted_reward, predicted_change = world.predict(features, latents)
    return predicted_reward - reward[..., 0], predicted_change - change


def world_loss(world: WorldModel, windows: Tensor) -> Tensor:
    """Return the squared errors of the last of h + 1 transitions' features (B, h + 1, F), z being of those before."""
    reward, change = world_errors(world, windows[:, -1], world.encode(windows[:, :-1]))
    return reward.square().mean() + change.square().mean()


def surprise(world: WorldModel, features: Tensor, latents: Tensor) -> Tensor:
    """Return the absolute errors (...) of transitions by which the prompt is chosen."""
    reward, change = world_errors(world, features, latents)
    return reward.abs() + change.abs().mean(dim=-1)


# ---- Train ----


def train(model: Model, training: Training) -> tuple[Model, Records]:
    """Train the world model on the episodes of contexts, then, with it frozen, the transformer on ``qualities``."""
    contexts = training.contexts()
    first = train_world(model, contexts, training)
    model.world.requires_grad_(False)
    prompts = Sequences.of(contexts, no_latents(contexts))
    described = describe(model, contexts.transitions)
    errors = surprises(model, contexts.transitions, described)
    starts = worst_segments(errors, model.prompt, model.world.length)

    def prompts_of(tasks: Tensor) -> Steps:
        episode = torch.randint(starts.shape[1], tasks.shape, generator=training.generator)
        return prompts.take(tasks, episode, starts[tasks, episode], model.prompt)

    def steps_of(part: Sequences, tasks: Tensor) -> Steps:
        window = draw_windows(part, tasks, model.window, training.generator)
        return swap_latents(window, tasks, described, training.generator)

    data = training.pool(model.config.qualities)
    second = train_prompted(
        model, training, data, lambda part: describe(model, part.transitions), prompts_of, steps_of, LABEL
    )
    return model, [record | world for record, world in zip(second, first, strict=True)]


def train_world(model: Model, data: TaskData, training: Training) -> Records:
    """Train the world model in place on transitions at all times of the episodes; return its curve."""
    config, world, generator = model.config, model.world, training.generator
    optimiser = torch.optim.Adam(world.parameters(), lr=WORLD_RATE, fused=True)
    fitting, held_out = (_padded(model, part.transitions) for part in data.split_episodes())

    def draw(features: Tensor, count: int) -> Tensor:
        tasks, episodes, steps = features.shape[:3]
        task = torch.randint(tasks, (count, 1), generator=generator)
        episode = torch.randint(episodes, (count, 1), generator=generator)
        start = torch.randint(steps - world.length, (count, 1), generator=generator)
        return features[task, episode, start + torch.arange(world.length + 1)]

    validation = draw(held_out, VALIDATION_TRANSITIONS)
    return fit_first(
        f"{LABEL}, world model",
        "world",
        config.steps,
        world,
        optimiser,
        lambda: world_loss(world, draw(fitting, WORLD_BATCH)),
        lambda: float(world_loss(world, validation)),
        generator,
        training.checkpoint,
    )


def swap_latents(window: Steps, tasks: Tensor, latents: Tensor, generator: torch.Generator) -> Steps:
    """Give a share of the windows z of any episode of their task, at the same times.

    Imitated states come with z of an expert's transitions only. At play z is of the agent's own, which are no expert's
    once it has strayed: what to do then is learnt from states beside z of any episode.

    Args:
        window: steps (B, K) of episodes that are imitated.
        tasks: of the windows (B,).
        latents: z (N, E, T, Z) of episodes of every quality.
        generator: of the choice.
    """
    swapped = torch.rand(len(tasks), 1, 1, generator=generator) < SWAPPED
    episode = torch.randint(latents.shape[1], (len(tasks), 1), generator=generator)
    others = latents[tasks[:, None], episode, window.times]
    return replace(window, latents=torch.where(swapped, others, window.latents))


@torch.no_grad()
def describe(model: Model, transitions: Tensor) -> Tensor:
    """Return z (..., T, Z) at every step of episodes (..., T, 2S + A + 1), of the h transitions before it."""
    length, latents = model.world.length, []
    for features in _padded(model, transitions).flatten(0, -3).split(CHUNK):
        windows = features[:, :-1].unfold(1, length, 1).transpose(2, 3)
        latents.append(model.world.encode(windows.flatten(0, 1)).unflatten(0, windows.shape[:2]))
    return torch.cat(latents).unflatten(0, transitions.shape[:-2])


@torch.no_grad()
def surprises(model: Model, transitions: Tensor, latents: Tensor) -> Tensor:
    """Return the world model's errors (..., T) at every step of episodes (..., T, 2S + A + 1) with their z."""
    return surprise(model.world, model.world.features(transitions, model.normaliser), latents)


def worst_segments(errors: Tensor, length: int, history: int) -> Tensor:
    """Return where the ``length`` steps of largest error begin (...), in errors (..., T).

    Not before step ``history``, since z is not complete there and every episode's first steps are predicted badly,
    unless the errors are too few for that: then the last steps.
    """
    first = min(history, max(0, errors.shape[-1] - length))
    if errors.shape[-1] <= length:
        return torch.zeros(errors.shape[:-1], dtype=torch.long)
    return first + errors[..., first:].unfold(-1, length, 1).sum(dim=-1).argmax(dim=-1)


def _padded(model: Model, transitions: Tensor) -> Tensor:
    """Return features (..., h + T, F) of episodes (..., T, 2S + A + 1), after h transitions of zeros."""
    features = model.world.features(transitions, model.normaliser)
    return functional.pad(features, (0, 0, model.world.length, 0))


# ---- Adapt ----


class Agent(PromptedAgent):
    """Adds to the prompted agent z of the last h transitions, and prompts of the steps that were predicted worst.

    Args:
        model: world model and transformer.
        warm_start: data of each episode's task.
    """

    model: Model

    def __init__(self, model: Model, warm_start: WarmStart):
        errors = surprises(model, warm_start.transitions, describe(model, warm_start.transitions))
        starts = worst_segments(errors, model.prompt, model.world.length)
        super().__init__(model, lambda prompt, history: act(model, prompt, history), warm_start, starts)
        width = sum(model.world.sizes)
        self._features = torch.zeros(len(warm_start), model.world.length + model.sizes.episode, width)
        self._errors = torch.zeros(len(warm_start), model.sizes.episode)

    def observe(self, observations: Floats, actions: Floats, rewards: Floats, successors: Floats) -> None:
        """Remember one transition of each episode, and how badly it was predicted."""
        now, world = self.step, self.model.world
        super().observe(observations, actions, rewards, successors)
        with torch.inference_mode():
            features = world.features(self.transitions[:, now], self.model.normaliser)
            self._features[:, world.length + now] = features
            self._errors[:, now] = surprise(world, features, self.latents[:, now])

    def describe(self) -> Tensor:
        """Return z (B, Z) of the last h transitions; what is before the episode is zeros, as in training."""
        return self.model.world.encode(self._features[:, self.step : self.step + self.model.world.length])

    def own_segment(self) -> Tensor:
        """Return where the worst predicted P steps (B,) of the episodes so far begin."""
        return worst_segments(self._errors[:, : self.step], self.model.prompt, self.model.world.length)


def adapt(model: Model, warm_start: WarmStart, context: ContextModel, generator: torch.Generator) -> Agent:
    """Prompt with the steps of the warm start that the world model predicts worst; nothing is drawn."""
    return Agent(model, warm_start)


# ---- Act ----


def act(model: Model, prompt: Steps, history: Steps) -> Tensor:
    """Return the actions (B, A) executed in the last states of a history: the prediction itself."""
    actions: Tensor = model(prompt, history)[0]
    return actions[:, -1]
