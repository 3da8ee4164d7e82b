"""What the denoiser costs on this machine, and why it is built as it is.

Prints, for one thread and the sizes of a preset: the rate at which the temporal U-Net computes, forward and in
training, as a share of what a plain matrix product reaches in the same run; then the time of one convolution in the
layouts that were candidates.

    OMP_NUM_THREADS=1 python benchmarks/denoiser.py [--preset presets/laptop.yaml] [--batch 100] [--repeats 30]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from measure import MATRIX_OPERATIONS, alternate, matrix_product, operations
from torch import Tensor
from torch.nn import functional

from metadiffuser.config.loading import load
from metadiffuser.config.params import Params
from metadiffuser.diffusion.layers import Convolution
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.diffusion.training import diffusion_loss
from metadiffuser.envs import get_family

FAMILIES = ("point_robot", "cheetah_vel")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="presets/laptop.yaml")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in FAMILIES:
        denoiser(name, load(options.preset), options.batch, options.repeats)
    for horizon, channels in ((16, 32), (8, 64), (4, 128)):
        layouts(options.batch, horizon, channels, options.repeats)


def denoiser(name: str, params: Params, batch: int, repeats: int) -> None:
    """Print forward and training rates of one family's denoiser."""
    family, config = get_family(name), params.section("diffusion", name)
    latent_size = params.section("context", name).latent_size
    model = DiffusionModel(family.observation_size, family.action_size, latent_size, config)
    shape = (batch, config.horizon, family.observation_size + family.action_size)
    clean, noise, latents = torch.randn(shape), torch.randn(shape), torch.randn(batch, latent_size)
    steps = torch.randint(1, config.denoising_steps + 1, (batch,))
    known, mask = torch.ones(batch, dtype=torch.bool), torch.ones(shape[:2], dtype=torch.bool)
    condition = (model.network.task_condition(latents, known) + model.network.step_condition(steps)).detach()
    optimiser = torch.optim.Adam(model.network.parameters(), fused=True)

    def forward() -> Tensor:
        with torch.inference_mode():
            return model.network(clean, condition)

    def train() -> None:
        optimiser.zero_grad(set_to_none=True)
        diffusion_loss(model, clean, mask, latents, known, steps, noise).backward()
        optimiser.step()

    functions = {"forward": forward, "training step": train}
    counted = {label: operations(function) for label, function in functions.items()}
    taken = alternate({"product": matrix_product(), **functions}, repeats)
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    print(f"{name}: {parameters} parameters, {counted['forward'] / batch / 1e6:.2f} MFLOP a segment, batch {batch}")
    for label, flops in counted.items():
        # Shares of neighbours in time: a machine that others use is not equally fast throughout.
        pairs = zip(taken[label], taken["product"], strict=True)
        share = statistics.median(flops / own / (MATRIX_OPERATIONS / plain) for own, plain in pairs)
        print(f"  {label}: {1e3 * statistics.median(taken[label]):.2f} ms, {share:.0%} of a matrix product's rate")


def layouts(batch: int, horizon: int, channels: int, repeats: int) -> None:
    """Print the time of one convolution by torch in its own layout, over unfolded copies, and with time first."""
    layer = Convolution(channels, channels)
    x = torch.randn(horizon, batch, channels)
    by_channel, by_segment = x.permute(1, 2, 0).contiguous(), x.transpose(0, 1).contiguous()
    kernel = layer.weight.detach().transpose(1, 2).contiguous().requires_grad_()
    taps = layer.weight.detach().permute(1, 2, 0).flatten(0, 1).contiguous().requires_grad_()

    def unfold(x: Tensor) -> Tensor:
        padded = functional.pad(x, (0, 0, 1, 1))
        return torch.cat([padded[:, tap : tap + horizon] for tap in range(3)], dim=2).flatten(0, 1) @ taps

    candidates: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
        "Conv1d": (lambda x: functional.conv1d(x, kernel, padding=1), by_channel),
        "unfolded": (unfold, by_segment),
        "time first": (layer, x),
    }
    calls: dict[str, Callable[[], object]] = {}
    for label, (function, given) in candidates.items():
        calls[label] = torch.inference_mode()(partial(function, given))
        gradient = torch.ones_like(function(given))
        calls[f"{label}, trained"] = partial(with_gradients, function, given.requires_grad_(), gradient)
    taken = alternate(calls, repeats)
    times = "; ".join(f"{label} {1e6 * statistics.median(seconds):.0f} us" for label, seconds in taken.items())
    print(f"convolution of {channels} channels, horizon {horizon}: {times}")


def with_gradients(function: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor) -> None:
    """Go forth and back through ``function``."""
    function(x).backward(gradient)


if __name__ == "__main__":
    main()
