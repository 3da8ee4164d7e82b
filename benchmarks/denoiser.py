"""What the denoiser costs on this machine, and why it is built as it is.

Prints, for one thread: the rate of a large matrix product; forward and training rates of the temporal U-Net at the
quick preset's sizes as a share of it; and the time of the activations and layouts that were candidates.

    python benchmarks/denoiser.py [--batch 128] [--repeats 20]
"""

from __future__ import annotations

import argparse

import torch
from measure import MATRIX, MATRIX_OPERATIONS, matrix_product, seconds
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from metadiffuser.config import load
from metadiffuser.diffusion.model import DiffusionModel
from metadiffuser.diffusion.training import diffusion_loss
from metadiffuser.envs import get_family

LATENT_SIZE = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    peak = MATRIX_OPERATIONS / seconds(matrix_product(), options.repeats)
    print(f"matrix product {MATRIX}x{MATRIX}: {peak / 1e9:.0f} GFLOP/s")
    params = load("presets/quick.yaml")
    for name in params.families:
        denoiser(name, params.section("diffusion", name), options, peak)
    candidates(options)


def denoiser(name: str, config: object, options: argparse.Namespace, peak: float) -> None:
    """Print forward and training rates of one family's denoiser."""
    family = get_family(name)
    model = DiffusionModel(family.observation_size, family.action_size, LATENT_SIZE, config)  # type: ignore[arg-type]
    size, horizon = options.batch, model.config.horizon
    clean = torch.randn(size, horizon, family.observation_size + family.action_size)
    steps = torch.randint(1, model.config.denoising_steps + 1, (size,))
    known = torch.ones(size, dtype=torch.bool)
    latents, mask = torch.randn(size, LATENT_SIZE), torch.ones(size, horizon, dtype=torch.bool)
    condition = (model.network.task_condition(latents, known) + model.network.step_condition(steps)).detach()
    optimiser = torch.optim.Adam(model.network.parameters(), fused=True)

    def forward() -> Tensor:
        with torch.inference_mode():
            return model.network(clean, condition)  # type: ignore[no-any-return]

    def train() -> None:
        loss = diffusion_loss(model, clean, mask, latents, known, steps, torch.randn_like(clean))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    with FlopCounterMode(display=False) as counter:
        model.network(clean, condition)
    operations = counter.get_total_flops()
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    print(f"{name}: {parameters} parameters, {operations / size / 1e6:.1f} MFLOP a segment, batch {size}")
    for label, function, factor in (("forward", forward, 1), ("training step", train, 3)):
        taken = seconds(function, options.repeats)
        share = factor * operations / taken / peak
        print(f"  {label}: {1e3 * taken:.1f} ms, {100 * share:.0f}% of the matrix product's rate")


def candidates(options: argparse.Namespace) -> None:
    """Print the time of activations and of convolution layouts on one layer's worth of features."""
    features = torch.randn(options.batch, 64, 16)
    for activation in (functional.silu, functional.mish, functional.gelu, functional.relu):
        taken = seconds(lambda activation=activation: activation(features), options.repeats)  # type: ignore[misc]
        print(f"{activation.__name__}: {1e6 * taken:.0f} us on {tuple(features.shape)}")
    convolution = nn.Conv1d(64, 64, 3, padding=1)
    weight = torch.randn(3 * 64, 64)
    rows = features.transpose(1, 2).contiguous()

    def shifted() -> Tensor:
        padded = functional.pad(rows, (0, 0, 1, 1))
        return torch.cat([padded[:, shift : shift + 16] for shift in range(3)], dim=-1).view(-1, 192) @ weight

    with torch.inference_mode():
        for label, function in (("Conv1d", lambda: convolution(features)), ("shifted matrix product", shifted)):
            print(f"{label}: {1e6 * seconds(function, options.repeats):.0f} us")


if __name__ == "__main__":
    main()
