"""The cells of an evaluation: agent, guide and warm-start data (metadiffuser.md, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from metadiffuser.config.schema import Evaluation
from metadiffuser.evaluation.setup import EpisodeSetup
from metadiffuser.evaluation.warm_start import WITHOUT_CONTEXT, draw_warm_start
from metadiffuser.planning.agent import AgentInputs, encode_warm_start
from metadiffuser.planning.planner import Planner

ORACLE_CONTEXTS = 64  # contexts whose mean z is the oracle's


@dataclass(frozen=True)
class Cell:
    """One row of the result tables, before it is split by task and episode.

    Attributes:
        method: ``metadiffuser``; ``unconditional``, the same network with the null condition, where only the guide's
            models see z; ``one_call``, the same network asked once; ``with_value``, the planner that rates plans by
            V(s, z) beyond their horizon; or ``random``, uniform actions.
        guide: ``none``, ``return``, ``dynamics`` or ``dual``.
        context: where the warm-start data come from, or ``none``; ``oracle`` is given z itself.
    """

    method: str
    guide: str
    context: str


def make_cells(config: Evaluation) -> list[Cell]:
    """Return every context with the first guide, every guide with the first context, and the references."""
    by_context = [Cell("metadiffuser", config.guides[0], context) for context in config.contexts]
    by_guide = [Cell("metadiffuser", guide, config.contexts[0]) for guide in config.guides[1:]]
    references = [Cell("unconditional", "none", "none"), one_call(config), Cell("random", "none", "none")]
    warm = [context for context in config.contexts if context not in WITHOUT_CONTEXT]
    guided = [Cell("unconditional", "return", context) for context in warm[:1]]
    return [*by_context, *by_guide, *guided, *references]


def one_call(config: Evaluation) -> Cell:
    """Return the cell of the planner in one network call, which shows what the denoising of more steps is worth."""
    return Cell("one_call", "none", config.contexts[0])


def valued_cells(config: Evaluation) -> list[Cell]:
    """Return the cells of the planner that rates plans by V(s, z) beyond their horizon, which is not the paper's."""
    contexts = dict.fromkeys([config.contexts[0], *(each for each in config.contexts if each == "zero_shot")])
    return [Cell("with_value", config.guides[0], context) for context in contexts]


def one_call_planner(planner: Planner) -> Planner:
    """Return a planner over the same models that asks the denoiser once, from noise, and with z alone (omega 1)."""
    changed = planner.config.model_copy(update={"sampling_steps": 1, "guidance_weight": 1.0, "candidates": 1})
    return Planner(planner.diffusion, planner.context, changed)


def agent_inputs(planner: Planner, cell: Cell, setup: EpisodeSetup) -> AgentInputs:
    """Return what the planner is given of the R episodes of a cell.

    The oracle's z is the mean over many contexts, drawn from all expert episodes of the task: as well as contexts can
    describe it.

    Args:
        planner: its context model makes z; its settings hold the guide's scales.
        cell: a cell of a planning method.
        setup: the episodes.
    """
    model, settings = planner.context, planner.config
    warm_start = setup.warm_start(cell.context, model.config)
    latents, has_context = encode_warm_start(model, warm_start), warm_start.has_context
    if cell.context == "oracle":
        drawn = setup.generator("oracle")
        many = draw_warm_start("expert", setup.data, setup.repeated(ORACLE_CONTEXTS), model.config, drawn)
        latents = encode_warm_start(model, many).unflatten(0, (-1, ORACLE_CONTEXTS)).mean(dim=1)[setup.positions]
        has_context = torch.ones_like(has_context)
    if cell.method == "unconditional":
        has_context = torch.zeros_like(has_context)
    size, device = setup.size, model.latent_mean.device
    return AgentInputs(
        warm_start.to(device),
        latents,
        has_context.to(device),
        torch.full((size,), cell.context == "zero_shot", device=device),
        torch.full((size,), settings.return_scale if cell.guide in ("return", "dual") else 0.0, device=device),
        torch.full((size,), settings.dynamics_scale if cell.guide in ("dynamics", "dual") else 0.0, device=device),
    )
