"""What all switchable normalization layers share; use SSN1d/2d/3d or SwitchNorm1d/2d/3d.

.. code-block:: text

    y = weight * (x - sum_k p_k mean_k) / sqrt(sum_k q_k var_k + eps) + bias,   k in IN, LN, BN

p and q are two separate gates over the normalizers: SparsestMax for SSN (Shao et al., CVPR 2019,
arXiv 1903.03793, equation 3), softmax for SN (Luo et al., ICLR 2019, arXiv 1806.10779).

State dicts have torch's shapes: ``weight`` is (C,). The reference layout, with ``weight``
(1, C, 1, 1) and ``running_mean`` (1, C, 1), loads as it is, and the values stay the same bit by
bit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import ExportError
from ssn_prune.nn.extra_state import ExtraState
from ssn_prune.nn.functional import SolvedGates
from ssn_prune.nn.plane_norm import PlaneNorm
from ssn_prune.nn.planes import is_jit_traced, reads_host, wide_dtype
from ssn_prune.normalizer import Normalizer, offered_normalizers

_PER_CHANNEL = ("weight", "bias", "running_mean", "running_var")


class SwitchableNorm(PlaneNorm):
    """Base class of the switchable layers, with the conventions of torch's BatchNorm.

    Args:
        num_features: C, the channels of an input ``(N, C, *)``.
        eps: Added to the variance.
        momentum: Weight of the new batch statistics, torch's convention (the reference
            implementation's 0.997 is 0.003 here); None for the plain average over all training
            batches.
        affine: Learn ``weight`` and ``bias``.
        track_running_stats: Keep running statistics of BN for evaluation; without them BN uses the
            batch's own there too. Not used unless BN is offered.
        normalizers: The choices: two or all of IN, LN and BN.
        shared_gate: One gate for mean and variance: ``var_weight`` is ``mean_weight``.
        correction: 0 for the paper's biased variance; 1 for the Bessel-corrected variance of the
            reference implementation, which its checkpoints need; 2 for variances that each divide
            by their own number of values minus one, as in the reference SwitchNorm1d, whose inputs
            are (N, C). The running variance is of the same kind.
        zero_init: Start ``weight`` at 0, for the last normalizer of a residual block.

    With one position per channel (H = W = 1) the instance mean is the value itself and the instance
    variance is 0, so IN/IN gives ``bias``; training warns about that once. A Bessel-corrected
    variance of one value is 0/0 and training raises ValueError, unless ``correction=2`` and IN is
    not offered. The running variance is the population variance of the batch (of the kind that
    ``correction`` names), whereas torch's BatchNorm stores the unbiased estimate.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        normalizers: Iterable[Normalizer | str] = tuple(Normalizer),
        shared_gate: bool = False,
        correction: int = 0,
        zero_init: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        offered = offered_normalizers(normalizers)
        super().__init__(
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            normalizers=offered,
            correction=correction,
            device=device,
            dtype=dtype,
        )
        self.shared_gate = shared_gate
        self.zero_init = zero_init
        self.mean_weight = nn.Parameter(torch.empty(len(offered), device=device, dtype=dtype))
        self.var_weight = self.mean_weight
        if not shared_gate:
            self.var_weight = nn.Parameter(torch.empty(len(offered), device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset: weight 1 (or 0 with ``zero_init``), bias 0, equal gates, mean 0, variance 1."""
        super().reset_parameters()
        if "mean_weight" not in self._parameters:  # torch's constructor calls this too early
            return
        with torch.no_grad():
            if self.zero_init and self.weight is not None:
                self.weight.zero_()
            self.mean_weight.fill_(1.0)
            self.var_weight.fill_(1.0)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        result = nn.Module._apply(self, *args, **kwargs)
        self._share()
        return result

    def _share(self) -> None:
        if self.shared_gate:  # moving from or to "meta" makes two parameters of one
            self.var_weight = self.mean_weight

    def gates(self) -> tuple[Tensor, Tensor]:
        """The ratios (p, q) of the mean and the variance gate, each (K,)."""
        return self._ratios(self.mean_weight, self.var_weight)

    @abstractmethod
    def _ratios(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """The ratios for logits in any precision; differentiable."""

    @abstractmethod
    def solved_gates(self) -> SolvedGates:
        """The gates as numbers; only for tensors on the CPU that are not being traced."""

    def _ratios_for(self, input: Tensor) -> tuple[tuple[Tensor, Tensor], SolvedGates | None]:
        mean, var = self.mean_weight, self.var_weight
        if reads_host(mean, input):
            return (mean, var), self.solved_gates()
        if torch.compiler.is_exporting():
            return self.gates(), None
        if is_jit_traced() and torch.onnx.is_in_onnx_export():
            raise _prune_first(type(self).__name__)
        # The gradient of a logit is a small difference of those of the ratios, which are large sums
        # and must not be rounded first.
        wide = wide_dtype(mean)
        return self._ratios(mean.to(wide), var.to(wide)), None

    def get_extra_state(self) -> Tensor:
        """What the tensors do not show: the kind of variance, and which normalizers are offered."""
        return torch.tensor(self._extra_state().numbers(), dtype=torch.int64)

    def _extra_state(self) -> ExtraState:
        return ExtraState(self.correction, self.normalizers)

    def set_extra_state(self, state: Tensor) -> None:
        """Adopt the kind of variance, and the definition of the gates, that a state dict records.

        Raises:
            ValueError: The state is malformed, or belongs to a layer with other normalizers.
        """
        stored = ExtraState.of(state.flatten().tolist())
        if stored.normalizers is not None and stored.normalizers != self.normalizers:
            raise ValueError(
                f"the state was trained with {_listed(stored.normalizers)}, "
                f"the layer offers {_listed(self.normalizers)}"
            )
        self._take_over(stored)

    def _take_over(self, stored: ExtraState) -> None:
        self.correction = stored.correction

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # torch hands every module its own working copy of the dict, so editing it is allowed.
        for name in _PER_CHANNEL:
            value = state_dict.get(prefix + name)
            if isinstance(value, Tensor) and value.numel() == self.num_features:
                state_dict[prefix + name] = value.reshape(self.num_features)
        mean, var = (state_dict.get(f"{prefix}{gate}_weight") for gate in ("mean", "var"))
        both = isinstance(mean, Tensor) and isinstance(var, Tensor)
        if self.shared_gate and both and _differ(mean, var):
            raise ValueError(
                f"{prefix}mean_weight and {prefix}var_weight differ, but the layer shares one gate"
            )
        state_dict.setdefault(prefix + "_extra_state", self.get_extra_state())
        if self.num_batches_tracked is not None:  # older files, and reference files, do not count
            state_dict.setdefault(
                prefix + "num_batches_tracked", torch.zeros_like(self.num_batches_tracked)
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._share()

    def extra_repr(self) -> str:
        """Show the settings as torch's layers do."""
        return (
            f"{super().extra_repr()}, normalizers={_listed(self.normalizers)}, "
            f"shared_gate={self.shared_gate}"
        )


def _prune_first(kind: str) -> ExportError:
    """The tracing exporter cannot export a layer with a backward pass of its own."""
    return ExportError(
        f"the network has {kind} layers, which are not exported: prune it first",
        expected="a network without switchable layers",
        found=f"{kind} layers, which compute their gates",
        hint="export prune(model, inputs).model, with export_onnx or torch.onnx.export",
    )


def _differ(mean: Any, var: Any) -> bool:
    return not mean.is_meta and not torch.equal(mean, var)


def _listed(normalizers: Iterable[Normalizer]) -> str:
    return "+".join(normalizer.name for normalizer in normalizers)
