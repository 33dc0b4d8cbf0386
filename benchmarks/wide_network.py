"""A network that consists almost only of weights: sixteen convolutions on small maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssn_prune import SSN2d

PAIRS = ((0, 2), (2, 2), (2, 0), (1, 1)) * 4  # IN/BN, BN/BN, BN/IN, LN/LN


class WideNetwork(nn.Module):
    """(N, 3, 16, 16) to 10 classes.

    Args:
        width: Channels; sixteen convolutions hold 9 width^2 weights each.
    """

    input_size = (3, 16, 16)

    def __init__(self, width: int = 600) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        convs = [nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in PAIRS]
        self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(SSN2d(width) for _ in PAIRS)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Classify."""
        x = nn.functional.max_pool2d(self.stem(x), 4)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.relu(norm(conv(x)))
        return self.head(x.mean((2, 3)))


def width_of(megabytes: float) -> int:
    """Channels of a network with about ``megabytes`` of weights."""
    width = int((megabytes * 1e6 / 4 / (9 * len(PAIRS))) ** 0.5)
    # ONNX Runtime packs the kernels of such widths into its own layout, as in most networks.
    return max(16, width // 16 * 16)


def wide_network(megabytes: float, seed: int = 0) -> WideNetwork:
    """A network with about ``megabytes`` of weights and frozen gates."""
    torch.manual_seed(seed)
    model = WideNetwork(width_of(megabytes))
    with torch.no_grad():
        for norm, (mean, var) in zip(model.norms, PAIRS, strict=True):
            norm.mean_weight.copy_(torch.eye(3)[mean])
            norm.var_weight.copy_(torch.eye(3)[var])
            norm.mean_fixed.fill_(1)
            norm.var_fixed.fill_(1)
    return model.eval()
