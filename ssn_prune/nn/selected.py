"""The trainable form of a layer whose gates are one-hot: it computes only the selected statistics.

Equal pairs are torch's own modules where these are exactly the same (see
:func:`ssn_prune.freeze_selected`); everything else is a :class:`SelectedNorm`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssn_prune.nn.functional import SolvedGates
from ssn_prune.nn.fused import GateInputs, GateKind
from ssn_prune.nn.plane_norm import PlaneNorm
from ssn_prune.nn.planes import reads_host
from ssn_prune.nn.single_gate import frozen_gate
from ssn_prune.normalizer import Normalizer, NormalizerPair


class SelectedNorm(PlaneNorm):
    """One pair of normalizers, with the training behaviour of a switchable layer.

    .. code-block:: text

        y = weight * (x - mean_a) / sqrt(var_b + eps) + bias,   a, b in IN, LN, BN

    Args:
        num_features: C.
        pair: The sources of mean and variance.
        dims: Numbers of axes that an input (N, C, ...) may have.
        eps: Added to the variance.
        momentum: torch's convention; None for the plain average.
        affine: Learn ``weight`` and ``bias``.
        track_running_stats: Keep running statistics, if the pair uses BN.
        correction: The kind of variance; see :mod:`ssn_prune.nn.variance_kind`.
    """

    mean_ratios: Tensor
    var_ratios: Tensor

    def __init__(
        self,
        num_features: int,
        pair: NormalizerPair,
        dims: tuple[int, ...],
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        correction: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        used = tuple(n for n in Normalizer if n in (pair.mean, pair.var))
        super().__init__(
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            normalizers=used,
            correction=correction,
            device=device,
            dtype=dtype,
        )
        self.pair = pair
        self.dims = dims
        for name, choice in (("mean_ratios", pair.mean), ("var_ratios", pair.var)):
            ratios = torch.tensor([float(n is choice) for n in used], device=device)
            self.register_buffer(name, ratios, persistent=False)

    def _ratios_for(self, input: Tensor) -> tuple[tuple[Tensor, Tensor], SolvedGates | None]:
        gates = (self.mean_ratios, self.var_ratios)
        if not reads_host(self.mean_ratios, input):
            return gates, None
        mean, var = (
            frozen_gate([float(normalizer is choice) for normalizer in self.normalizers])
            for choice in (self.pair.mean, self.pair.var)
        )
        return gates, SolvedGates(mean, var, lambda p, q: (p, q))

    def _gate_inputs(self) -> GateInputs:
        return GateInputs(GateKind.GIVEN, self.mean_ratios, self.var_ratios)

    def extra_repr(self) -> str:
        """Show the pair with torch's settings."""
        return f"{super().extra_repr()}, pair={self.pair}"
