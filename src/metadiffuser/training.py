"""The loop that every gradient-trained model shares: schedule, learning curve, checkpoints, progress."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from metadiffuser.checkpointing import TrainingState
from metadiffuser.progress import Progress

RECORDS = 100  # points of a learning curve

Losses = tuple[Tensor, Mapping[str, Tensor]]
"""What is minimised, and the losses that the learning curve shows, ``loss`` among them."""


def fit(
    label: str,
    steps: int,
    draw_losses: Callable[[], Losses],
    validate: Callable[[], float],
    optimiser: torch.optim.Optimizer,
    state: TrainingState,
    checkpoint: Path,
    *,
    clip: float | None = None,
    after_step: Callable[[], None] | None = None,
) -> list[dict[str, float]]:
    """Run ``steps`` updates with a cosine decay of the step size to zero; return the learning curve.

    Args:
        label: shown with the progress.
        steps: gradient steps in all.
        draw_losses: draws a batch and returns its losses.
        validate: returns the held-out loss; called a hundred times, without gradients.
        optimiser: whose step size decays.
        state: everything that changes in the course of training.
        checkpoint: file to go on from if it exists, and to write now and then.
        clip: largest norm of the gradient of all the optimiser's parameters.
        after_step: called after every step, to move averages or target networks.
    """
    start, records, _ = state.load(checkpoint)
    for group in optimiser.param_groups:
        group.setdefault("initial_lr", group["lr"])
    factors = 0.5 * (1 + torch.linspace(0, torch.pi, steps + 1, dtype=torch.float64).cos())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: float(factors[min(step, steps)]), start - 1)
    interval = max(1, steps // RECORDS)
    losses: list[Mapping[str, Tensor]] = []
    with Progress(label, steps, start) as progress:
        for step in range(start + 1, steps + 1):
            minimised, reported = draw_losses()
            _descend(optimiser, minimised, clip)
            if after_step is not None:
                after_step()
            losses.append({name: loss.detach() for name, loss in reported.items()})
            schedule.step()
            shown = {}
            if step % interval == 0 or step == steps:
                record = {name: float(torch.stack([loss[name] for loss in losses]).mean()) for name in losses[0]}
                losses.clear()
                with torch.no_grad():
                    records.append({"step": step, **record, "validation": validate()})
                shown = {"loss": record["loss"], "validation": records[-1]["validation"]}
                if state.due():
                    state.save(checkpoint, step, records)
            progress.advance(**shown)
    return records


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor, clip: float | None) -> None:
    """Make one step of the optimiser down the gradient of ``loss``."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_([parameter for group in optimiser.param_groups for parameter in group["params"]], clip)
    optimiser.step()


def fit_first(
    label: str,
    name: str,
    steps: int,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    loss_of: Callable[[], Tensor],
    validate: Callable[[], float],
    generator: torch.Generator,
    checkpoint: Path,
) -> list[dict[str, float]]:
    """Minimise one loss over one module, before what follows in the same run; return the learning curve.

    Args:
        label: shown with the progress.
        name: of the part; its losses in the curve and its checkpoint bear it.
        steps: gradient steps.
        module: in training.
        optimiser: of its parameters.
        loss_of: draws a batch and returns its loss.
        validate: returns the held-out loss.
        generator: source of randomness.
        checkpoint: of the run; the part's own lies beside it, and stays, so that a run that goes on with what
            follows does not repeat the part.
    """

    def draw_losses() -> Losses:
        loss = loss_of()
        return loss, {"loss": loss}

    state = TrainingState({"module": module}, {"adam": optimiser}, {"data": generator})
    own = checkpoint.with_stem(f"{checkpoint.stem}-{name}")
    records = fit(label, steps, draw_losses, validate, optimiser, state, own)
    state.save(own, steps, records)
    return [{"step": r["step"], f"{name}_loss": r["loss"], f"{name}_validation": r["validation"]} for r in records]


Model = TypeVar("Model", bound=nn.Module)


class MovingAverage(Generic[Model]):
    """Exponential moving average of a module's parameters; the average is evaluated (metadiffuser.md, section 2).

    Args:
        module: the module in training; buffers are copied once.
        decay: share of the old average kept at each update.
    """

    def __init__(self, module: Model, decay: float):
        self.module = copy.deepcopy(module)
        self.module.requires_grad_(False)
        self._source: list[Tensor] = list(module.parameters())
        self._average: list[Tensor] = list(self.module.parameters())
        self._decay = decay

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the module's present parameters."""
        torch._foreach_lerp_(self._average, self._source, 1.0 - self._decay)


def fit_average(
    label: str,
    model: Model,
    decay: float,
    learning_rate: float,
    steps: int,
    draw_losses: Callable[[], Losses],
    validate: Callable[[Model], float],
    generator: torch.Generator,
    checkpoint: Path,
) -> tuple[Model, list[dict[str, float]]]:
    """Train a model by Adam; return the moving average of its parameters, which is what is used, and the curve.

    Args:
        label: shown with the progress.
        model: in training, changed in place.
        decay: of the average.
        learning_rate: Adam's peak step size.
        steps: gradient steps.
        draw_losses: draws a batch and returns the model's losses.
        validate: returns the held-out loss of the averaged model.
        generator: source of randomness.
        checkpoint: file to go on from if it exists, and to write now and then.
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    average = MovingAverage(model, decay)
    state = TrainingState({"model": model, "average": average.module}, {"adam": optimiser}, {"data": generator})
    records = fit(
        label,
        steps,
        draw_losses,
        lambda: validate(average.module),
        optimiser,
        state,
        checkpoint,
        after_step=average.update,
    )
    return average.module, records
