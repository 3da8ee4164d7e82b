"""Tiny models and data that the method's tests share."""

from __future__ import annotations

import numpy as np
import torch

from metadiffuser.config.schema import Context, Diffusion, Planning
from metadiffuser.context.representation import ContextModel
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.planning.agent import AgentInputs, encode_warm_start
from metadiffuser.planning.planner import Planner

S, A, Z = 3, 2, 4

CONTEXT = Context(
    threads=1,
    qualities=["expert"],
    latent_size=Z,
    latent="deterministic",
    kl_weight=0.0,
    context_length=6,
    window="scattered",
    encoder_width=8,
    hidden=[16, 16],
    steps=20,
    task_batch=3,
    target_batch=4,
    learning_rate=1e-3,
    weight_decay=0.0,
    latent_noise=0.0,
)
DIFFUSION = Diffusion(
    threads=1,
    qualities=["expert"],
    horizon=8,
    denoising_steps=6,
    prediction_type="x0",
    width=8,
    multipliers=[1, 2],
    steps=20,
    batch_size=8,
    learning_rate=1e-3,
    ema_decay=0.9,
    condition_dropout=0.25,
    latent_noise=0.0,
    first_action_weight=10.0,
)
PLANNING = Planning(
    sampler="ddpm",
    sampling_steps=6,
    guidance_weight=1.2,
    temperature=0.5,
    return_scale=0.1,
    dynamics_scale=0.1,
    unguided_steps=1,
    actions_per_plan=1,
    candidates=1,
    online_context=False,
)


def make_data(tasks: int = 4, episodes: int = 5, steps: int = 12, seed: int = 0) -> TaskData:
    """Return random walks with a reward that depends on the task."""
    generator = np.random.default_rng(seed)
    by_task = {}
    for task in range(tasks):
        actions = generator.uniform(-1, 1, (episodes, steps, A)).astype(np.float32)
        moves = np.concatenate([actions, actions[..., :1]], axis=-1) * 0.1
        states = np.concatenate([np.zeros((episodes, 1, S)), moves.cumsum(axis=1)], axis=1).astype(np.float32)
        rewards = (states[:, 1:, 0] - task).astype(np.float32)
        by_task[task] = Episodes(states, actions, rewards, np.array([task], np.float32))
    return TaskData.stack({"expert": by_task}, list(range(tasks)))


def make_warm_start(size: int, has_context: bool = True, parameters: torch.Tensor | None = None) -> WarmStart:
    """Return random transitions of six steps, in the order of time."""
    transitions = torch.randn(size, 6, 2 * S + A + 1, generator=torch.Generator().manual_seed(2))
    order, given = torch.arange(6).repeat(size, 1), torch.full((size,), has_context)
    return WarmStart(transitions, order, given, torch.zeros(size, 1) if parameters is None else parameters)


def make_inputs(context: ContextModel, warm_start: WarmStart, online: bool = False) -> AgentInputs:
    """Return the planner's inputs of unguided episodes with warm-start data."""
    size, latents = len(warm_start), encode_warm_start(context, warm_start)
    scales = torch.zeros(2, size)
    return AgentInputs(warm_start, latents, warm_start.has_context, torch.full((size,), online), scales[0], scales[1])


def make_context(seed: int = 0) -> ContextModel:
    """Return a context model with random weights and a fitted normaliser."""
    torch.manual_seed(seed)
    model = ContextModel(S, A, CONTEXT)
    data = make_data()
    model.normaliser.fit(data.observations, data.rewards)
    return model.eval().requires_grad_(False)


def make_diffusion(seed: int = 0, **changes: object) -> DiffusionModel:
    """Return a diffusion model with random weights."""
    torch.manual_seed(seed)
    model = DiffusionModel(S, A, Z, DIFFUSION.model_copy(update=changes))
    torch.nn.init.normal_(model.network.null)
    model.normaliser.load_state_dict(make_context().normaliser.state_dict())
    model.set_range(make_data().observations)
    return model.eval().requires_grad_(False)


def make_planner(**changes: object) -> Planner:
    """Return a planner over the tiny models."""
    return Planner(make_diffusion(), make_context(), PLANNING.model_copy(update=changes))


def share_among(rows: torch.Tensor, known: torch.Tensor) -> float:
    """The share of ``rows`` (..., D) that are, number by number, rows of ``known`` (..., D)."""
    among = {row.tobytes() for row in known.flatten(0, -2).numpy()}
    return float(np.mean([row.tobytes() in among for row in rows.flatten(0, -2).numpy()]))
