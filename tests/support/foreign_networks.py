"""Networks with layers that do not come from the package: pruned correctly, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from foreign_layers import HabitualSwitch
from torch import Tensor, nn

from ssn_prune import prune
from ssn_prune.errors import UnsupportedLayerError

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def network(scale: float = 1.0, kind: Callable[..., nn.Module] = HabitualSwitch, **options: Any):
    """Convolution, layer, convolution; the layer's inputs have deviations of about ``scale``."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), kind(8, **options), nn.Conv2d(8, 4, 1)]
    with torch.no_grad():
        layers[0].weight.mul_(scale)
        layers[0].bias.mul_(scale)
        layers[1].running_var.mul_(scale**2)
        layers[1].running_mean.mul_(scale)
    return nn.Sequential(*layers).eval()


def checked(model: nn.Module, x: Tensor = X):
    """Prune, and require that the result agrees with the model's own code."""
    result = prune(model, x, on_unconverged="exact")
    with torch.no_grad():
        expected = model.double()(x.double())
        found = result.model(x)
    model.float()
    assert float((found - expected).abs().max() / expected.abs().max()) < 2e-5
    assert result.given is not None
    return result.report.adoption


def refused(model: nn.Module, x: Tensor = X, **options: Any) -> UnsupportedLayerError:
    with pytest.raises(UnsupportedLayerError) as caught:
        prune(model, x, on_unconverged="exact", **options)
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.hint
    return caught.value


def raising(error: type[Exception], accepts: Callable[[Tensor], bool]) -> Callable[[Tensor], None]:
    def guard(x: Tensor) -> None:
        if not accepts(x):
            raise error("not this input")

    return guard


GUARDS = {
    "width 16": lambda x: x.shape[-1] == 16,
    "width % 4": lambda x: x.shape[-1] % 4 == 0,
    "even batch": lambda x: len(x) % 2 == 0,
    "large images": lambda x: x[0, 0].numel() > 100,
}
