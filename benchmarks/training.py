"""Training speed of the denoiser beside a textbook temporal U-Net of equal floating-point operations.

The textbook network is a temporal U-Net in the manner of Diffuser (Janner et al., 2022), written down as one would
with torch's layers: Conv1d of five taps, GroupNorm, Mish, two blocks a level, the condition added as a shift; trained
with plain Adam, an exponential moving average in a loop over parameters, and segments normalised and cut out as they
are drawn. Its channels are chosen so that both networks have equally many operations, as torch counts them. Both train
in turn in one run, on one thread, on the same synthetic episodes.

    OMP_NUM_THREADS=1 python benchmarks/training.py [--preset presets/laptop.yaml] [--repeats 30]
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import cast

import torch
from measure import alternate, operations
from torch import Tensor, nn
from torch.nn import functional

from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.config.schema import Diffusion
from metadiffuser.data.windows import TaskData, draw_segments
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.diffusion.training import diffusion_loss
from metadiffuser.envs import Family, get_family
from metadiffuser.training import MovingAverage

FAMILIES = ("point_robot", "cheetah_vel")
TASKS, EPISODES, STEPS, CONTEXTS = 45, 20, 40, 256  # of the synthetic data
TOLERANCE = 0.05  # largest difference of operations
CONDITION = 16  # features of the step, and of the task, in the textbook's condition
TAPS, GROUPS = 5, 8
Update = Callable[[], None]


class ConvolutionBlock(nn.Sequential):
    """Conv1d, GroupNorm, Mish."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(nn.Conv1d(inputs, outputs, TAPS, padding=TAPS // 2), nn.GroupNorm(GROUPS, outputs), nn.Mish())


class TextbookBlock(nn.Module):
    """Two convolution blocks, the condition added between them, and a shortcut."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first, self.second = ConvolutionBlock(inputs, outputs), ConvolutionBlock(outputs, outputs)
        self.condition = nn.Sequential(nn.Mish(), nn.Linear(2 * CONDITION, outputs))
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return (B, outputs, H)."""
        hidden = self.first(x) + self.condition(condition)[..., None]
        return self.second(hidden) + self.shortcut(x)


class SinusoidalEmbedding(nn.Module):
    """Sines and cosines of the denoising step."""

    def forward(self, steps: Tensor) -> Tensor:
        """Return (B, CONDITION) of k (B,)."""
        half = CONDITION // 2
        frequencies = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
        angles = steps[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class TextbookUNet(nn.Module):
    """A temporal U-Net over segments (B, H, S + A) with two blocks a level."""

    def __init__(self, transition_size: int, latent_size: int, channels: Sequence[int]):
        super().__init__()
        wide = 4 * CONDITION
        self.step = nn.Sequential(
            SinusoidalEmbedding(), nn.Linear(CONDITION, wide), nn.Mish(), nn.Linear(wide, CONDITION)
        )
        self.task = nn.Sequential(nn.Linear(latent_size, wide), nn.Mish(), nn.Linear(wide, CONDITION))
        sizes = list(pairwise([transition_size, *channels]))
        self.down = nn.ModuleList(
            nn.ModuleList([TextbookBlock(inputs, outputs), TextbookBlock(outputs, outputs)])
            for inputs, outputs in sizes
        )
        self.shrink = nn.ModuleList(nn.Conv1d(size, size, 3, stride=2, padding=1) for size in channels[:-1])
        self.middle = nn.ModuleList(TextbookBlock(channels[-1], channels[-1]) for _ in range(2))
        self.up = nn.ModuleList(
            nn.ModuleList([TextbookBlock(2 * outputs, inputs), TextbookBlock(inputs, inputs)])
            for inputs, outputs in reversed(sizes[1:])
        )
        self.grow = nn.ModuleList(nn.ConvTranspose1d(size, size, 4, stride=2, padding=1) for size in channels[:-1])
        self.leave = nn.Sequential(
            ConvolutionBlock(channels[0], channels[0]), nn.Conv1d(channels[0], transition_size, 1)
        )

    def forward(self, x: Tensor, steps: Tensor, latents: Tensor, known: Tensor) -> Tensor:
        """Return the prediction (B, H, S + A)."""
        condition = torch.cat([self.step(steps), self.task(latents) * known[:, None]], dim=-1)
        hidden, skips = x.transpose(1, 2), []
        for level, pair in enumerate(self.down):
            for block in cast(nn.ModuleList, pair):
                hidden = block(hidden, condition)
            skips.append(hidden)
            if level < len(self.shrink):
                hidden = self.shrink[level](hidden)
        for block in self.middle:
            hidden = block(hidden, condition)
        for pair, grow in zip(self.up, self.grow, strict=True):
            hidden = torch.cat([hidden, skips.pop()], dim=1)
            for block in cast(nn.ModuleList, pair):
                hidden = block(hidden, condition)
            hidden = grow(hidden)
        return self.leave(hidden).transpose(1, 2)


def synthetic(family: Family) -> TaskData:
    """Return random walks in the sizes of a family."""
    states = torch.randn(TASKS, EPISODES, STEPS + 1, family.observation_size).cumsum(2) / 10
    actions = torch.rand(TASKS, EPISODES, STEPS, family.action_size) * 2 - 1
    rewards = torch.randn(TASKS, EPISODES, STEPS)
    rows = torch.cat([states[:, :, :-1], actions, rewards[..., None], states[:, :, 1:]], dim=-1)
    return TaskData(states, actions, rewards, rows, torch.zeros(TASKS, 0))


def denoiser(
    family: Family, config: Diffusion, data: TaskData, latents: Tensor
) -> tuple[Update, Callable[[], tuple[Tensor, ...]], DiffusionModel]:
    """Return a training step of the project's denoiser, as ``train_diffusion`` takes it, and its drawing alone."""
    model = DiffusionModel(family.observation_size, family.action_size, latents.shape[-1], config)
    model.normaliser.fit(data.observations, data.rewards)
    optimiser = torch.optim.Adam(model.network.parameters(), lr=config.learning_rate, fused=True)
    average = MovingAverage(model, config.ema_decay)
    rows, generator, count = model.rows(data), torch.Generator().manual_seed(0), config.batch_size

    def draw() -> tuple[Tensor, ...]:
        tasks, clean, mask = draw_segments(rows, config.horizon, count, generator)
        clean = model.relative(clean)
        chosen = latents[tasks, torch.randint(CONTEXTS, (count,), generator=generator)]
        known = torch.rand(count, generator=generator) >= config.condition_dropout
        steps = torch.randint(1, config.denoising_steps + 1, (count,), generator=generator)
        return clean, mask, chosen, known, steps, torch.randn(clean.shape, generator=generator)

    def update() -> None:
        loss = diffusion_loss(model, *draw())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        average.update()

    return update, draw, model


def textbook(
    family: Family, config: Diffusion, data: TaskData, latents: Tensor, channels: Sequence[int]
) -> tuple[Update, TextbookUNet]:
    """Return a training step of the textbook network."""
    size = family.observation_size
    model = DiffusionModel(size, family.action_size, latents.shape[-1], config)  # for its schedule and normaliser
    normaliser = model.normaliser.fit(data.observations, data.rewards)
    network = TextbookUNet(size + family.action_size, latents.shape[-1], channels)
    average = copy.deepcopy(network)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    generator, count = torch.Generator().manual_seed(0), config.batch_size

    def update() -> None:
        task = torch.randint(TASKS, (count, 1), generator=generator)
        episode = torch.randint(EPISODES, (count, 1), generator=generator)
        time = torch.randint(STEPS - config.horizon + 1, (count, 1), generator=generator) + torch.arange(config.horizon)
        states = normaliser.state(data.observations[task, episode, time])
        clean = torch.cat([states, data.actions[task, episode, time]], dim=-1)
        chosen = latents[task[:, 0], torch.randint(CONTEXTS, (count,), generator=generator)]
        known = torch.rand(count, generator=generator) >= config.condition_dropout
        steps = torch.randint(1, config.denoising_steps + 1, (count,), generator=generator)
        noisy = model.add_noise(clean, steps, torch.randn(clean.shape, generator=generator))
        weights = torch.ones_like(clean[0])
        weights[0, size:] = config.first_action_weight
        errors = functional.mse_loss(network(noisy, steps, chosen, known), clean, reduction="none")
        optimiser.zero_grad()
        (errors * weights).mean().backward()
        optimiser.step()
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), network.parameters(), strict=True):
                mean.data = mean.data * config.ema_decay + (1 - config.ema_decay) * parameter.data

    return update, network


def equal_channels(family: Family, config: Diffusion, latent_size: int, wanted: int) -> list[int]:
    """Return the channels of the textbook's two levels with which its forward pass has ``wanted`` operations."""
    size, count = family.observation_size + family.action_size, config.batch_size
    given = (torch.ones(count, dtype=torch.long), torch.zeros(count, latent_size), torch.ones(count))
    x = torch.zeros(count, config.horizon, size)
    differences = {}
    for narrow, wide in product(range(GROUPS, 17 * GROUPS, GROUPS), repeat=2):
        if 1.5 * narrow <= wide <= 3 * narrow:
            with torch.device("meta"):
                network = TextbookUNet(size, latent_size, [narrow, wide])
            arguments = [tensor.to("meta") for tensor in (x, *given)]
            network.step[0] = nn.Identity()  # its embedding has no products
            arguments[1] = arguments[1][:, None].expand(-1, CONDITION).float()
            counted = operations(lambda network=network, arguments=arguments: network(*arguments), padding=True)  # type: ignore[misc]
            differences[narrow, wide] = abs(counted / wanted - 1)
    best = min(differences, key=lambda channels: differences[channels])
    if differences[best] > TOLERANCE:
        raise SystemExit(f"no textbook network within {TOLERANCE:.0%} of {wanted} operations")
    return list(best)


def compare(name: str, params: Params, repeats: int) -> None:
    """Print samples per second of both, and their ratio, for one family."""
    family, config = get_family(name), params.section("diffusion", name)
    data, latent_size = synthetic(family), params.section("context", name).latent_size
    latents = torch.randn(TASKS, CONTEXTS, latent_size)
    ours, drawing, model = denoiser(family, config, data, latents)
    count, size = config.batch_size, family.observation_size + family.action_size
    x, steps, known = torch.randn(count, config.horizon, size), torch.ones(count, dtype=torch.long), torch.ones(count)
    condition = model.network.task_condition(latents[0, :count], known.bool()) + model.network.step_condition(steps)
    wanted = operations(lambda: model.network(x, condition), padding=True)
    channels = equal_channels(family, config, latent_size, wanted)
    plain, network = textbook(family, config, data, latents, channels)
    print(f"{name}: batch {count}, horizon {config.horizon}, textbook of {channels} channels")
    taken = alternate({"denoiser": ours, "textbook": plain, "drawing": drawing}, repeats)
    flops = {
        "denoiser": wanted,
        "textbook": operations(lambda: network(x, steps, latents[0, :count], known), padding=True),
    }
    for label, module in (("denoiser", model.network), ("textbook", network)):
        parameters = sum(parameter.numel() for parameter in module.parameters())
        rate = count / statistics.median(taken[label])
        counted = f"{flops[label] / count / 1e6:.2f} MFLOP a segment forward"
        print(f"  {label}: {rate:.0f} samples/s, {counted}, {parameters} parameters")
    ratio = statistics.median(slow / fast for fast, slow in zip(taken["denoiser"], taken["textbook"], strict=True))
    share = statistics.median(taken["drawing"]) / statistics.median(taken["denoiser"])
    print(f"  ratio {ratio:.2f}; drawing takes {share:.1%} of the denoiser's step")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="presets/laptop.yaml")
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in FAMILIES:
        compare(name, load(options.preset), options.repeats)


if __name__ == "__main__":
    main()
