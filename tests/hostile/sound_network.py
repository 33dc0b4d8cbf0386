"""The network that the sound weights belong to."""

from __future__ import annotations

from torch import Tensor, nn

from ssn_prune import SSN2d


class Network(nn.Module):
    """A convolution and one switchable layer over (N, 3, 8, 8)."""

    input_size = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 4, 1, bias=False)
        self.n = SSN2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.n(self.c(x))
