"""How well z and its models carry over to tasks that they were not trained on, by encoder, setting and quality.

Trains on the training tasks of a family but the last few, and measures: what a linear probe with one task left out
reads of the task's parameters, over all tasks (the sum of R^2 over parameters, negative ones as 0), and, on the tasks
that were not trained on, root mean squared errors of reward and change of state (normalised units), each by the quality
of the context. Unseen test tasks have no part in it, so settings may be chosen by what it prints. Reads the datasets of
the preset in force (``metadiffuser use``).

    python benchmarks/context.py [--family point_robot] [--steps 1500] [--held-out 9] [--seeds 1] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from metadiffuser import paths
from metadiffuser.config.loading import load
from metadiffuser.config.schema import Context
from metadiffuser.context.encoder import ContextEncoder, mlp
from metadiffuser.context.predictions import predictions
from metadiffuser.context.probe import explained, left_out
from metadiffuser.context.representation import ContextModel
from metadiffuser.context.training import encode_some, encode_tasks, train_context
from metadiffuser.data.episodes import Episodes
from metadiffuser.data.minari_store import read_family
from metadiffuser.data.normaliser import Normaliser
from metadiffuser.data.windows import TaskData, draw_transitions
from metadiffuser.envs import Family, Task, get_family
from metadiffuser.envs.shared.tasks import read_tasks, split

CONTEXTS = 16  # per held-out task and quality
TARGETS = 64  # transitions predicted for each
HEADS = 4
GATES = 8


class Pooled(ContextEncoder):
    """The encoder that was: gated means of the transitions, with or without attention between them before."""

    def __init__(self, sizes: tuple[int, int], outputs: int, width: int, attention: bool):
        super().__init__(*sizes, outputs, width)
        del self.regress, self.log_ridge
        self.attention = nn.MultiheadAttention(width, HEADS, batch_first=True) if attention else None
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feedforward = mlp([width, 2 * width, width])
        self.gate = nn.Linear(width, GATES)
        self.head = mlp([GATES * width, 2 * width, outputs])

    def forward(self, contexts: Tensor, mask: Tensor, normaliser: Normaliser) -> Tensor:
        """Return z (B, Z) of contexts (B, K, 2S + A + 1) with mask (B, K)."""
        tokens = self.embed(self.features(contexts, normaliser))
        if self.attention is not None:
            shown = self.before(tokens)
            tokens = tokens + self.attention(shown, shown, shown, key_padding_mask=~mask, need_weights=False)[0]
        tokens = tokens + self.feedforward(self.between(tokens))
        gates = functional.softmax(self.gate(tokens).masked_fill(~mask[..., None], float("-inf")), dim=1)
        return self.head(torch.einsum("bkg,bkf->bgf", gates, tokens).flatten(1))


VARIANTS: dict[str, dict[str, Any]] = {
    "least squares (the default)": {},
    "set transformer, gated means": {"attention": True},
    "gated means": {"attention": False},
    "variational, KL 0.001": {"latent": "variational", "kl_weight": 0.001},
    "variational, KL 0.01": {"latent": "variational", "kl_weight": 0.01},
    "consecutive window": {"window": "consecutive"},
    "noise 0.1 on z": {"latent_noise": 0.1},
    "weight decay 0.01": {"weight_decay": 0.01},
    "twice the tasks a step, half the targets": {"double": True},
    "twice the Z": {"wide": True},
    "Huber loss": {"loss": "huber"},
    "whole episodes": {"context_length": 200},
    "regression of 32 x 16": {"regressors": 32, "regression_targets": 16},
    "Huber loss, whole episodes": {"loss": "huber", "context_length": 200},
    "Huber loss, whole episodes, 32 x 16": {
        "loss": "huber",
        "context_length": 200,
        "regressors": 32,
        "regression_targets": 16,
    },
}


@dataclass(frozen=True)
class Bench:
    """Training tasks of a family, the last ``held_out`` of which are measured on."""

    family: Family
    tasks: list[Task]
    episodes: dict[str, dict[int, Episodes]]
    held_out: int

    def data(self, rows: slice, *qualities: str) -> TaskData:
        """Return the episodes of some tasks, of all qualities if none is named."""
        chosen = {quality: self.episodes[quality] for quality in qualities or self.episodes}
        return TaskData.stack(chosen, [task.index for task in self.tasks[rows]])


def variant(name: str, config: Context) -> Context:
    """Return the settings of a variant."""
    changes = dict(VARIANTS[name])
    changes.pop("attention", None)
    if changes.pop("double", False):
        changes |= {"task_batch": 2 * config.task_batch, "target_batch": config.target_batch // 2}
    if changes.pop("wide", False):
        changes |= {"latent_size": 2 * config.latent_size}
    return config.model_copy(update=changes)


def train(name: str, seed: int, config: Context, bench: Bench) -> tuple[ContextModel, float]:
    """Return a variant's model and the milliseconds of CPU that a step of its training took."""
    torch.manual_seed(seed)
    sizes = (bench.family.observation_size, bench.family.action_size)
    model = ContextModel(*sizes, config, bench.family.unbounded_dims)
    if "attention" in VARIANTS[name]:
        model.encoder = Pooled(sizes, config.latent_size, config.encoder_width, VARIANTS[name]["attention"])
    data, generator = bench.data(slice(0, -bench.held_out)), torch.Generator().manual_seed(seed)
    before = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        train_context(model, data, generator, Path(folder) / "training.safetensors")
    return model.eval(), 1000 * (time.process_time() - before) / config.steps


@torch.no_grad()
def measure(model: ContextModel, bench: Bench) -> dict[str, list[float]]:
    """Return what the probe reads, reward error and dynamics error, by quality of the context."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(bench.held_out).repeat(CONTEXTS)
    targets = draw_transitions(bench.data(slice(-bench.held_out, None)), rows, TARGETS, generator)
    vectors = np.stack([task.vector for task in bench.tasks])
    found = {}
    for quality in bench.episodes:
        latents = encode_tasks(model, bench.data(slice(None), quality), CONTEXTS, generator).numpy().mean(axis=1)
        read = np.maximum(explained(*left_out(latents, vectors)), 0).sum()
        z = encode_some(model, bench.data(slice(-bench.held_out, None), quality), rows, generator)
        predicted = predictions(model, z, targets)
        errors = [
            float((own - true).square().mean().sqrt()) for own, true in zip(predicted[:2], predicted[2:], strict=True)
        ]
        found[quality] = [float(read), *errors]
    return found


def main() -> None:
    """Measure and print, a row a variant: the mean over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="point_robot")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--held-out", type=int, default=9)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME")
    options = parser.parse_args()
    torch.set_num_threads(1)
    params = load()
    config = params.section("context", options.family).model_copy(update={"steps": options.steps})
    where = {"preset": params.preset, "family": options.family}
    dataset = Path(paths.DATASET.format(**where))
    tasks = split(read_tasks(Path(paths.TASKS.format(**where)), dataset), "train")
    episodes = read_family(dataset, tasks, config.qualities)
    bench = Bench(get_family(options.family), tasks, episodes, options.held_out)
    shown = ", ".join(config.qualities)
    print(f"{options.family}, {options.steps} steps; context quality {shown}")
    print("| variant | sum of R² | reward error | dynamics error | ms a step |\n|---|---|---|---|---|")
    for name in options.only:
        runs = [train(name, seed, variant(name, config), bench) for seed in range(options.seeds)]
        measured = np.mean([list(measure(model, bench).values()) for model, _ in runs], axis=0).T
        columns = [" / ".join(f"{value:.3f}" for value in values) for values in measured]
        print(f"| {name} | {' | '.join(columns)} | {np.mean([spent for _, spent in runs]):.1f} |", flush=True)


if __name__ == "__main__":
    main()
