"""The denoiser's layers against torch.nn's, its gradients against finite differences, and what its sizes do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from metadiffuser.diffusion.layers import Convolution, modulate
from metadiffuser.diffusion.unet import EMBEDDING, ResidualBlock, TemporalUNet
from tests.helpers.models import A, S, Z, make_diffusion


def conv1d(layer: Convolution, x: Tensor) -> Tensor:
    """The same convolution by torch, on features (B, C, H)."""
    return functional.conv1d(x, layer.weight.transpose(1, 2), padding=1)


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.transpose(1, 2)).transpose(1, 2)


def plain_block(block: ResidualBlock, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    hidden = conv1d(block.first, x)
    hidden = hidden / (hidden.square().mean(dim=(1, 2), keepdim=True) + 1e-5).sqrt()
    hidden = functional.silu(hidden * scale[..., None] + shift[..., None])
    return conv1d(block.second, hidden) + linear(block.shortcut, x)


def plain_unet(network: TemporalUNet, x: Tensor, condition: Tensor) -> Tensor:
    """The network as one would write it with torch's own layers, on features (B, C, H)."""
    parts = iter(network.modulate(functional.silu(condition)).split(network.modulations, dim=1))
    hidden = conv1d(network.enter, x.transpose(1, 2))
    skips = []
    for level, block in enumerate(network.down):
        assert isinstance(block, ResidualBlock)
        hidden = plain_block(block, hidden, next(parts), next(parts))
        skips.append(hidden)
        if level < len(network.shrink):
            layer = network.shrink[level]
            weight = layer.weight.unflatten(1, (2, -1)).transpose(1, 2)  # type: ignore[operator]
            hidden = functional.conv1d(hidden, weight, layer.bias, stride=2)  # type: ignore[arg-type]
    hidden = plain_block(network.middle, hidden, next(parts), next(parts))
    for level, block in enumerate(network.up):
        assert isinstance(block, ResidualBlock)
        hidden = plain_block(block, torch.cat([hidden, skips.pop()], dim=1), next(parts), next(parts))
        if level < len(network.grow):
            layer = network.grow[level]
            weight = layer.weight.unflatten(0, (2, -1)).permute(2, 1, 0)  # type: ignore[operator]
            hidden = functional.conv_transpose1d(hidden, weight, stride=2)
            hidden = hidden + layer.bias.unflatten(0, (2, -1)).T.repeat(1, hidden.shape[2] // 2)  # type: ignore[operator]
    return conv1d(network.leave, hidden).transpose(1, 2) + network.offset


@pytest.mark.parametrize("multipliers", [[1], [1, 2], [1, 2, 4]])
def test_the_network_equals_its_plain_formulation(multipliers: list[int]) -> None:
    torch.manual_seed(0)
    network = TemporalUNet(S + A, Z, 8, multipliers, 6).double()
    x, latents = torch.randn(3, 8, S + A).double(), torch.randn(3, Z).double()
    condition = network.task_condition(latents, torch.tensor([True, False, True]))
    condition = condition + network.step_condition(torch.tensor([1, 4, 6]))
    ours, plain = network(x, condition), plain_unet(network, x, condition)
    assert torch.allclose(ours, plain)
    weights = torch.randn_like(x)
    parameters = list(network.parameters())
    gradients = torch.autograd.grad((ours * weights).sum(), parameters, retain_graph=True)
    expected = torch.autograd.grad((plain * weights).sum(), parameters)
    for (name, _), gradient, reference in zip(network.named_parameters(), gradients, expected, strict=True):
        assert torch.allclose(gradient, reference), name


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_gradients_agree_with_finite_differences(horizon: int) -> None:
    generator = torch.Generator().manual_seed(0)

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    layer, x = Convolution(4, 6).double(), values(horizon, 3, 4)
    assert torch.autograd.gradcheck(lambda x, _: layer(x), (x, layer.weight))
    assert torch.autograd.gradcheck(modulate, (x, values(3, 4), values(3, 4)))


def test_convolutions_leave_time_first_in_memory() -> None:
    layer, x = Convolution(4, 6), torch.randn(5, 3, 4, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.is_contiguous(), "what follows would be computed over places far apart in memory"
    assert x.grad is not None
    assert x.grad.is_contiguous()


def test_without_gradients_the_same_comes_out_and_nothing_given_changes() -> None:
    network = make_diffusion().network
    x, condition = torch.randn(4, 8, S + A), torch.randn(4, EMBEDDING)
    kept, before = x.clone(), condition.clone()
    with torch.inference_mode():
        without = network(x, condition)
    assert torch.equal(x, kept)
    assert torch.equal(condition, before)
    assert torch.equal(without, network.requires_grad_()(x, condition))


def test_segments_of_a_batch_do_not_see_each_other() -> None:
    network = make_diffusion().network
    x, condition = torch.randn(4, 8, S + A), torch.randn(4, EMBEDDING)
    changed = x.clone()
    changed[1:] += 10.0
    assert torch.equal(network(x, condition)[0], network(changed, condition)[0])


@pytest.mark.parametrize("changes", [{"width": 16}, {"multipliers": [1, 3]}, {"multipliers": [1, 2, 2]}])
def test_width_and_multipliers_are_the_channels_of_the_levels(changes: dict[str, Any]) -> None:
    model = make_diffusion(**changes)
    channels = [model.config.width * multiplier for multiplier in model.config.multipliers]
    assert [block.second.weight.shape[0] for block in model.network.down] == channels  # type: ignore[index, union-attr]
    assert model.network.middle.second.weight.shape == (channels[-1], 3, channels[-1])
    assert model.network(torch.randn(2, 8, S + A), model.network.null.expand(2, -1)).shape == (2, 8, S + A)


def test_a_new_network_passes_its_features_on_as_they_are() -> None:
    torch.manual_seed(0)
    network = TemporalUNet(S + A, Z, 8, [1, 2], 6)
    parts = network.modulate.bias.split(network.modulations)
    for part, expected in zip(parts, [1.0, 0.0] * 5, strict=True):  # scale and shift of five blocks
        assert part.tolist() == pytest.approx([expected] * len(part), abs=EMBEDDING**-0.5)
