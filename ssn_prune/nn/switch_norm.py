"""SwitchNorm1d, SwitchNorm2d and SwitchNorm3d: softmax gates (arXiv 1806.10779)."""

from __future__ import annotations

from torch import Tensor

from ssn_prune.nn.functional import SolvedGates
from ssn_prune.nn.fused import GateInputs, GateKind
from ssn_prune.nn.single_gate import softmax_gate
from ssn_prune.nn.switchable import SwitchableNorm


class SwitchNorm(SwitchableNorm):
    """What SwitchNorm1d, 2d and 3d share. The softmax gates are never one-hot."""

    def _ratios(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        return mean.softmax(dim=0), var.softmax(dim=0)

    def _gate_inputs(self) -> GateInputs:
        return GateInputs(GateKind.SOFTMAX, self.mean_weight, self.var_weight)

    def solved_gates(self) -> SolvedGates:
        """See the base class."""
        mean, var = self.mean_weight.tolist(), self.var_weight.tolist()
        return SolvedGates(softmax_gate(mean), softmax_gate(var), self._ratios)


class SwitchNorm1d(SwitchNorm):
    """Switchable Normalization over (N, C) or (N, C, L).

    See :class:`ssn_prune.nn.switchable.SwitchableNorm`.
    """

    dims = (2, 3)


class SwitchNorm2d(SwitchNorm):
    """Switchable Normalization over (N, C, H, W).

    See :class:`ssn_prune.nn.switchable.SwitchableNorm`.
    """

    dims = (4,)


class SwitchNorm3d(SwitchNorm):
    """Switchable Normalization over (N, C, D, H, W).

    See :class:`ssn_prune.nn.switchable.SwitchableNorm`.
    """

    dims = (5,)
