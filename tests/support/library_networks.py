"""Small networks to convert with the library, including ones that fail at each stage."""

from __future__ import annotations

from collections.abc import Callable

import torch
from networks import BN, IN, trained_layer
from torch import Tensor, nn

from ssn_prune import convert
from ssn_prune.checkpoint.loading import LoadedCheckpoint, Source
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.normalizer import NormalizerPair

IN_BN = NormalizerPair(IN, BN)
Then = Callable[["OneLayer", Tensor], Tensor]


class OneLayer(nn.Module):
    """A convolution and a layer over (N, 2, 5, 5), and what ``then`` does."""

    def __init__(
        self,
        channels: int = 3,
        pair: NormalizerPair = IN_BN,
        then: Then | None = None,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(channels)
        self.conv = nn.Conv2d(2, channels, 3)
        self.norm = trained_layer(channels, pair, channels)
        self.then = then
        with torch.no_grad():
            for parameter in self.conv.parameters():
                parameter.normal_(generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return y if self.then is None else self.then(self, y)


def as_loaded(model: nn.Module) -> LoadedCheckpoint:
    source = Source("c.pth", "0" * 64, "zip", None, (), "", 0, "one", {}, {})
    return LoadedCheckpoint(model, (2, 5, 5), source)


def convert_one_layer(path: str) -> None:
    """For spawned processes, which find only the modules of this folder."""
    convert(as_loaded(OneLayer()), path)


def _branch_on_values(model: OneLayer, y: Tensor) -> Tensor:
    return y if bool(y.sum() > 1e9) else y + 1


def _unknown_operator(model: OneLayer, y: Tensor) -> Tensor:
    return torch.special.bessel_j0(y)


def _fixed_batch(model: OneLayer, y: Tensor) -> Tensor:
    return y.reshape(2, 3, 9)


def _asks_for_the_class(model: OneLayer, y: Tensor) -> Tensor:
    return y if isinstance(model.norm, SSN2d) else 2 * y


def _draws(model: OneLayer, y: Tensor) -> Tensor:
    return y + torch.rand(())


def _unfinished() -> OneLayer:
    model = OneLayer()
    with torch.no_grad():
        model.norm.mean_fixed.zero_()
        model.norm.mean_weight.copy_(torch.tensor([0.4, 0.35, 0.25]))
    return model


# By what fails: a network, and the code of the error.
FAILING: dict[str, tuple[Callable[[], OneLayer], str]] = {
    "no function of its input": (lambda: OneLayer(then=_draws), "unsupported_layer"),
    "unfinished gates": (_unfinished, "unconverged_gates"),
    "capture": (lambda: OneLayer(then=_branch_on_values), "export_failed"),
    "translation": (lambda: OneLayer(then=_unknown_operator), "export_failed"),
    "batch size": (lambda: OneLayer(then=_fixed_batch), "export_failed"),
    "checks": (lambda: OneLayer(then=_asks_for_the_class), "verification_failed"),
}
