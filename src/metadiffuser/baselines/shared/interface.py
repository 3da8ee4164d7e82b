"""What a baseline is: a model that is one file, how it is trained, and how it becomes an agent."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from metadiffuser.artifacts import load_module, write_tensors
from metadiffuser.config.schema import MethodParameters
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import task_latents
from metadiffuser.data.agent import Agent
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.normaliser import Normaliser
from metadiffuser.data.warm_start import WarmStart
from metadiffuser.data.windows import TaskData
from metadiffuser.errors import InputError

Records = list[dict[str, float]]


@dataclass(frozen=True)
class MethodInfo:
    """How tables and figures show a method.

    Attributes:
        title: display name.
        colour: of its curves and bars, ``#rrggbb``.
        uses_context: whether the method acts on z of the shared context model, whose cost then counts as its own.
        calibrated: {key of the method's section: values}, in the order in which they are tried and, of equally good
            ones, preferred: what its paper leaves to the user at test time. Only keys that ``adapt`` and acting read,
            and training does not; the stage ``calibrate_baseline`` chooses them on training tasks.

    Raises:
        ValueError: the title is empty, or the colour is written otherwise.
    """

    title: str
    colour: str
    uses_context: bool = False
    calibrated: Mapping[str, Sequence[Any]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not self.title or not re.fullmatch("#[0-9A-Fa-f]{6}", self.colour):
            raise ValueError(f"expected a title and a colour such as '#0D9488', got {self.title!r}, {self.colour!r}")


@dataclass(frozen=True)
class Sizes:
    """What a family and its context encoder fix of a baseline's networks.

    Attributes:
        observation: S.
        action: A.
        latent: Z of the shared encoder.
        episode: T, steps of an episode.
    """

    observation: int
    action: int
    latent: int
    episode: int


@dataclass(frozen=True)
class Training:
    """What a baseline is trained on: episodes of the N training tasks, and the frozen encoder.

    Attributes:
        episodes: {quality: {task index: episodes}}; the qualities that the method's section names, and those that
            contexts are drawn from.
        tasks: the tasks' indices, in the order of ``TaskData``'s first axis.
        context: the shared context model, for its normaliser and, in methods that take z, its encoder.
        generator: source of randomness.
        checkpoint: file to go on from if it exists, and to write now and then.
    """

    episodes: Mapping[str, Mapping[int, Episodes]]
    tasks: Sequence[int]
    context: ContextModel
    generator: torch.Generator
    checkpoint: Path

    def pool(self, qualities: Sequence[str]) -> TaskData:
        """Return the episodes of several qualities, those of a task one after the other."""
        return TaskData.stack({quality: self.episodes[quality] for quality in qualities}, self.tasks)

    def contexts(self) -> TaskData:
        """Return the episodes that contexts are drawn from: those that the shared encoder was trained on."""
        return self.pool(self.context.config.qualities)

    def latents(self) -> Tensor:
        """Return z (N, M, Z) of M contexts of each task, from the shared encoder; ``draw_latents`` draws from them."""
        return task_latents(self.context, self.contexts(), self.generator)


class BaselineModel(nn.Module):
    """Base of every baseline's model: weights, normaliser and configuration as one module and one file.

    A subclass names its section of the parameters as ``Config``, and takes what its constructor takes.

    Args:
        sizes: of the family and the shared encoder.
        config: the method's section of the parameters.
    """

    Config: ClassVar[type[MethodParameters]]

    def __init__(self, sizes: Sizes, config: Any):
        super().__init__()
        self.sizes = sizes
        self.config = config
        self.normaliser = Normaliser(sizes.observation)

    def save(self, path: Path, header: dict[str, Any]) -> None:
        """Write weights, normaliser and configuration as one safetensors file."""
        own = {"sizes": list(astuple(self.sizes)), "config": self.config.model_dump()}
        write_tensors(path, self.state_dict(), own | header)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> tuple[Self, dict[str, Any]]:
        """Read what ``save`` wrote. Raises ``InputError`` if the file is missing, damaged or something else."""
        method = cls.__module__.rpartition(".")[2]
        return load_module(
            path,
            device,
            lambda header: cls(Sizes(*header["sizes"]), cls.Config.model_validate(header["config"])),
            method,
            "train_baseline",
        )


def settings_of(model: BaselineModel, keys: Iterable[str]) -> dict[str, Any]:
    """Return the values of some keys of a model's section.

    Raises:
        InputError: the section has no such key.
    """
    found = model.config.model_dump()
    for key in keys:
        if key not in found:
            raise InputError(
                f"method '{type(model).__module__.rpartition('.')[2]}': MethodInfo.calibrated names '{key}', which its "
                "class Parameters does not have; add the key or take it out"
            )
    return {key: found[key] for key in keys}


def with_settings(model: BaselineModel, values: Mapping[str, Any]) -> BaselineModel:
    """Return a model of the same weights whose section has other values of some keys.

    Raises:
        InputError: a value is none that the section can have.
    """
    changed = copy.copy(model)
    try:
        changed.config = type(model.config).model_validate({**model.config.model_dump(), **values})
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        method = type(model).__module__.rpartition(".")[2]
        raise InputError(f"method '{method}': {dict(values)} does not fit its section at '{key}'") from None
    return changed


class Method(Protocol):
    """What the file of a method provides."""

    METHOD: MethodInfo

    @property
    def Parameters(self) -> type[MethodParameters]:  # noqa: N802 - a class
        """The method's section of the parameters, with defaults and descriptions."""
        ...

    @property
    def Model(self) -> type[BaselineModel]:  # noqa: N802 - a class
        """The model, initialised from torch's global generator, which the caller seeds."""
        ...

    def train(self, model: Any, training: Training) -> tuple[BaselineModel, Records]:
        """Train in place; return the model that is evaluated, and the learning curve.

        The model's normaliser is the shared one already.
        """
        ...

    def adapt(self, model: Any, warm_start: WarmStart, context: ContextModel, generator: torch.Generator) -> Agent:
        """Return the agent that plays ``len(warm_start)`` episodes.

        What it does in an episode depends only on that episode's row: whatever is drawn from ``generator`` is drawn
        once for all rows, so that a row is played the same by itself and in a batch.
        """
        ...
