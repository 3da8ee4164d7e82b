"""A trained task representation: encoder, generalised models and normaliser, as one module and one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metadiffuser.artifacts import load_module, write_tensors
from metadiffuser.config.schema import Context, Representation
from metadiffuser.context.encoder import ContextEncoder
from metadiffuser.context.models import DynamicsModel, RewardModel, ValueModel
from metadiffuser.data.episodes import row_sizes
from metadiffuser.data.normaliser import Normaliser
from metadiffuser.errors import InputError

SMALLEST_DEVIATION = 1e-4  # an entry of z that never differs stays where it is


class ContextModel(nn.Module):
    """A representation of tasks, R_psi, P_omega and V with the normaliser they share (metadiffuser.md, section 1).

    The representation is E_phi for ``generalised``, ``focal`` and ``corro``, which differ in how it is trained; for
    ``true_task`` there is no encoder, and z is the task's parameters (table 3).

    Latents leave ``encode`` standardised by the mean and deviation of the training tasks' z, so that a
    latent of zeros is the average training task.

    Args:
        observation_size: S.
        action_size: A.
        config: widths and sizes.
        unbounded_dims: entries of the observation that are positions along an endless floor.
        representation: what z is.
        parameter_size: F, the number of a task's parameters.
        tasks: N, the training tasks whose z it keeps.

    Raises:
        InputError: ``true_task``, and tasks that have no parameters.
    """

    latent_mean: Tensor
    latent_std: Tensor
    value_mean: Tensor
    value_std: Tensor
    task_latents: Tensor  # the training tasks' mean z (N, Z)
    error_variance: Tensor  # mean squared errors with them (1 + S): of the reward, and of each change of state

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        config: Context,
        unbounded_dims: Sequence[int] = (),
        representation: Representation = "generalised",
        parameter_size: int = 0,
        tasks: int = 1,
    ):
        super().__init__()
        self.representation: Representation = representation
        self.parameter_size = parameter_size
        self.observation_size = observation_size
        self.action_size = action_size
        self.config = config
        self.normaliser = Normaliser(observation_size, unbounded_dims)
        self.sizes = row_sizes(observation_size, action_size)
        self.encoder: ContextEncoder | None = None
        if representation == "true_task":
            if parameter_size == 0:
                raise InputError(
                    "representations: 'true_task' needs tasks with parameters, and these have none; remove it"
                )
        else:
            outputs = 2 * config.latent_size if self.variational else config.latent_size
            regression = (config.regressors, config.regression_targets)
            self.encoder = ContextEncoder(observation_size, action_size, outputs, config.encoder_width, *regression)
        sizes = (observation_size, action_size, self.latent_size, config.hidden)
        self.reward_model = RewardModel(*sizes)
        self.dynamics_model = DynamicsModel(*sizes)
        self.value_model = ValueModel(observation_size, self.latent_size, config.hidden)
        self.register_buffer("value_mean", torch.zeros(()))
        self.register_buffer("value_std", torch.ones(()))
        self.register_buffer("latent_mean", torch.zeros(self.latent_size))
        self.register_buffer("latent_std", torch.ones(self.latent_size))
        self.register_buffer("task_latents", torch.zeros(tasks, self.latent_size))
        self.register_buffer("error_variance", torch.ones(1 + observation_size))

    @property
    def latent_size(self) -> int:
        """Z."""
        return self.parameter_size if self.representation == "true_task" else self.config.latent_size

    @property
    def variational(self) -> bool:
        """Whether the encoder gives a normal distribution of z."""
        return self.representation == "generalised" and self.config.latent == "variational"

    def encode(self, contexts: Tensor, mask: Tensor, parameters: Tensor | None = None) -> Tensor:
        """Return z (B, Z) of contexts (B, K, 2S + A + 1) with mask (B, K); of a distribution, its mean.

        ``true_task`` looks at the tasks' parameters (B, F) and at nothing else; the others do not look at them.
        """
        if self.encoder is None:
            if parameters is None:
                raise ValueError("the representation true_task needs the tasks' parameters")
            return self._scaled(parameters)
        return self._scaled(self.encoder(contexts, mask, self.normaliser)[:, : self.latent_size])

    def posterior(self, contexts: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance (B, Z) of a variational z, as they are before latents are standardised."""
        assert self.encoder is not None
        assert self.variational
        mean, log_variance = self.encoder(contexts, mask, self.normaliser).chunk(2, dim=-1)
        return mean, log_variance

    def _scaled(self, raw: Tensor) -> Tensor:
        return (raw - self.latent_mean) / self.latent_std

    def set_scale(self, raw: Tensor) -> None:
        """From now on subtract the mean of these raw latents (B, Z) and divide by their deviation."""
        self.latent_mean.copy_(raw.mean(0))
        self.latent_std.copy_(raw.std(0, correction=0).clamp_min(SMALLEST_DEVIATION))

    def set_value_scale(self, returns: Tensor) -> None:
        """From now on V's network predicts returns to go in units of these (...): of their mean and deviation."""
        self.value_mean.copy_(returns.double().mean())
        self.value_std.copy_(returns.double().std(correction=0).clamp_min(SMALLEST_DEVIATION))

    def standardise(self, latents: Tensor) -> None:
        """``set_scale`` by latents (B, Z) that ``encode`` gave, without a change to what the models predict."""
        old_mean, old_std = self.latent_mean.clone(), self.latent_std.clone()
        self.set_scale(latents * old_std + old_mean)
        for model in (self.reward_model, self.dynamics_model, self.value_model):
            _absorb(model.network[0], self.latent_size, self.latent_mean, self.latent_std, old_mean, old_std)

    def keep_tasks(self, latents: Tensor, variance: Tensor) -> None:
        """Keep the training tasks' mean z (N, Z), and the mean squared errors with them (1 + S), the reward's first."""
        self.task_latents = latents
        self.error_variance.copy_(variance)

    def predict_rewards(self, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        """R_psi: normalised rewards (...) of normalised states (..., S), actions (..., A) and z (..., Z)."""
        rewards: Tensor = self.reward_model(self.normaliser.local(states), actions, latents)
        return rewards

    def predict_changes(self, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        """P_omega: normalised changes of state (..., S) of normalised states, actions and z."""
        changes: Tensor = self.dynamics_model(self.normaliser.local(states), actions, latents)
        return changes

    def predict_states(self, states: Tensor, actions: Tensor, latents: Tensor) -> Tensor:
        """P_omega: the next states (..., S), normalised, of normalised states and actions."""
        change = self.normaliser.raw_delta(self.predict_changes(states, actions, latents))
        return states + change / self.normaliser.state_std

    def predict_values(self, states: Tensor, latents: Tensor) -> Tensor:
        """V: discounted returns to go (...), in normalised rewards, of normalised states (..., S) and z (..., Z)."""
        values: Tensor = self.value_model(self.normaliser.local(states), latents) * self.value_std + self.value_mean
        return values

    def save(self, path: Path, header: dict[str, Any]) -> None:
        """Write weights, normaliser and configuration as one safetensors file."""
        own = {
            "observation_size": self.observation_size,
            "action_size": self.action_size,
            "context": self.config.model_dump(),
            "representation": self.representation,
            "parameter_size": self.parameter_size,
            "tasks": len(self.task_latents),
        }
        write_tensors(path, self.state_dict(), own | header)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> tuple[ContextModel, dict[str, Any]]:
        """Read what ``save`` wrote. Raises ``InputError`` if the file is missing, damaged or something else."""

        def build(header: dict[str, Any]) -> ContextModel:
            sizes = (header["observation_size"], header["action_size"])
            config = Context.model_validate(header["context"])
            return cls(*sizes, config, (), header["representation"], header["parameter_size"], header["tasks"])

        return load_module(path, device, build, "context", "train_context")


def _absorb(layer: nn.Module, size: int, mean: Tensor, std: Tensor, old_mean: Tensor, old_std: Tensor) -> None:
    """Change a first layer so that it gives the same output for latents standardised anew."""
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        weight = layer.weight[:, -size:] / old_std
        layer.bias.add_(weight @ (mean - old_mean))
        layer.weight[:, -size:] = weight * std
