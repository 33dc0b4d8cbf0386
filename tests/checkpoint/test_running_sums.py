"""Sums are told from averages by what the layers compute, whatever the size of the inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from foreign_layers import HabitualSwitch
from torch import Tensor, nn
from unlike_layers import VectorSwitch

import ssn_prune
from ssn_prune import ConvertOptions, SwitchNorm2d, convert, load_checkpoint, prune, recalibrate
from ssn_prune.checkpoint.running_sums import require_averages
from ssn_prune.errors import UnsupportedLayerError

IMAGES = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1))


class Scaling(nn.Module):
    """Scales its input, as code for images of bytes does."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def network(
    layers: int, inside: float = 1.0, weights: float = 1.0, kind: type[nn.Module] = SwitchNorm2d
) -> nn.Sequential:
    torch.manual_seed(0)
    modules: list[nn.Module] = [Scaling(inside)]
    for index in range(layers):
        conv = nn.Conv2d(8 if index else 3, 8, 3, padding=1, bias=False)
        nn.init.normal_(conv.weight, std=weights / 5)
        modules += [conv, kind(8), nn.ReLU()]
    return nn.Sequential(*modules).eval()


def trained(model: nn.Module, size: float) -> nn.Module:
    """Statistics of images from 0 to ``size``."""
    generator = torch.Generator().manual_seed(2)
    batches = [torch.rand(16, 3, 12, 12, generator=generator) * size for _ in range(4)]
    recalibrate(model, batches)
    return model


def summed(model: nn.Module, steps: int) -> nn.Module:
    for key, value in model.state_dict().items():
        if key.rpartition(".")[2] in ("running_mean", "running_var"):
            value.mul_(steps)
    return model


SIZES = [1.0, 255.0, 1 / 255]


@pytest.mark.parametrize("weights", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_averages_are_accepted(layers: int, size: float, weights: float) -> None:
    for inside in (1.0, 1 / size):
        require_averages(trained(network(layers, inside, weights), size), (IMAGES,))


@pytest.mark.parametrize("steps", [200, 10_000, 600_000])
@pytest.mark.parametrize("weights", [0.1, 1.0, 1e3])
@pytest.mark.parametrize("size", SIZES)
def test_sums_are_refused(size: float, weights: float, steps: int) -> None:
    for inside in {1 / size, max(1.0, 1 / size)}:  # smaller ones are far below eps
        model = summed(trained(network(3, inside, weights), size), steps)
        with pytest.raises(UnsupportedLayerError, match="sums over training steps"):
            require_averages(model, (IMAGES,))


def test_sums_in_the_only_layer_are_refused() -> None:
    model = summed(trained(network(1), 1.0), 10_000)
    with pytest.raises(UnsupportedLayerError, match="sums"):
        require_averages(model, (IMAGES,))


@pytest.mark.parametrize("make", [torch.zeros_like, torch.ones_like, lambda x: x * 1e4])
def test_the_examples_do_not_matter(make: Callable[[Tensor], Tensor]) -> None:
    x = make(IMAGES)
    require_averages(trained(network(2), 1.0), (x,))
    with pytest.raises(UnsupportedLayerError, match="sums"):
        require_averages(summed(trained(network(2), 1.0), 5000), (x,))


def test_a_network_that_refuses_noise_passes() -> None:
    class Bounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.abs().max() > 1:
                raise ValueError("values from 0 to 1, please")
            return x

    model = nn.Sequential(Bounded(), *summed(trained(network(2), 1.0), 5000))
    require_averages(model.eval(), (IMAGES.clamp(0, 1),))


# --- layers of another implementation ----------------------------------------------------------
def by_hand(model: nn.Sequential, images: Tensor) -> nn.Sequential:
    """Population statistics of every layer, as users write them down."""
    x = images
    for module in model:
        if isinstance(module, HabitualSwitch):
            channels = x.transpose(0, 1).flatten(1)
            module.using_moving_average = False
            module.running_mean.copy_(channels.mean(1).view(1, -1, 1))
            module.running_var.copy_(channels.var(1).view(1, -1, 1))
        with torch.no_grad():
            x = module(x)
    return model


@pytest.mark.parametrize("layers", [1, 2])
def test_averages_made_by_hand_are_accepted_whatever_the_flag_says(layers: int) -> None:
    model = by_hand(network(layers, kind=HabitualSwitch), torch.randn(64, 3, 12, 12))
    result = prune(model, IMAGES, on_unconverged="exact")
    with torch.no_grad():
        expected, found = model.double()(IMAGES.double()), result.model(IMAGES)
    assert float((found - expected).abs().max() / expected.abs().max()) < 2e-5


@pytest.mark.parametrize("flag", [True, False])
def test_sums_are_refused_whatever_the_flag_says(flag: bool) -> None:
    model = by_hand(network(2, kind=HabitualSwitch), torch.randn(64, 3, 12, 12))
    summed(model, 5000)
    for module in model:
        module.using_moving_average = flag
    with pytest.raises(UnsupportedLayerError, match="sums") as caught:
        prune(model, IMAGES, on_unconverged="exact")
    assert "ssn_prune.recalibrate" in str(caught.value.hint)
    assert "`trust_running_statistics=True`" in str(caught.value.hint)
    # What the hint says, done: first the second cure, then the first.
    prune(model, IMAGES, on_unconverged="exact", trust_running_statistics=True)
    assert ssn_prune.recalibrate(model, [torch.randn(64, 3, 12, 12)]) == 1
    prune(model, IMAGES, on_unconverged="exact")


def test_recalibrate_measures_what_layers_of_another_implementation_get() -> None:
    torch.manual_seed(0)
    data = [torch.randn(16, 3, 12, 12) * 2 + 1 for _ in range(3)]
    model = network(2, kind=HabitualSwitch)
    own = network(2, kind=lambda channels: SwitchNorm2d(channels, correction=1))
    own.load_state_dict(model.state_dict())
    kept = model[2].running_mean
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    assert recalibrate(model, data) == recalibrate(own, data) == 3
    assert model[2].running_mean is kept
    assert type(model[2]) is HabitualSwitch
    for key, value in model.state_dict().items():
        assert torch.equal(value.flatten(), own.state_dict()[key].flatten()), key
        assert ("running_" in key) != torch.equal(value, weights[key]), key


def test_recalibrate_on_vectors_and_beside_batch_norm() -> None:
    torch.manual_seed(0)
    layers = nn.Linear(6, 8), VectorSwitch(8), nn.BatchNorm1d(8)
    model = nn.Sequential(*layers).eval()
    x = torch.randn(50, 6) * 3
    recalibrate(model, [x])
    with torch.no_grad():
        first = model[0](x)
    assert torch.allclose(model[1].running_mean.flatten(), first.mean(0), rtol=0, atol=1e-5)
    assert torch.allclose(model[1].running_var.flatten(), first.var(0), rtol=1e-5, atol=0)
    assert int(model[2].num_batches_tracked) == 1


class Bytes(nn.Module):
    """Divides by 255 inside, trained on bytes."""

    input_size = (3, 12, 12)

    def __init__(self) -> None:
        super().__init__()
        self.net = network(1, 1 / 255)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).mean((2, 3))


def test_convert_takes_a_network_that_scales_its_input(tmp_path: Path) -> None:
    model = Bytes()
    trained(model, 255.0)
    torch.save(model.state_dict(), tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth", arch=f"{__name__}:Bytes")
    options = ConvertOptions(on_unconverged="exact")
    assert convert(loaded, tmp_path / "net.onnx", options).verification.passed
