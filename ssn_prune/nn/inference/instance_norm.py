"""IN/IN: an instance norm for any number of positions."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from ssn_prune.nn.axes import per_channel, require_dims
from ssn_prune.nn.planes import positions_of


class InstanceNorm(_InstanceNorm):
    """IN/IN: torch's InstanceNorm, which here also takes one position and may be tied to one size.

    One position is its own mean, so the result is the bias.

    Args:
        num_features: C.
        eps: Added to the biased variance.
        affine: Whether there are ``weight`` and ``bias``.
        positions: If given, the only number of positions for which the constants are exact.
        centre: If given, shape (C,): subtracted first. It changes nothing but the rounding.
    """

    dims: ClassVar[tuple[int, ...]]
    centre: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float,
        affine: bool = True,
        positions: int | None = None,
        centre: Tensor | None = None,
    ) -> None:
        super().__init__(num_features, eps=eps, affine=affine)
        self.positions = positions
        if centre is None:
            self.centre = None
        else:  # first: torch.export miscounts buffers that follow empty ones of a root
            self._buffers = {"centre": centre, **self._buffers}

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (N, C, *); see the class.

        Raises:
            ValueError: The layer is tied to another spatial size, or made for other dimensions.
        """
        require_dims(input, self.dims)
        if self.positions is not None and positions_of(input) != self.positions:
            raise ValueError(
                f"this instance norm is exact for {self.positions} positions only, got "
                f"{tuple(input.shape)}; prune again at that input size"
            )
        x = input if self.centre is None else input - per_channel(self.centre, input)
        if positions_of(x) == 1:
            # Runtimes round x * scale and mean * scale separately; scale may be 1/sqrt(eps).
            zero = x - x
            if not self.affine:
                return zero
            return zero * per_channel(self.weight, x) + per_channel(self.bias, x)
        return torch.instance_norm(
            x, self.weight, self.bias, None, None, True, 0.0, self.eps, False
        )


class InstanceNorm1d(InstanceNorm, nn.InstanceNorm1d):
    """IN/IN over (N, C) or (N, C, L); see :class:`InstanceNorm`."""

    dims = (2, 3)


class InstanceNorm2d(InstanceNorm, nn.InstanceNorm2d):
    """IN/IN over (N, C, H, W); see :class:`InstanceNorm`."""

    dims = (4,)


class InstanceNorm3d(InstanceNorm, nn.InstanceNorm3d):
    """IN/IN over (N, C, D, H, W); see :class:`InstanceNorm`."""

    dims = (5,)
